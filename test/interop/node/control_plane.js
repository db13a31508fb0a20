// Every operation of the official management SDK @azure/arm-deviceprovisioningservices.
//
// node control_plane.js INFO CA_CERTIFICATE
//
// INFO is a file with what `mooring info --json` prints, CA_CERTIFICATE a PEM file of a CA.
// The process must trust the CA file of the service: NODE_EXTRA_CA_CERTS.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { IotDpsClient } = require('@azure/arm-deviceprovisioningservices');

const [infoFile, caFile] = process.argv.slice(2);
const info = JSON.parse(fs.readFileSync(infoFile, 'utf8'));
const subscription = '00000000-0000-0000-0000-000000000000';
const [group, name] = ['mooring', 'default'];

const credential = {
  getToken: async () => ({ token: info.controlPlane.token, expiresOnTimestamp: Date.now() + 3600_000 }),
};
const client = new IotDpsClient(credential, subscription, { endpoint: `https://${info.serviceEndpoint}` });
const dps = client.iotDpsResource;

async function all(pages) {
  const found = [];
  for await (const item of pages) found.push(item);
  return found;
}

async function refused(status, words, promise) {
  await assert.rejects(async () => promise, (err) => {
    assert.equal(Number(err.statusCode), status, err.message);
    assert.match(err.message, words);
    return true;
  });
}

const get = () => dps.get(group, name);
const put = (service) => dps.createOrUpdate(group, name, service);

async function read() {
  const service = await get();
  assert.equal(service.properties.state, 'Active');
  const [hub] = service.properties.iotHubs;
  assert.equal(hub.hostName, hub.name);
  assert.equal(hub.authenticationType, 'KeyBased');
  assert.deepEqual((await all(dps.listBySubscription())).map((s) => s.id), [service.id]);
  assert.deepEqual((await all(dps.listByResourceGroup(group))).map((s) => s.id), [service.id]);
  assert.deepEqual((await all(dps.listValidSkus(name, group))).map((s) => s.name), ['S1']);
  assert.ok((await all(client.operations.list())).some((o) => o.name.endsWith('/write')));
  const answer = await dps.checkProvisioningServiceNameAvailability({ name });
  assert.deepEqual([answer.nameAvailable, answer.reason], [false, 'AlreadyExists']);
  await refused(404, /operation/, dps.getOperationResult('abc', group, name, 'true'));
  await refused(404, /another/, dps.get(group, 'another'));
}

async function writeBack() {
  const service = await get();
  const written = await put({ ...service, tags: { site: 'plant-7' } });
  assert.deepEqual(written.tags, { site: 'plant-7' });
  assert.deepEqual(written.properties.iotHubs, service.properties.iotHubs);
  assert.deepEqual((await dps.update(group, name, { tags: { a: 'b' } })).tags, { a: 'b' });
}

async function members() {
  let service = await get();
  Object.assign(service.properties, {
    disableLocalAuth: false, enableDataResidency: false, publicNetworkAccess: 'Enabled', ipFilterRules: [], privateEndpointConnections: [],
  });
  service.identity = { type: 'None' };
  await put(service);
  for (const [member, value] of Object.entries({ disableLocalAuth: true, enableDataResidency: true, publicNetworkAccess: 'Disabled' })) {
    service = await get();
    service.properties[member] = value;
    await refused(400, new RegExp(`properties.${member}`), put(service));
  }
  service = await get();
  service.properties.iotHubs[0].authenticationType = 'UserAssigned';
  await refused(400, /authenticationType: must be KeyBased/, put(service));
}

async function policies() {
  const owners = await all(dps.listKeys(name, group));
  const line = { keyName: 'line-7', rights: 'EnrollmentRead' };
  const write = async (...policies) => {
    const service = await get();
    service.properties.authorizationPolicies = policies;
    return put(service);
  };
  await write(...owners, line);
  const first = await dps.listKeysForKeyName(name, 'line-7', group);
  await write(...owners, line);
  assert.deepEqual(await dps.listKeysForKeyName(name, 'line-7', group), first);
  await write(...owners, { ...line, primaryKey: null });
  const second = await dps.listKeysForKeyName(name, 'line-7', group);
  assert.notEqual(second.primaryKey, first.primaryKey);
  assert.equal(second.secondaryKey, first.secondaryKey);
  await refused(400, /primaryKey: is empty/, write(...owners, { ...line, primaryKey: '' }));
  await write(...owners);
  await refused(404, /line-7/, dps.listKeysForKeyName(name, 'line-7', group));
}

async function privateEndpoints() {
  assert.deepEqual(await dps.listPrivateEndpointConnections(group, name), []);
  assert.deepEqual((await dps.listPrivateLinkResources(group, name)).value, []);
  await refused(404, /private/, dps.getPrivateEndpointConnection(group, name, 'one'));
  await refused(404, /private/, dps.getPrivateLinkResources(group, name, 'iotDps'));
  await refused(404, /private/, dps.deletePrivateEndpointConnection(group, name, 'one'));
  const state = { status: 'Approved', description: 'x' };
  await refused(400, /privateEndpointConnections/, dps.createOrUpdatePrivateEndpointConnection(group, name, 'one', {
    properties: { privateLinkServiceConnectionState: state },
  }));
}

async function createAndDelete() {
  const { etag, ...service } = await get();
  await refused(400, /one provisioning service/, dps.createOrUpdate(group, 'another', service));
  await refused(409, /cannot be deleted/, dps.delete(group, name));
  await dps.delete(group, 'another');
}

async function certificates() {
  const certificate = new Uint8Array(fs.readFileSync(caFile));
  const made = await client.dpsCertificate.createOrUpdate(group, name, 'node-ca', { properties: { certificate, isVerified: true } });
  assert.equal(made.properties.isVerified, true);
  assert.ok(made.properties.expiry instanceof Date);
  assert.deepEqual((await client.dpsCertificate.list(group, name)).value.map((c) => c.name), ['node-ca']);
  const coded = await client.dpsCertificate.generateVerificationCode('node-ca', made.etag, group, name);
  assert.ok(coded.properties.verificationCode);
  const proof = { certificate: fs.readFileSync(caFile, 'utf8') };
  await refused(400, /./, client.dpsCertificate.verifyCertificate('node-ca', coded.etag, group, name, proof));
  await refused(412, /./, client.dpsCertificate.delete(group, name, 'node-ca', made.etag));
  await client.dpsCertificate.delete(group, name, 'node-ca', coded.etag);
  await refused(404, /node-ca/, client.dpsCertificate.get('node-ca', group, name));
}

(async () => {
  for (const step of [read, writeBack, members, policies, privateEndpoints, createAndDelete, certificates]) {
    await step();
    console.log('ok', step.name);
  }
})().catch((err) => {
  console.error(err);
  process.exit(1);
});
