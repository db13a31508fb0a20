// The whole quickstart by clicks: from an empty instance to a device with a hub, and the
// group under Manage enrollments.
import { assert, accessible, choosePassword, drop, env, file, fs, mooring, newPage, noProblems, register, run } from './lib.mjs';

let page;

await run({
  'the one-time password has to be changed': async (browser) => {
    page = await newPage(browser);
    await page.goto(`${env.url}/certificates`);
    assert.match(page.url(), /\/sign-in\?to=%2Fcertificates$/);
    await accessible(page, 'sign-in');
    await page.getByLabel('Password').fill('not this one');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('Wrong password.').waitFor();
    await choosePassword(page);
    await page.getByText('Password changed.').waitFor();
  },

  'an empty instance says what to do next': async () => {
    await page.getByRole('heading', { name: 'Next steps' }).waitFor();
    await accessible(page, 'overview');
    await page.getByRole('link', { name: 'Add certificate' }).click();
  },

  'a private key in place of the certificate stays here': async () => {
    await mooring('pki', 'root', 'Factory Root');
    let sent = 0;
    page.on('request', (request) => { if (request.postData()?.includes('PRIVATE')) sent++; });
    await page.getByLabel('Name').fill('factory');
    await page.locator('#certificate-file').setInputFiles(file('factory-root.key.pem'));
    await page.getByText('This file contains a private key.').waitFor();
    assert.equal(sent, 0);
  },

  'a CA certificate is shown before it is uploaded': async () => {
    await drop(page, page.locator('[data-drop]'), 'factory-root.cert.pem');
    const shown = page.locator('#certificate-shown');
    await shown.getByText('CN=Factory Root').first().waitFor();
    assert.match(await shown.textContent(), /SHA-1 thumbprint\s*[0-9A-F]{40}/);
    assert.match(await shown.textContent(), /SHA-256 thumbprint\s*[0-9A-F]{64}/);
    await page.getByRole('button', { name: 'Upload' }).click();
    await page.getByRole('heading', { name: 'factory' }).waitFor();
    await page.getByText('Not verified').waitFor();
  },

  'possession of its key is proved in a dialogue': async () => {
    await page.getByRole('button', { name: 'Prove possession' }).click();
    const dialog = page.getByRole('dialog');
    const code = await dialog.locator('#code').textContent();
    assert.match(code, /^[0-9A-F]{48}$/);
    await accessible(page, 'proof of possession');
    await dialog.getByRole('button', { name: 'Copy command' }).click();
    const command = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(command, `mooring pki verification ${code} --ca factory-root.cert.pem --ca-key factory-root.key.pem`);

    await dialog.locator('#certificate-file').setInputFiles(file('factory-root.cert.pem')); // the wrong one
    await dialog.locator('#certificate-shown').getByText('CN=Factory Root').first().waitFor();
    await dialog.getByRole('button', { name: 'Verify' }).click();
    await dialog.locator('#proof-error').waitFor();
    assert.equal(await dialog.locator('#code').textContent(), code);

    await mooring(...command.split(' ').slice(1));
    await dialog.locator('#certificate-file').setInputFiles(file(`${code}.cert.pem`));
    await dialog.locator('#certificate-shown').getByText(`CN=${code}`).waitFor();
    await dialog.getByRole('button', { name: 'Verify' }).click();
    await page.getByText('Devices with certificates from this CA can now register.').waitFor();
    await page.locator('main').getByText('Verified', { exact: true }).waitFor();
  },

  'an enrollment group names the CA': async () => {
    await page.getByRole('link', { name: 'Enrollment group', exact: true }).click();
    await page.getByLabel('Group name').fill('line-7');
    assert.equal(await page.getByLabel('Primary CA').inputValue(), 'factory');
    const twin = page.getByLabel('Initial twin (JSON)');
    await twin.fill('{"tags": {"site": "hall 3"}');
    await page.locator('#twin-check .field-error').waitFor();
    await twin.fill('{"tags": {"a.b": 1}}');
    await page.locator('#twin-check').getByText('has a member name "a.b"').waitFor();
    await twin.fill('{"tags": {"site": "hall 3"}}');
    await page.locator('#twin-check').getByText('Valid twin.').waitFor();
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('heading', { name: 'line-7' }).waitFor();
    await page.getByText('No device of this group has registered yet.').waitFor();
  },

  'a device registers': async () => {
    await mooring('pki', 'device', 'sensor-7', '--ca', 'factory-root.cert.pem', '--ca-key', 'factory-root.key.pem');
    assert.equal((await register('sensor-7')).status, 'assigned');
    await page.reload();
    await page.getByRole('link', { name: 'sensor-7' }).click();
    await page.getByRole('heading', { name: 'sensor-7' }).waitFor();
    await page.getByText('Initial assignment').waitFor();
    await accessible(page, 'registration record');
    await page.getByRole('link', { name: 'line-7' }).click();
    await page.getByRole('link', { name: 'factory' }).click();
    await page.getByRole('link', { name: 'line-7' }).waitFor(); // who uses it
  },

  'the group is found under Manage enrollments, and deleted': async () => {
    await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Manage enrollments' }).click();
    await page.getByRole('link', { name: 'line-7' }).click();
    await page.getByRole('button', { name: 'Delete' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('Delete line-7?').waitFor();
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'Delete' }).click();
    await dialog.getByRole('button', { name: 'Delete' }).click();
    await page.getByText('Deleted.').waitFor();
    await page.getByRole('heading', { name: 'No enrollment groups yet' }).waitFor();
  },

  'the audit says who did it': async () => {
    await page.getByRole('link', { name: 'Audit' }).click();
    const first = page.locator('tbody tr').first();
    assert.match(await first.textContent(), /portal:admin.*delete.*enrollment-group.*line-7.*Succeeded/s);
    assert.match(await first.textContent(), /127\.0\.0\.1/);
    noProblems(page);
  },

  'whoever signs out is out': async () => {
    const cookies = await page.context().cookies();
    const held = cookies.find((c) => c.name === 'mooring-portal');
    assert.ok(held.httpOnly);
    assert.equal(held.sameSite, 'Strict');
    await page.getByLabel('Account of admin').click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('You are signed out.').waitFor();
    await page.context().addCookies([held]);
    await page.goto(`${env.url}/audit`);
    assert.match(page.url(), /\/sign-in/);
    fs.rmSync(file('sensor-7.key.pem'));
  },
});
