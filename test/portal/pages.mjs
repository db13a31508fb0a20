// Every page, light and dark, on a desktop and a phone: axe finds nothing serious, nothing
// is cut off, and a screenshot is kept for people to look at. The keyboard reaches what a
// mouse does.
import { assert, accessible, choosePassword, env, mooring, newPage, noProblems, run } from './lib.mjs';

let page;

const pages = [
  ['overview', '/'],
  ['enrollment-groups', '/enrollments/groups'],
  ['enrollment-group', '/enrollments/groups/of/line-7'],
  ['enrollment-group-keys', '/enrollments/groups/of/pumps'],
  ['enrollment-group-new', '/enrollments/groups/new'],
  ['enrollment-group-edit', '/enrollments/groups/of/line-7/edit'],
  ['individual-enrollments', '/enrollments/individual'],
  ['individual-enrollment', '/enrollments/individual/of/gateway-1'],
  ['individual-enrollment-new', '/enrollments/individual/new'],
  ['nothing-found', '/enrollments/individual?q=nobody'],
  ['registration-records', '/registrations?group=line-7'],
  ['registration-record', '/registrations/sensor-7'],
  ['refusals', '/refusals'],
  ['linked-hubs', '/hubs'],
  ['linked-hub', '/hubs/localhost'],
  ['linked-hub-new', '/hubs/new'],
  ['allocation', '/allocation'],
  ['certificates', '/certificates'],
  ['certificate', '/certificates/factory'],
  ['certificate-unverified', '/certificates/supplier'],
  ['certificate-new', '/certificates/new'],
  ['policies', '/policies'],
  ['policy', '/policies/provisioningserviceowner'],
  ['audit', '/audit'],
  ['password', '/password'],
  ['not-found', '/nowhere'],
];
const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

async function settled() {
  await page.waitForFunction(() => document.readyState === 'complete' && window.htmx && !document.querySelector('.htmx-request'));
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), `${page.url()} is wider than its window`);
}

async function shoot(name, open) {
  for (const colorScheme of ['light', 'dark']) {
    for (const [device, size] of Object.entries(sizes)) {
      await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme });
      await open();
      await settled();
      await page.screenshot({ path: `${env.shots}/${name}-${colorScheme}-${device}.png`, fullPage: true });
      await accessible(page, `${name}, ${colorScheme}, ${device}`);
    }
  }
}

await run({
  'the sign-in': async (browser) => {
    page = await newPage(browser);
    await shoot('sign-in', () => page.goto(`${env.url}/sign-in`));
    await choosePassword(page);
  },

  'empty pages': async () => {
    for (const [name, path] of [['overview', '/'], ['enrollment-groups', '/enrollments/groups'], ['individual-enrollments', '/enrollments/individual'], ['certificates', '/certificates'], ['registrations', '/registrations'], ['refusals', '/refusals'], ['audit', '/audit']]) {
      await shoot(`empty-${name}`, () => page.goto(env.url + path));
    }
  },

  'an instance in use': async () => {
    await mooring('pki', 'root', 'Factory Root');
    await mooring('pki', 'root', 'Supplier CA');
    await mooring('certificate', 'create', 'factory', '--path', 'factory-root.cert.pem', '--verified');
    await mooring('certificate', 'create', 'supplier', '--path', 'supplier-ca.cert.pem');
    await mooring('enrollment-group', 'create', 'line-7', '--ca-name', 'factory', '--allocation-policy', 'hashed', '--initial-twin-tags', '{"site":"hall 3","line":7}', '--initial-twin-properties', '{"interval":30}');
    await mooring('enrollment-group', 'create', 'pumps', '--attestation-type', 'symmetricKey');
    await mooring('enrollment-group', 'create', 'retired', '--attestation-type', 'symmetricKey', '--provisioning-status', 'disabled');
    await mooring('enrollment', 'create', 'gateway-1', '--attestation-type', 'symmetricKey', '--device-id', 'gateway-east', '--edge-enabled');
    for (const id of ['sensor-7', 'sensor-8', 'sensor-9']) {
      await mooring('pki', 'device', id, '--ca', 'factory-root.cert.pem', '--ca-key', 'factory-root.key.pem');
      await mooring('device', 'register', id, '--certificate-path', `${id}.chain.pem`, '--key-path', `${id}.key.pem`);
    }
  },

  'devices that are refused': async () => {
    await mooring('pki', 'device', 'sensor-10', '--ca', 'supplier-ca.cert.pem', '--ca-key', 'supplier-ca.key.pem');
    for (const [id, from] of [['sensor-10', 'sensor-10'], ['pump-4', null]]) {
      const proof = from ? ['--certificate-path', `${from}.chain.pem`, '--key-path', `${from}.key.pem`] : ['--key', 'bm90IHRoZSByaWdodCBrZXkgYXQgYWxs'];
      await assert.rejects(mooring('device', 'register', id, ...proof), /401/);
    }
    await page.goto(`${env.url}/refusals`);
    for (let i = 0; i < 20 && await page.locator('tbody tr').count() < 2; i++) await page.reload();
    await shoot('refusal', () => page.goto(`${env.url}/refusals`).then(() => page.getByRole('link', { name: 'sensor-10' }).click()).then(() => page.getByRole('heading', { name: 'What to do' }).waitFor()));
  },

  'every page': async () => {
    for (const [name, path] of pages) {
      await shoot(name, () => page.goto(env.url + path));
    }
    noProblems(page);
  },

  'the dialogue about a deletion': async () => {
    await shoot('dialog', async () => {
      await page.goto(`${env.url}/enrollments/groups/of/pumps`);
      await page.getByRole('button', { name: 'Delete' }).click();
    });
  },

  'pictures for the documentation': async () => {
    await page.setViewportSize({ width: 1200, height: 720 });
    for (const [name, path, colorScheme] of [['overview', '/', 'dark'], ['enrollments', '/enrollments/groups', 'light'], ['allocation', '/allocation', 'light']]) {
      await page.emulateMedia({ colorScheme });
      await page.goto(env.url + path);
      await settled();
      if (name === 'allocation') {
        await page.getByRole('textbox', { name: 'Registration ID' }).fill('sensor-11');
        await page.getByLabel('Enrollment group').fill('line-7');
        await page.getByRole('button', { name: 'Run' }).click();
        await page.locator('.why li').first().waitFor();
      }
      await page.screenshot({ path: `${env.shots}/doc-${name}.png` });
    }
    await page.emulateMedia({ colorScheme: 'light' });
    await page.goto(`${env.url}/refusals`);
    await page.getByRole('link', { name: 'sensor-10' }).click();
    await page.getByRole('heading', { name: 'What to do' }).waitFor();
    await page.screenshot({ path: `${env.shots}/doc-refusal.png` });
  },

  'the menu of a phone': async () => {
    await page.setViewportSize(sizes.phone);
    await page.goto(`${env.url}/`);
    assert.ok(!await page.getByRole('navigation', { name: 'Main' }).isVisible());
    await page.getByRole('button', { name: 'Menu' }).click();
    await page.screenshot({ path: `${env.shots}/menu-dark-phone.png` });
    await accessible(page, 'menu of a phone');
    await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Audit' }).click();
    await page.getByRole('heading', { name: 'Audit' }).waitFor();
  },

  'light and dark can be chosen': async () => {
    await page.setViewportSize(sizes.desktop);
    await page.emulateMedia({ colorScheme: 'light' });
    await page.goto(`${env.url}/`);
    const theme = () => page.evaluate(() => document.documentElement.getAttribute('data-bs-theme'));
    assert.equal(await theme(), 'light');
    await page.getByRole('button', { name: 'Switch between light and dark' }).click();
    assert.equal(await theme(), 'dark');
    await page.goto(`${env.url}/audit`);
    assert.equal(await theme(), 'dark');
    await page.getByRole('button', { name: 'Switch between light and dark' }).click();
    assert.equal(await theme(), 'light');
  },

  'the keyboard alone': async () => {
    await page.goto(`${env.url}/enrollments/groups/of/pumps`);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
    await page.keyboard.press('Enter');
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press('Tab');
      if (await page.evaluate(() => document.activeElement.textContent.trim() === 'Delete')) break;
    }
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'Delete');
  },

  'times are local, and UTC on hover': async (browser) => {
    const far = await newPage(browser, { timezoneId: 'Pacific/Auckland', locale: 'en-NZ', storageState: await page.context().storageState() });
    await far.goto(`${env.url}/audit`);
    const time = far.locator('tbody time').first();
    assert.match(await time.getAttribute('title'), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/);
    const want = await time.evaluate((e) => new Intl.DateTimeFormat('en-NZ', { dateStyle: 'medium', timeStyle: 'medium', timeZone: 'Pacific/Auckland' }).format(new Date(e.dateTime)));
    assert.equal(await time.textContent(), want);
    await far.context().close();
  },

  'a page ships little': async (browser) => {
    const fresh = await newPage(browser, { storageState: await page.context().storageState() });
    const session = await fresh.context().newCDPSession(fresh);
    await session.send('Network.enable');
    let bytes = 0;
    session.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; });
    await fresh.goto(`${env.url}/enrollments/groups`);
    await fresh.waitForLoadState('networkidle');
    console.log(`# ${bytes} bytes for a first page`);
    assert.ok(bytes > 10_000 && bytes < 160_000, `${bytes} bytes`);
    await fresh.context().close();
  },
});
