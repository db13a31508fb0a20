// The registry of the official SDK for hubs: identities, twins, bulk and queries, over REST.
//
// node hub.js CONNECTION_STRING CERT_DEVICE THUMBPRINT KEY_DEVICE PRIMARY_KEY SECONDARY_KEY
//
// Both devices were placed there by the provisioning service, with tags {"site":"plant-7","floor":3}
// and desired properties {"interval":30,"alarm":{"on":true}}. There are no others.
'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Registry } = require('azure-iothub');

const [connectionString, certDevice, thumbprint, keyDevice, primaryKey, secondaryKey] = process.argv.slice(2);
const registry = Registry.fromConnectionString(connectionString);

// call gives what the answer holds.
const call = async (method, ...args) => (await registry[method](...args)).responseBody;

// refused checks that a call fails with the SDK's error for this refusal. The error itself is
// not shown, because it holds the whole connection.
async function refused(promise, name, statusCode) {
  const err = await promise.then(() => assert.fail('the call succeeds'), (e) => e);
  if (!err.response) {
    throw err;
  }
  assert.deepEqual({ name: err.constructor.name, statusCode: err.response.statusCode }, { name, statusCode });
}

// properties are those of one half of a twin without what the hub adds.
function properties(half) {
  const { $metadata, $version, ...rest } = half;
  assert.ok($metadata.$lastUpdated && $version >= 1);
  return rest;
}

// next gives the next page of a query. The promise form takes its missing argument for the
// token and gives the first page for ever (query.js of azure-iothub 1.16.6).
const next = (query) => new Promise((resolve, reject) => {
  query.next((err, result) => (err ? reject(err) : resolve(result)));
});

// pages collects all pages of a query.
async function pages(query) {
  const all = [];
  do {
    all.push((await next(query)).map((item) => item.deviceId));
  } while (query.hasMoreResults);
  return all;
}

test('identities that the provisioning service made', async () => {
  const byCertificate = await call('get', certDevice);
  assert.equal(byCertificate.status, 'enabled');
  assert.equal(byCertificate.authentication.type, 'selfSigned');
  assert.equal(byCertificate.authentication.x509Thumbprint.primaryThumbprint, thumbprint);
  const byKeys = await call('get', keyDevice);
  assert.equal(byKeys.authentication.type, 'sas');
  assert.deepEqual({ ...byKeys.authentication.symmetricKey }, { primaryKey, secondaryKey });
  assert.deepEqual((await call('list')).map((d) => d.deviceId), [keyDevice, certDevice].sort());
});

test('twins that the provisioning service made', async () => {
  for (const id of [certDevice, keyDevice]) {
    const twin = await call('getTwin', id);
    assert.deepEqual(twin.tags, { site: 'plant-7', floor: 3 });
    assert.deepEqual(properties(twin.properties.desired), { interval: 30, alarm: { on: true } });
    assert.deepEqual(properties(twin.properties.reported), {});
    assert.equal(twin.properties.desired.$version, 1);
  }
});

test('create, get, update, delete', async () => {
  const created = await call('create', { deviceId: 'node-1' });
  assert.equal(created.authentication.type, 'sas');
  assert.equal(Buffer.from(created.authentication.symmetricKey.primaryKey, 'base64').length, 64);
  await refused(call('create', { deviceId: 'node-1' }), 'DeviceAlreadyExistsError', 409);

  const updated = await call('update', { ...created, status: 'disabled', statusReason: 'lost' });
  assert.equal(updated.status, 'disabled');
  assert.equal(updated.statusReason, 'lost');
  assert.equal(updated.generationId, created.generationId);
  assert.deepEqual(updated.authentication.symmetricKey, created.authentication.symmetricKey);
  assert.notEqual(updated.etag, created.etag);
  assert.deepEqual(await call('get', 'node-1'), updated);

  await registry.delete('node-1');
  await refused(call('get', 'node-1'), 'DeviceNotFoundError', 404);
  await refused(registry.delete('node-1'), 'DeviceNotFoundError', 404);
});

test('an identity with a certificate, and an ID that has to be escaped', async () => {
  const deviceId = 'node:2%?=a';
  const secondaryThumbprint = 'ab'.repeat(20);
  await call('create', { deviceId, authentication: { x509Thumbprint: { primaryThumbprint: thumbprint, secondaryThumbprint } }, capabilities: { iotEdge: true } });
  const device = await call('get', deviceId);
  assert.equal(device.deviceId, deviceId);
  assert.deepEqual({ ...device.authentication.x509Thumbprint }, { primaryThumbprint: thumbprint, secondaryThumbprint });
  assert.equal(device.deviceScope, `ms-azure-iot-edge://${deviceId}-${device.generationId}`);
  assert.deepEqual(await pages(registry.createQuery('SELECT * FROM devices WHERE capabilities.iotEdge = true')), [[deviceId]]);
  await registry.delete(deviceId);
});

test('twins: update, conflict, replace by the twin itself', async () => {
  await call('create', { deviceId: 'node-3' });
  const twin = await call('getTwin', 'node-3');
  const changed = await call('updateTwin', 'node-3', { tags: { a: 1, b: { c: 2 } }, properties: { desired: { x: 1, y: { z: 2 } } } }, twin.etag);
  assert.deepEqual(changed.tags, { a: 1, b: { c: 2 } });
  assert.equal(changed.properties.desired.$version, 2);
  await refused(call('updateTwin', 'node-3', { tags: { a: 2 } }, twin.etag), 'InvalidEtagError', 412);
  const { result: patched } = await changed.update({ tags: { b: null }, properties: { desired: { y: { z: null, w: [1] } } } });
  assert.deepEqual(patched.tags, { a: 1 });
  assert.deepEqual(properties(patched.properties.desired), { x: 1, y: { w: [1] } });
  assert.equal(patched.properties.desired.$metadata.x.$lastUpdatedVersion, 2);
  assert.equal(patched.properties.desired.$metadata.y.w.$lastUpdatedVersion, 3);
  await refused(call('updateTwin', 'node-3', { tags: { 'a.b': 1 } }, '*'), 'ArgumentError', 400);
  await refused(call('getTwin', 'nobody'), 'DeviceNotFoundError', 404);
  await registry.delete('node-3');
});

test('bulk: add, update, remove', async () => {
  const ids = Array.from({ length: 100 }, (_, i) => `bulk-${String(i).padStart(3, '0')}`);
  const devices = ids.map((deviceId) => ({ deviceId }));
  assert.deepEqual(await call('addDevices', devices), { isSuccessful: true, errors: [], warnings: [] });
  assert.deepEqual(await call('getRegistryStatistics'), { totalDeviceCount: 102, enabledDeviceCount: 102, disabledDeviceCount: 0 });

  // Pages of a query.
  const query = () => registry.createQuery("SELECT deviceId FROM devices WHERE STARTS_WITH(deviceId, 'bulk-')", 30);
  const found = await pages(query());
  assert.deepEqual(found.map((page) => page.length), [30, 30, 30, 10]);
  assert.deepEqual(found.flat(), ids);

  // Updates: by etag, whatever the etag, and one that fails.
  const listed = (await call('list')).filter((d) => ids.includes(d.deviceId));
  const disabled = listed.map((d) => ({ ...d, status: 'disabled' }));
  assert.equal((await call('updateDevices', disabled.slice(0, 50), true)).isSuccessful, true);
  assert.equal((await call('updateDevices', disabled.slice(50).map((d) => ({ ...d, eTag: d.etag })), false)).isSuccessful, true);
  assert.deepEqual(await call('getRegistryStatistics'), { totalDeviceCount: 102, enabledDeviceCount: 2, disabledDeviceCount: 100 });
  const [kept] = (await call('list')).filter((d) => d.deviceId === ids[0]);
  assert.deepEqual(kept.authentication, listed[0].authentication);

  await refused(call('removeDevices', [{ deviceId: ids[0], eTag: 'stale' }], false), 'ArgumentError', 400);
  assert.equal((await call('removeDevices', devices, true)).isSuccessful, true);
  assert.deepEqual((await call('list')).map((d) => d.deviceId), [keyDevice, certDevice].sort());
});

test('what the hub does not have is refused', async () => {
  await refused(pages(registry.createQuery("SELECT * FROM devices WHERE tags.site = 'plant-7'")), 'ArgumentError', 400);
  await refused(call('addConfiguration', { id: 'c', priority: 1 }), 'Error', 501);
  await refused(call('addModule', { deviceId: keyDevice, moduleId: 'm' }), 'Error', 501);
  await refused(call('getModule', keyDevice, 'm'), 'Error', 404);
  assert.deepEqual(await call('getModulesOnDevice', keyDevice), []);
});

test('a wrong key', async () => {
  const stranger = Registry.fromConnectionString(connectionString.replace(/SharedAccessKey=.*/, `SharedAccessKey=${Buffer.alloc(64).toString('base64')}`));
  await refused(stranger.list(), 'UnauthorizedError', 401);
});
