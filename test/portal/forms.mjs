// Forms: files of any format arrive whole, a form keeps what it does not show, a session that
// ends loses no input, and errors say where they are. And devices are found without knowing
// their group.
import { assert, accessible, choosePassword, env, file, fs, mooring, newPage, noProblems, password, run } from './lib.mjs';

let page;

const menu = (name) => page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name, exact: true }).click();
const dialog = () => page.locator('#session');

// der writes the certificate of a PEM file as Windows does.
function der(from, to) {
  const text = fs.readFileSync(file(from), 'latin1');
  const body = /-----BEGIN CERTIFICATE-----([^-]*)-----END/.exec(text)[1];
  const bytes = Buffer.from(body, 'base64');
  assert.ok(bytes.some((b) => b >= 0x80 && b < 0xa0)); // where Latin-1 and windows-1252 differ
  fs.writeFileSync(file(to), bytes);
}

// end ends the session of the page, as its age does: the browser keeps a token that is over.
async function end() {
  const [held] = (await page.context().cookies()).filter((c) => c.name === 'mooring-portal');
  const csrf = await page.locator('input[name=csrf]').first().inputValue();
  await page.evaluate(async (token) => {
    await fetch('/sign-out', { method: 'POST', body: new URLSearchParams({ csrf: token }) });
  }, csrf);
  await page.context().addCookies([held]);
}

async function signInAgain(secret = password) {
  await dialog().getByLabel('Password').fill(secret);
  await dialog().getByRole('button', { name: 'Continue' }).click();
}

// stored is an enrollment group as the service has it, without what changes by itself.
async function stored(id) {
  const record = JSON.parse(await mooring('enrollment-group', 'show', id, '--json'));
  delete record.etag;
  delete record.lastUpdatedDateTimeUtc;
  return JSON.stringify(record);
}

await run({
  'the title says that the password was wrong': async (browser) => {
    page = await newPage(browser);
    await page.goto(`${env.url}/sign-in`);
    assert.equal(await page.title(), 'Sign in – Mooring');
    await page.getByLabel('Password').fill('wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('Wrong password.').waitFor();
    assert.equal(await page.title(), 'Error: Sign in – Mooring');
    await choosePassword(page);
    assert.equal(await page.title(), 'Overview – Mooring');
  },

  'certificates in DER, as Windows exports them': async () => {
    await mooring('pki', 'root', 'Factory Root');
    der('factory-root.cert.pem', 'factory.cer');
    await page.goto(`${env.url}/certificates/new`);
    await page.getByLabel('Name').fill('factory');
    await page.locator('#certificate-file').setInputFiles(file('factory.cer'));
    await page.locator('#certificate-shown').getByText('CN=Factory Root').first().waitFor();
    await page.getByRole('button', { name: 'Upload' }).click();
    await page.getByRole('heading', { name: 'factory' }).waitFor();
    await page.getByRole('button', { name: 'Prove possession' }).click();
    const proof = page.locator('#proof');
    const code = await proof.locator('#code').textContent();
    await mooring('pki', 'verification', code, '--ca', 'factory-root.cert.pem', '--ca-key', 'factory-root.key.pem');
    der(`${code}.cert.pem`, 'proof.cer');
    await proof.locator('#certificate-file').setInputFiles(file('proof.cer'));
    await proof.locator('#certificate-shown').getByText(`CN=${code}`).waitFor();
    await proof.getByRole('button', { name: 'Verify' }).click();
    await page.getByText('Devices with certificates from this CA can now register.').waitFor();
  },

  'and for enrollments of both kinds': async () => {
    await mooring('pki', 'intermediate', 'Line CA', '--ca', 'factory-root.cert.pem', '--ca-key', 'factory-root.key.pem');
    await mooring('pki', 'device', 'single-1', '--ca', 'factory-root.cert.pem', '--ca-key', 'factory-root.key.pem');
    der('line-ca.cert.pem', 'line.cer');
    der('single-1.cert.pem', 'single.cer');
    await page.goto(`${env.url}/enrollments/groups/new`);
    await page.getByLabel('Group name').fill('line');
    await page.getByLabel('X.509, intermediate certificate').check();
    await page.locator('#primary-file').setInputFiles(file('line.cer'));
    await page.locator('#primary-shown').getByText('CN=Line CA').first().waitFor();
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('heading', { name: 'line', exact: true }).waitFor();
    await page.goto(`${env.url}/enrollments/individual/new`);
    await page.getByLabel('Registration ID').fill('single-1');
    await page.locator('#primary-file').setInputFiles(file('single.cer'));
    await page.locator('#primary-shown').getByText('CN=single-1').first().waitFor();
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('heading', { name: 'single-1', exact: true }).waitFor();
  },

  'a private key in DER or UTF-16 stays here': async () => {
    const pem = fs.readFileSync(file('factory-root.key.pem'), 'latin1');
    fs.writeFileSync(file('key.der'), Buffer.from(/-----BEGIN [^-]*-----([^-]*)-----END/.exec(pem)[1], 'base64'));
    fs.writeFileSync(file('key.utf16'), Buffer.from('\ufeff' + pem, 'utf16le'));
    let sent = 0;
    const count = (request) => { if (request.url().includes('inspect')) sent++; };
    page.on('request', count);
    await page.goto(`${env.url}/certificates/new`);
    for (const name of ['key.der', 'key.utf16']) {
      await page.locator('#certificate-file').setInputFiles(file(name));
      await page.locator('#certificate-shown').getByText('This file contains a private key. It was not sent.').waitFor();
      await page.locator('#certificate-shown').evaluate((e) => e.replaceChildren());
    }
    page.off('request', count);
    assert.equal(sent, 0);
  },

  'a form keeps what it does not show': async () => {
    const records = [
      { enrollmentGroupId: 'webhook', attestation: { type: 'symmetricKey' }, allocationPolicy: 'hashed', iotHubs: ['localhost'],
        customAllocationDefinition: { webhookUrl: 'https://example.com/pick?code=secret', apiVersion: '2019-03-31' },
        reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: true }, initialTwin: { tags: { grösse: 1.0, b: 'zwei\nZeilen' } } },
      { enrollmentGroupId: 'plain', attestation: { type: 'x509', x509: { caReferences: { primary: 'factory' } } }, provisioningStatus: 'disabled' },
      { enrollmentGroupId: 'early', attestation: { type: 'symmetricKey' }, iotHubHostName: 'localhost', capabilities: { iotEdge: false } },
    ];
    fs.writeFileSync(file('groups.jsonl'), records.map((r) => JSON.stringify(r)).join('\n') + '\n');
    await mooring('enrollment-group', 'import', 'groups.jsonl');
    for (const { enrollmentGroupId: id } of records) {
      const before = await stored(id);
      await page.goto(`${env.url}/enrollments/groups/of/${id}/edit`);
      await page.getByRole('button', { name: 'Save' }).click();
      await page.locator('#alerts').getByText('Saved.').waitFor();
      assert.equal(await stored(id), before);
    }
    // And what is changed is changed alone.
    const before = JSON.parse(await stored('webhook'));
    await page.goto(`${env.url}/enrollments/groups/of/webhook/edit`);
    await page.getByLabel('Allocation policy').selectOption('geoLatency');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.locator('#alerts').getByText('Saved.').waitFor();
    assert.deepEqual(JSON.parse(await stored('webhook')), { ...before, allocationPolicy: 'geoLatency' });
  },

  'what happens to devices that register again, where it is not set': async () => {
    await page.goto(`${env.url}/enrollments/groups/of/early`);
    await page.getByText('Not set: reprovision and migrate data.').waitFor();
    await page.getByRole('link', { name: 'Edit' }).click();
    await page.getByLabel('Not set').waitFor();
    assert.match(await page.locator('label.choice', { hasText: 'Not set' }).textContent(), /API version 2018-04-01 or earlier keep their hub/);
  },

  'a broken twin is told by line and character': async () => {
    await page.getByLabel('Initial twin (JSON)').fill('{"tags": {\n  "größe": 1,\n  "ort": “Süd”}}');
    await page.locator('#twin-check').getByText("Line 3, column 10: unexpected character '“', expected a value.").waitFor();
  },

  'a session that ended: the password is asked for in place, and the form goes on': async () => {
    await page.goto(`${env.url}/enrollments/groups/new`);
    await page.getByLabel('Group name').fill('kept');
    await page.getByLabel('X.509, intermediate certificate').check();
    await page.locator('#primary-file').setInputFiles(file('line.cer'));
    await page.locator('#primary-shown').getByText('CN=Line CA').first().waitFor();
    await page.getByLabel('Initial twin (JSON)').fill('{"tags": {"site": "hall 3"}}');
    await page.locator('#twin-check').getByText('Valid twin.').waitFor();
    await end();
    await page.getByRole('button', { name: 'Create' }).click();
    await dialog().getByRole('heading', { name: 'Session expired' }).waitFor();
    await accessible(page, 'session expired');
    await page.screenshot({ path: `${env.shots}/session-expired.png` });
    await signInAgain('not this one');
    await dialog().getByText('Wrong password.').waitFor();
    await dialog().getByRole('button', { name: 'Cancel' }).click();
    assert.equal(await page.getByLabel('Group name').inputValue(), 'kept');
    assert.equal(await page.locator('#primary-file').evaluate((e) => e.files[0].name), 'line.cer');
    await mooring('enrollment-group', 'delete', 'line', '--yes');
    await page.getByRole('button', { name: 'Create' }).click();
    await signInAgain();
    await page.getByRole('heading', { name: 'kept', exact: true }).waitFor();
    await page.getByText('CN=Line CA').first().waitFor();
    assert.match(await page.locator('pre').first().textContent(), /hall 3/);
  },

  'and so for what is checked while somebody types': async () => {
    await page.getByRole('link', { name: 'Edit' }).click();
    await end();
    await page.getByLabel('Initial twin (JSON)').fill('{"tags": {"site": "hall 4"}}');
    await dialog().getByRole('heading', { name: 'Session expired' }).waitFor();
    assert.match(page.url(), /\/edit$/);
    await signInAgain();
    await page.locator('#twin-check').getByText('Valid twin.').waitFor();
    await page.getByRole('button', { name: 'Save' }).click();
    await page.locator('#alerts').getByText('Saved.').waitFor();
    assert.match(await page.locator('pre').first().textContent(), /hall 4/);
  },

  'a confirmed deletion goes on, too': async () => {
    await end();
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.locator('#confirm').getByRole('button', { name: 'Delete' }).click();
    await signInAgain();
    await page.locator('#alerts').getByText('Deleted.').waitFor();
  },

  'whoever signed in in another tab is not asked': async () => {
    await page.goto(`${env.url}/policies`);
    await page.getByLabel('Name').fill('other-tab');
    await page.getByLabel('EnrollmentRead').check();
    await end();
    const tab = await page.context().newPage();
    await tab.goto(`${env.url}/sign-in`);
    await tab.getByLabel('Password').fill(password);
    await tab.getByRole('button', { name: 'Sign in' }).click();
    await tab.getByRole('heading', { name: 'Overview' }).waitFor();
    await page.getByRole('button', { name: 'Add' }).click();
    await page.getByRole('heading', { name: 'other-tab' }).waitFor();
    await page.goto(`${env.url}/allocation`);
    await tab.goto(`${env.url}/password`);
    await tab.getByLabel('Current password').fill(password);
    await tab.getByLabel('New password', { exact: true }).fill(`${password} again`);
    await tab.getByLabel('Repeat new password').fill(`${password} again`);
    await tab.getByRole('button', { name: 'Save password' }).click();
    await tab.getByText('Password changed.').waitFor();
    await tab.close();
    await page.getByRole('textbox', { name: 'Registration ID' }).fill('sensor-1');
    await page.getByLabel('Enrollment group').fill('early');
    await page.getByRole('button', { name: 'Run' }).click(); // with the token of a session that is over
    await page.locator('#dry-run').getByText('sensor-1 would be assigned to localhost').waitFor();
  },

  'the registration of an individual enrollment is shown, and the first steps are over': async () => {
    await page.goto(`${env.url}/`);
    await page.getByRole('heading', { name: 'Next steps' }).waitFor();
    await page.goto(`${env.url}/enrollments/individual`);
    await page.locator('tbody tr', { hasText: 'single-1' }).getByText('Not registered').waitFor();
    assert.match(await mooring('device', 'register', 'single-1', '--certificate-path', 'single-1.chain.pem', '--key-path', 'single-1.key.pem', '--json'), /"assigned"/);
    await page.reload();
    await page.locator('tbody tr', { hasText: 'single-1' }).getByRole('link', { name: 'Assigned' }).click();
    await page.getByRole('heading', { name: 'single-1', exact: true }).waitFor();
    await page.getByText('(individual enrollment)').waitFor();
    await page.goto(`${env.url}/`);
    await page.getByRole('heading', { name: 'Essentials' }).waitFor();
    assert.equal(await page.getByRole('heading', { name: 'Next steps' }).count(), 0);
  },

  'failed devices of all groups, one click from the overview': async () => {
    await mooring('linked-hub', 'create', '--kind', 'embedded', '--hub-name', 'hub-2.example.com');
    const keys = { north: 'bm9ydGggbm9ydGggbm9ydGg=', south: 'c291dGggc291dGggc291dGg=' };
    for (const group of ['north', 'south']) {
      await mooring('enrollment-group', 'create', group, '--attestation-type', 'symmetricKey', '--allocation-policy', 'static', '--iot-hubs', 'hub-2.example.com', '--primary-key', keys[group], '--secondary-key', `${keys[group].slice(0, -2)}Q=`);
    }
    await mooring('linked-hub', 'delete', 'hub-2.example.com', '--yes');
    for (const group of ['north', 'south']) {
      const id = `press-${group}`;
      const key = (await mooring('enrollment-group', 'compute-device-key', '--key', keys[group], '--registration-id', id)).trim();
      await assert.rejects(mooring('device', 'register', id, '--key', key));
    }
    await page.goto(`${env.url}/?span=hour`);
    await page.getByText('2 registrations failed at a hub or webhook.').waitFor();
    await page.getByRole('link', { name: 'Show failed devices' }).click();
    await page.locator('tbody tr', { hasText: 'press-south' }).waitFor();
    assert.equal(await page.locator('tbody tr').count(), 2);
    assert.match(await page.locator('tbody tr').first().textContent(), /press-south.*Failed.*not linked.*south/s); // the latest first
    await accessible(page, 'failed devices');
    await page.screenshot({ path: `${env.shots}/failed-devices.png`, fullPage: true });
  },

  'a device is found without knowing its group': async () => {
    await menu('Registration records');
    await page.getByLabel('Registration ID or device ID').fill('PRESS-n');
    await page.getByRole('search', { name: 'Find a device' }).getByRole('button', { name: 'Find' }).click();
    await page.locator('tbody tr', { hasText: 'press-north' }).getByRole('link', { name: 'north', exact: true }).waitFor();
    assert.equal(await page.locator('tbody tr').count(), 1);
    await mooring('enrollment', 'create', 'gateway-1', '--attestation-type', 'symmetricKey', '--device-id', 'Gate#East', '--primary-key', 'c2VjcmV0IHNlY3JldCBzZWNyZXQ=', '--secondary-key', 'c2VjcmV0IHNlY3JldCBzZWNyZXQy');
    await mooring('device', 'register', 'gateway-1', '--key', 'c2VjcmV0IHNlY3JldCBzZWNyZXQ=');
    await page.getByLabel('Registration ID or device ID').fill('Gate#East');
    await page.getByRole('search', { name: 'Find a device' }).getByRole('button', { name: 'Find' }).click();
    await page.locator('tbody tr', { hasText: 'gateway-1' }).waitFor();
    await page.getByLabel('Registration ID or device ID').fill('nobody');
    await page.getByRole('search', { name: 'Find a device' }).getByRole('button', { name: 'Find' }).click();
    await page.getByRole('heading', { name: 'No registration record found' }).waitFor();
  },

  'a password that was reset: another tab changes it, and the form goes on': async () => {
    await page.goto(`${env.url}/policies`);
    await page.getByLabel('Name').fill('after-reset');
    await page.getByLabel('EnrollmentRead').check();
    const oneTime = /\w{5}(-\w{5}){3}/.exec(await mooring('portal', 'reset-password'))[0];
    await page.getByRole('button', { name: 'Add' }).click();
    await signInAgain(oneTime);
    const [tab] = await Promise.all([
      page.context().waitForEvent('page'),
      dialog().getByRole('link', { name: 'Choose a new password in another tab' }).click(),
    ]);
    await tab.getByLabel('One-time password').fill(oneTime);
    await tab.getByLabel('New password', { exact: true }).fill(password);
    await tab.getByLabel('Repeat new password').fill(password);
    await tab.getByRole('button', { name: 'Save password' }).click();
    await tab.getByText('Password changed.').waitFor();
    await tab.close();
    await signInAgain('x');
    await page.getByRole('heading', { name: 'after-reset' }).waitFor();
    noProblems(page);
  },
});
