// Both kinds of enrollments: create, edit, disable, delete, one and many; policies and the
// connection string that is copied.
import { assert, choosePassword, env, file, fs, mooring, newPage, noProblems, run } from './lib.mjs';

let page;

async function open(tab) {
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Manage enrollments' }).click();
  await page.getByRole('navigation', { name: 'Kinds of enrollments' }).getByRole('link', { name: tab }).click();
  await page.getByRole('heading', { name: 'Manage enrollments' }).waitFor();
  await page.waitForLoadState(); // with its scripts
}

await run({
  'signed in': async (browser) => {
    page = await newPage(browser);
    await choosePassword(page);
  },

  'a group with symmetric keys, which are hidden until asked': async () => {
    await open('Enrollment groups');
    await page.getByRole('link', { name: 'Add enrollment group' }).first().click();
    await page.getByLabel('Group name').fill('keys');
    await page.getByLabel('Symmetric key').check();
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('button', { name: 'Show keys' }).waitFor();
    const before = await page.content();
    await page.getByRole('button', { name: 'Show keys' }).click();
    const key = await page.locator('#primary-key').textContent();
    assert.match(key, /^[A-Za-z0-9+/=]{88}$/);
    assert.ok(!before.includes(key));
    assert.ok(!page.url().includes(key));
  },

  'the key of one device of the group is good': async () => {
    await page.getByLabel('Device key').fill('sensor-1');
    await page.getByRole('button', { name: 'Derive' }).click();
    const key = await page.locator('#derived-key').textContent();
    const answer = await mooring('device', 'register', 'sensor-1', '--key', key, '--json');
    assert.match(answer, /"assigned"/);
  },

  'a group is edited': async () => {
    await page.reload();
    await page.getByRole('link', { name: 'Edit' }).click();
    await page.getByLabel('Allocation policy').selectOption('hashed');
    await page.getByLabel('Reprovision and reset data').check();
    await page.getByLabel('Initial twin (JSON)').fill('{"tags": {"line": 7}}');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved.').waitFor();
    await page.getByText('Reprovision and reset data').waitFor();
    assert.match(await page.locator('pre').first().textContent(), /"line": 7/);
  },

  'two people who edit at once do not undo each other': async (browser) => {
    await page.getByRole('link', { name: 'Edit' }).click();
    await mooring('enrollment-group', 'update', 'keys', '--allocation-policy', 'static');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Someone else changed this enrollment').waitFor();
  },

  'a group is disabled and enabled': async () => {
    await page.goto(`${env.url}/enrollments/groups/of/keys`);
    await page.getByRole('button', { name: 'Disable' }).click();
    await page.locator('#alerts').getByText('Disabled.').waitFor();
    await page.getByRole('button', { name: 'Enable' }).click();
    await page.locator('#alerts').getByText('Enabled.').waitFor();
  },

  'what the service refuses stands beside the field': async () => {
    await open('Individual enrollments');
    await page.getByRole('link', { name: 'Add individual enrollment' }).first().click();
    await page.getByLabel('Registration ID').fill('no good');
    await page.getByLabel('Symmetric key').check();
    await page.getByLabel('Primary key').fill('short');
    await page.getByRole('button', { name: 'Create' }).click();
    await page.locator('.field-error').first().waitFor();
    const field = page.locator('[aria-invalid=true]');
    assert.equal(await field.count(), 1);
    assert.ok(await field.evaluate((e) => e === document.activeElement));
    await page.getByLabel('Registration ID').fill('sensor-2');
    await page.getByLabel('Primary key').fill('short');
    await page.getByRole('button', { name: 'Create' }).click();
    await page.locator('#primaryKey-error').waitFor();
    assert.equal(await page.getByLabel('Primary key').inputValue(), ''); // a key never comes back
  },

  'an individual enrollment with a certificate, and warnings about it': async () => {
    await mooring('pki', 'root', 'Some CA');
    await mooring('certificate', 'create', 'some', '--path', 'some-ca.cert.pem', '--verified');
    await mooring('pki', 'device', 'sensor-3', '--ca', 'some-ca.cert.pem', '--ca-key', 'some-ca.key.pem');
    await page.goto(`${env.url}/enrollments/individual/new`);
    await page.getByLabel('Registration ID').fill('sensor-3');
    await page.locator('#primary-file').setInputFiles(file('some-ca.cert.pem'));
    await page.locator('#primary-shown').getByText('This is a CA certificate.').waitFor();
    await page.locator('#primary-file').setInputFiles(file('sensor-3.cert.pem'));
    await page.locator('#primary-shown').getByText('CN=sensor-3').waitFor();
    await page.getByLabel('Device ID at the hub').fill('pump-3');
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('heading', { name: 'sensor-3', exact: true }).waitFor();
    assert.match(await mooring('device', 'register', 'sensor-3', '--certificate-path', 'sensor-3.cert.pem', '--key-path', 'sensor-3.key.pem', '--json'), /"pump-3"/);
    await page.reload();
    await page.getByText('Initial assignment').waitFor();
  },

  'an edit keeps the certificate that it does not touch': async () => {
    const thumbprint = /[0-9A-F]{64}/.exec(await page.content())[0];
    await page.getByRole('link', { name: 'Edit' }).click();
    await page.getByLabel('Device ID at the hub').fill('pump-4');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved.').waitFor();
    assert.ok((await page.content()).includes(thumbprint));
  },

  'many are found, disabled and deleted': async () => {
    const lines = Array.from({ length: 120 }, (_, i) => JSON.stringify({ registrationId: `bulk-${String(i).padStart(3, '0')}`, attestation: { type: 'symmetricKey' } }));
    fs.writeFileSync(file('bulk.jsonl'), lines.join('\n') + '\n');
    await mooring('enrollment', 'import', 'bulk.jsonl');
    await open('Individual enrollments');
    await page.getByPlaceholder('Registration ID begins with').fill('bulk-');
    await page.waitForURL(/q=bulk-/);
    await page.locator('#list').getByText('bulk-049').waitFor();
    assert.equal(await page.locator('tbody tr').count(), 50);
    await page.getByRole('link', { name: 'Next page' }).click();
    await page.getByText('bulk-050').waitFor();
    await page.getByRole('link', { name: 'Next page' }).click();
    await page.getByText('bulk-119').waitFor();
    assert.equal(await page.locator('tbody tr').count(), 20);
    await page.getByLabel('Select all on this page').check();
    await page.getByText('20 selected').waitFor();
    await page.getByRole('button', { name: 'Disable' }).click();
    await page.locator('#alerts').getByText('Disabled.').waitFor();
    await page.getByLabel('Status').selectOption('disabled');
    await page.locator('#list').getByText('bulk-119').waitFor();
    await page.locator('#list').getByText('bulk-099').waitFor({ state: 'detached' });
    assert.equal(await page.locator('tbody tr').count(), 20);
    await page.getByLabel('Select all on this page').check();
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.locator('#alerts').getByText('Deleted.').waitFor();
    await page.getByLabel('Order').selectOption('-id');
    await page.locator('#list').getByText('sensor-3').waitFor();
    assert.match(await page.locator('tbody tr').first().textContent(), /sensor-3/);
    await page.getByPlaceholder('Registration ID begins with').fill('bulk-');
    await page.locator('tbody tr', { hasText: 'sensor-3' }).waitFor({ state: 'detached' });
    assert.match(await page.locator('tbody tr').first().textContent(), /bulk-099/);
  },

  'an individual enrollment is deleted, and its record': async () => {
    await page.goto(`${env.url}/enrollments/individual/of/sensor-3`);
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.locator('#alerts').getByText('Deleted.').waitFor();
    await page.goto(`${env.url}/registrations?group=keys`);
    await page.getByRole('link', { name: 'sensor-1' }).click();
    await page.getByRole('button', { name: 'Delete record' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.locator('#alerts').getByText('Deleted.').waitFor();
  },

  'a policy, whose connection string is copied': async () => {
    await page.getByRole('link', { name: 'Shared access policies' }).click();
    await page.getByLabel('Name').fill('reader');
    await page.getByLabel('EnrollmentRead').check();
    await page.getByRole('button', { name: 'Add' }).click();
    await page.getByRole('heading', { name: 'reader' }).waitFor();
    assert.ok(!(await page.content()).includes('SharedAccessKey='));
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await page.getByRole('button', { name: 'Copy Primary connection string' }).click();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(copied, /^HostName=.*;SharedAccessKeyName=reader;SharedAccessKey=.{88}$/);
    fs.writeFileSync(file('connection-string'), copied);
  },

  'a new key ends the old one': async () => {
    await page.getByRole('button', { name: 'Regenerate secondary key' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Regenerate' }).click();
    await page.getByText('Key regenerated.').waitFor();
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    const secondary = await page.locator('#string-1').textContent();
    const primary = await page.locator('#string-0').textContent();
    assert.equal(primary, fs.readFileSync(file('connection-string'), 'utf8'));
    assert.notEqual(secondary, primary);
  },

  'the last policy that configures stays': async () => {
    await page.goto(`${env.url}/policies/provisioningserviceowner`);
    await page.getByLabel('ServiceConfig').uncheck();
    await page.getByRole('button', { name: 'Save' }).click();
    await page.locator('#rights-error').waitFor();
    noProblems(page);
  },
});
