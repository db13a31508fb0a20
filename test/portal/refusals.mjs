// A device that is refused: found in two clicks with its reason, fixed by the remedy, and
// then assigned. And where devices go: hubs, allocation, a dry run.
import { assert, accessible, choosePassword, env, file, mooring, newPage, noProblems, run } from './lib.mjs';

let page;

const register = (id) => mooring('device', 'register', id, '--certificate-path', `${id}.chain.pem`, '--key-path', `${id}.key.pem`, '--json');
const menu = (name) => page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name, exact: true }).click();

await run({
  'a factory whose CA is not verified': async (browser) => {
    page = await newPage(browser);
    await choosePassword(page);
    await mooring('pki', 'root', 'Factory Root');
    await mooring('certificate', 'create', 'factory', '--path', 'factory-root.cert.pem');
    await mooring('enrollment-group', 'create', 'line-7', '--ca-name', 'factory');
    await mooring('pki', 'device', 'sensor-7', '--ca', 'factory-root.cert.pem', '--ca-key', 'factory-root.key.pem');
  },

  'a refusal appears by itself': async () => {
    await menu('Refusals');
    await page.getByRole('heading', { name: 'No refusals' }).waitFor();
    await assert.rejects(register('sensor-7'), /401/);
    await page.getByRole('link', { name: 'sensor-7' }).waitFor(); // nobody reloads
  },

  'it says why, and what to do': async () => {
    await page.getByRole('link', { name: 'sensor-7' }).click();
    await page.getByRole('heading', { name: 'The chain does not lead to a verified CA certificate.' }).waitFor();
    const failed = page.locator('.check-bad');
    assert.equal(await failed.count(), 1);
    assert.match(await failed.textContent(), /proof of possession/);
    assert.match(await page.locator('.remedy').textContent(), /generate-verification-code --certificate-name factory/);
    await page.getByText('CN=sensor-7').first().waitFor(); // the chain as presented
    await accessible(page, 'refusal');
    const said = await mooring('why', 'sensor-7');
    assert.ok(said.includes((await page.locator('.remedy').textContent()).split('\n')[0].slice(0, 40)), said);
  },

  'the remedy mends it': async () => {
    await page.getByRole('link', { name: 'Open certificates' }).click();
    await page.getByRole('link', { name: 'factory' }).click();
    await page.getByRole('button', { name: 'Prove possession' }).click();
    const dialog = page.getByRole('dialog');
    const code = await dialog.locator('#code').textContent();
    await mooring('pki', 'verification', code, '--ca', 'factory-root.cert.pem', '--ca-key', 'factory-root.key.pem');
    await dialog.locator('#certificate-file').setInputFiles(file(`${code}.cert.pem`));
    await dialog.locator('#certificate-shown').getByText(`CN=${code}`).waitFor();
    await dialog.getByRole('button', { name: 'Verify' }).click();
    await page.getByText('Devices with certificates from this CA can now register.').waitFor();
    assert.match(await register('sensor-7'), /"assigned"/);
    await page.goto(`${env.url}/registrations/sensor-7`);
    await page.getByText('Assigned', { exact: true }).first().waitFor();
    await page.getByRole('heading', { name: 'Refusals' }).waitFor();
    await page.locator('tbody').getByText('The chain does not lead to a verified CA certificate').waitFor();
  },

  'a disabled enrollment is one click away from its refusal': async () => {
    await mooring('enrollment-group', 'update', 'line-7', '--provisioning-status', 'disabled');
    await assert.rejects(register('sensor-7'));
    await menu('Overview');
    await page.getByRole('heading', { name: 'Latest refusals' }).waitFor();
    await page.locator('tbody tr', { hasText: 'its enrollment is disabled' }).getByRole('link', { name: 'sensor-7' }).click();
    await page.getByRole('link', { name: 'Open the enrollment group' }).click();
    await page.getByRole('button', { name: 'Enable' }).click();
    await page.locator('#alerts').getByText('Enabled.').waitFor();
    assert.match(await register('sensor-7'), /"assigned"/);
  },

  'refusals are filtered': async () => {
    await page.goto(`${env.url}/refusals`);
    assert.equal(await page.locator('tbody tr').count(), 2);
    await page.getByLabel('Reason').selectOption('disabled');
    await page.getByRole('button', { name: 'Search' }).click();
    await page.locator('tbody tr').first().waitFor();
    assert.equal(await page.locator('tbody tr').count(), 1);
    await page.getByLabel('Registration ID').fill('nobody');
    await page.getByRole('button', { name: 'Search' }).click();
    await page.getByRole('heading', { name: 'No matching refusals' }).waitFor();
    await page.goto(`${env.url}/registrations?id=sensor-9`);
    await page.getByText('No registration record found').waitFor();
  },

  'the charts count': async () => {
    await page.goto(`${env.url}/?span=hour`);
    const assigned = page.locator('figure', { hasText: 'Devices assigned' });
    assert.equal(await assigned.locator('.chart-total').textContent(), '2');
    assert.equal(await page.locator('figure', { hasText: 'Refused' }).locator('.chart-total').textContent(), '2');
    assert.ok(await assigned.locator('rect').count() >= 60);
  },

  'a hub is linked, and weighs': async () => {
    await menu('Linked hubs');
    await page.getByRole('link', { name: 'Link a hub' }).click();
    await page.getByRole('button', { name: 'Link', exact: true }).click();
    await page.locator('#connectionString-error').waitFor();
    await page.getByLabel('Connection string').fill('HostName=hub.invalid;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0IHNlY3JldCBzZWNyZXQ=');
    await page.getByLabel('Location', { exact: true }).fill('westeurope');
    await page.getByRole('button', { name: 'Link', exact: true }).click();
    await page.locator('.field-error, .alert-danger').first().waitFor(); // it was called, and does not answer
    assert.equal(await page.getByLabel('Connection string').inputValue(), '');
    await page.getByLabel('Embedded hub').check();
    await page.getByLabel('Host name').fill('hub-2.example.com');
    await page.getByLabel('Weight').fill('3');
    await page.getByRole('button', { name: 'Link', exact: true }).click();
    await page.getByText('Linked. Devices can now be assigned to this hub.').waitFor();
    await page.getByLabel('Weight').fill('5');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved.').waitFor();
    assert.equal(await page.getByLabel('Weight').inputValue(), '5');
  },

  'a dry run says where and why': async () => {
    await menu('Allocation');
    await page.getByRole('textbox', { name: 'Registration ID' }).fill('sensor-8');
    await page.getByLabel('Enrollment group').fill('line-7');
    await page.getByRole('button', { name: 'Run' }).click();
    const result = page.locator('#dry-run');
    await result.getByText(/sensor-8 would be assigned to (localhost|hub-2\.example\.com)/).waitFor();
    assert.ok(await result.locator('.why li').count() > 0);
    await accessible(page, 'dry run');
    await page.getByLabel('Static').check();
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved.').waitFor();
    assert.ok(await page.getByLabel('Static').isChecked());
  },

  'a hub is unlinked': async () => {
    await page.goto(`${env.url}/hubs/hub-2.example.com`);
    await page.getByRole('button', { name: 'Unlink' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Unlink' }).click();
    await page.getByText('Unlinked.').waitFor();
    assert.equal(await page.locator('tbody tr').count(), 1);
    noProblems(page);
  },
});
