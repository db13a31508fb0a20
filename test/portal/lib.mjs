// What all scripts of this suite share: a browser, its sign-in, checks that hold on every
// page, and the mooring binary.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const require = createRequire(import.meta.url);
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

export const env = {
  chromium: process.env.PORTAL_CHROMIUM,
  url: process.env.PORTAL_URL,
  oneTime: process.env.PORTAL_PASSWORD,
  binary: process.env.PORTAL_BINARY,
  data: process.env.PORTAL_DATA,
  work: process.env.PORTAL_WORK, // a directory for files
  shots: process.env.PORTAL_SHOTS, // where screenshots go
  sdk: process.env.PORTAL_SDK, // the program that registers devices with the official SDK, and its packages; '' to do without
};

// register registers a device with a certificate, and returns where it is: by the official
// SDK, which knows port 443 alone, where that is to be had.
export async function register(id) {
  if (!env.sdk) {
    const answer = JSON.parse(await mooring('device', 'register', id, '--certificate-path', `${id}.chain.pem`, '--key-path', `${id}.key.pem`, '--json'));
    return answer.registrationState ?? answer;
  }
  const job = {
    host: process.env.PORTAL_HOST, idScope: process.env.PORTAL_SCOPE, timeoutSeconds: 30,
    devices: [{ registrationId: id, transport: 'https', certFile: file(`${id}.chain.pem`), keyFile: file(`${id}.key.pem`) }],
  };
  const child = spawn('node', ['register.js'], { cwd: env.sdk, env: { ...process.env, NODE_EXTRA_CA_CERTS: process.env.PORTAL_CA } });
  child.stdin.end(JSON.stringify(job));
  let out = '';
  for await (const chunk of child.stdout) out += chunk;
  const [outcome] = JSON.parse(out).outcomes;
  assert.ok(outcome.assigned, out);
  return outcome.assigned;
}

export const password = 'four quiet harbour lights';

export async function launch() {
  return chromium.launch({
    executablePath: env.chromium,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
}

// newPage opens a page that fails the script when its own scripts fail, when something is
// against its Content-Security-Policy, or when it asks another host.
export async function newPage(browser, options = {}) {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: env.url });
  const page = await context.newPage();
  page.problems = [];
  page.on('pageerror', (err) => page.problems.push(`script: ${err}`));
  page.on('console', (message) => {
    // A refusal that a test provokes is logged by the browser as an error of the network.
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) page.problems.push(`console: ${message.text()}`);
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(env.url) && !request.url().startsWith('data:')) page.problems.push(`asks ${request.url()}`);
  });
  return page;
}

export function noProblems(page) { assert.deepEqual(page.problems, []); }

export async function signIn(page, secret = password) {
  await page.goto(`${env.url}/sign-in`);
  await page.getByLabel('Password').fill(secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

// choosePassword does what the first use asks for.
export async function choosePassword(page) {
  await signIn(page, env.oneTime);
  await page.getByRole('heading', { name: 'Choose a password' }).waitFor();
  await page.getByLabel('One-time password').fill(env.oneTime);
  await page.getByLabel('New password', { exact: true }).fill(password);
  await page.getByLabel('Repeat new password').fill(password);
  await page.getByRole('button', { name: 'Save password' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
}

// accessible fails when axe finds something serious or critical.
export async function accessible(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const bad = found.violations.filter((v) => v.impact === 'serious' || v.impact === 'critical')
    .map((v) => `${what}: ${v.id} (${v.impact}): ${v.nodes.map((n) => `${n.target.join(' ')} ${n.failureSummary}`).join('; ')}`);
  assert.deepEqual(bad, []);
}

// mooring runs the binary and returns what it wrote to stdout.
export async function mooring(...args) {
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MOORING_')));
  const { stdout } = await promisify(execFile)(env.binary, args, { cwd: env.work, env: { ...environment, MOORING_DATA: env.data } });
  return stdout;
}

export const file = (name) => path.join(env.work, name);

// drop drops a file on an element.
export async function drop(page, locator, name) {
  const content = fs.readFileSync(file(name)).toString('base64');
  const transfer = await page.evaluateHandle(([text, as]) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], as));
    return data;
  }, [content, name]);
  await locator.dispatchEvent('drop', { dataTransfer: transfer });
}

// run runs the tests of a script in a row and tells the Go test about each.
export async function run(tests) {
  const browser = await launch();
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test(browser);
      console.log(`ok ${name}`);
    } catch (err) {
      failed++;
      console.log(`not ok ${name}`);
      console.error(`${name}: ${err.stack}`);
      break; // what follows builds on it
    }
  }
  await browser.close();
  process.exit(failed ? 1 : 0);
}

export { assert, fs, spawn };
