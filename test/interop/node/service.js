// Every operation of the official service SDK, in pages of more than 1,000 records, with
// its conflicts and its partial failures.
//
// node service.js CONNECTION_STRING HUB_HOST FLEET GROUPS LINE
//
// The service holds the individual enrollments fleet-0000, fleet-0001 and so on, FLEET of
// them, and solo; the groups group-1 and so on, and line, GROUPS of them. The device solo
// and the devices line-1 to line-LINE of the group line are registered and on HUB_HOST.
// MOORING_TOKEN in the environment is a bearer token of the service.
//
// Left out is what is broken in azure-iot-provisioning-service 1.10.1 itself:
// - runBulkEnrollmentOperation in its promise form: the promise never settles, because
//   the answer is dropped unless there is a callback (provisioningserviceclient.js).
// - Query.next in its promise form without an argument: it takes the missing argument
//   for the token and gives the first page for ever (query.js). With the token it works.
'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');

const [connectionString, hubHost, ...sizes] = process.argv.slice(2);
const [fleet, groups, line] = sizes.map(Number);
const client = ProvisioningServiceClient.fromConnectionString(connectionString);

const numbered = (count, first, name) => Array.from({ length: count }, (_, i) => name(first + i));
const individualIds = [...numbered(fleet, 0, (i) => `fleet-${String(i).padStart(4, '0')}`), 'solo'].sort();
const groupIds = [...numbered(groups - 1, 1, (i) => `group-${i}`), 'line'].sort();
const lineIds = numbered(line, 1, (i) => `line-${i}`);

const primaryKey = Buffer.alloc(64, 1).toString('base64');
const secondaryKey = Buffer.alloc(64, 2).toString('base64');
const attestation = { type: 'symmetricKey', symmetricKey: { primaryKey, secondaryKey } };
const staleEtag = Buffer.from('"stale"').toString('base64');

// The two forms of each call. Both give what the answer holds.
const forms = {
  callback: (method, ...args) =>
    new Promise((resolve, reject) => {
      client[method](...args, (err, body) => (err ? reject(err) : resolve(body)));
    }),
  promise: async (method, ...args) => {
    const result = await client[method](...args);
    return result && result.responseBody;
  },
};

// kinds tells what the methods for individual enrollments and for groups are called.
const kinds = {
  individual: {
    idField: 'registrationId',
    put: 'createOrUpdateIndividualEnrollment',
    get: 'getIndividualEnrollment',
    remove: 'deleteIndividualEnrollment',
    mechanism: 'getIndividualEnrollmentAttestationMechanism',
    conflict: 409201,
    missing: 404201,
  },
  group: {
    idField: 'enrollmentGroupId',
    put: 'createOrUpdateEnrollmentGroup',
    get: 'getEnrollmentGroup',
    remove: 'deleteEnrollmentGroup',
    mechanism: 'getEnrollmentGroupAttestationMechanism',
    conflict: 409202,
    missing: 404204,
  },
};

// refused checks that a call fails with the SDK's error for this status. The error itself
// is not shown, because it holds the whole connection. A 404 is a plain Error, because the
// SDK knows the codes of IoT Hub only (azure-iot-http-base, rest_api_client.js).
async function refused(call, name, statusCode, errorCode) {
  const err = await call.then(() => assert.fail('the call succeeds'), (e) => e);
  if (!err.response) {
    throw err;
  }
  const { errorCode: code, message, trackingId } = JSON.parse(err.responseBody);
  const seen = { name: err.constructor.name, statusCode: err.response.statusCode, errorCode: code };
  assert.deepEqual(seen, { name, statusCode, errorCode });
  assert.ok(message && trackingId);
}

for (const [kindName, kind] of Object.entries(kinds)) {
  for (const [formName, call] of Object.entries(forms)) {
    const id = `crud-${kindName}-${formName}`;
    const draft = { [kind.idField]: id, attestation };

    test(`${kindName}, ${formName}: create, read, update, delete`, async () => {
      const created = await call(kind.put, draft);
      const read = await call(kind.get, id);
      for (const record of [created, read]) {
        assert.equal(record[kind.idField], id);
        assert.equal(record.provisioningStatus, 'enabled');
        assert.equal(record.attestation.type, 'symmetricKey');
        assert.ok(Date.parse(record.createdDateTimeUtc));
      }
      assert.equal(read.etag, created.etag);
      assert.deepEqual((await call(kind.mechanism, id)).symmetricKey, { primaryKey, secondaryKey });

      const initialTwin = { tags: { site: 'plant-7' }, properties: { desired: { interval: 30 } } };
      const updated = await call(kind.put, { ...read, provisioningStatus: 'disabled', initialTwin });
      assert.notEqual(updated.etag, created.etag);
      assert.equal(updated.createdDateTimeUtc, created.createdDateTimeUtc);
      assert.equal(updated.provisioningStatus, 'disabled');
      assert.deepEqual(updated.initialTwin, initialTwin);
      // Who reads, changes and writes back does not change the keys.
      assert.deepEqual((await call(kind.mechanism, id)).symmetricKey, { primaryKey, secondaryKey });

      await call(kind.remove, updated);
      await refused(call(kind.get, id), 'Error', 404, kind.missing);
    });

    test(`${kindName}, ${formName}: conflicts`, async () => {
      const stale = await call(kind.put, draft);
      await refused(call(kind.put, draft), 'DeviceAlreadyExistsError', 409, kind.conflict);
      const current = await call(kind.put, stale);
      await refused(call(kind.put, stale), 'InvalidEtagError', 412, 412001);
      await refused(call(kind.remove, stale), 'InvalidEtagError', 412, 412001);
      await refused(call(kind.remove, id, stale.etag), 'InvalidEtagError', 412, 412001);
      assert.equal((await call(kind.get, id)).etag, current.etag);
      await call(kind.remove, id, current.etag);
      await call(kind.put, draft);
      await call(kind.remove, id);
      for (const method of [kind.get, kind.remove, kind.mechanism]) {
        await refused(call(method, id), 'Error', 404, kind.missing);
      }
    });

    test(`${kindName}, ${formName}: bad input`, async () => {
      const bad = { ...draft, provisioningStatus: 'maybe' };
      await refused(call(kind.put, bad), 'ArgumentError', 400, 400004);
      await refused(call(kind.get, id), 'Error', 404, kind.missing);
    });
  }
}

test('a client with a token credential', async () => {
  const host = /HostName=([^;]+)/.exec(connectionString)[1];
  const bearer = (token) =>
    ProvisioningServiceClient.fromTokenCredential(host, {
      getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3600e3 }),
    });
  const id = 'by-token';
  const known = bearer(process.env.MOORING_TOKEN);
  const created = (await known.createOrUpdateIndividualEnrollment({ registrationId: id, attestation })).responseBody;
  assert.equal((await known.getIndividualEnrollment(id)).responseBody.etag, created.etag);
  await known.deleteIndividualEnrollment(id, created.etag);
  await refused(bearer('no.such.token').getIndividualEnrollment(id), 'UnauthorizedError', 401, 401002);
});

// bulk runs a bulk operation and returns its errors as pairs of ID and code.
async function bulk(mode, enrollments) {
  const result = await forms.callback('runBulkEnrollmentOperation', { mode, enrollments });
  assert.equal(result.isSuccessful, result.errors.length === 0);
  assert.ok(result.errors.every((e) => e.errorStatus));
  return result.errors.map((e) => [e.registrationId, e.errorCode]);
}

const readAll = (ids) => Promise.all(ids.map((id) => forms.promise('getIndividualEnrollment', id)));
const drafts = (...ids) => ids.map((registrationId) => ({ registrationId, attestation }));

// The type declarations of the SDK spell the third mode differently from the service.
const updateModes = ['update', 'updateIfMatchETag', 'updateIfMatchEtag'];

test('bulk: create, update, delete', async () => {
  const ids = numbered(10, 0, (i) => `bulk-${i}`);
  assert.deepEqual(await bulk('create', drafts(...ids)), []);
  for (const mode of updateModes) {
    const changed = (await readAll(ids)).map((e) => ({ ...e, deviceId: `${mode}-${e.registrationId}` }));
    assert.deepEqual(await bulk(mode, changed), []);
    assert.deepEqual((await readAll(ids)).map((e) => e.deviceId), changed.map((e) => e.deviceId));
  }
  assert.deepEqual(await bulk('delete', await readAll(ids)), []);
  for (const id of ids) {
    await refused(forms.promise('getIndividualEnrollment', id), 'Error', 404, 404201);
  }
});

test('bulk: some fail and the others do not', async () => {
  assert.deepEqual(await bulk('create', drafts('part-1')), []);
  assert.deepEqual(await bulk('create', drafts('part-2', 'part-1', 'part-3')), [['part-1', 409201]]);
  for (const mode of updateModes) {
    const [first, second, third] = await readAll(['part-1', 'part-2', 'part-3']);
    const items = [
      { ...first, etag: undefined },
      { ...second, etag: staleEtag },
      { ...third, deviceId: `by-${mode}` },
    ];
    const withoutEtag = mode === 'update' ? 409201 : 412001;
    assert.deepEqual(await bulk(mode, items), [['part-1', withoutEtag], ['part-2', 412001]]);
    const after = await readAll(['part-1', 'part-2', 'part-3']);
    assert.deepEqual(after.slice(0, 2), [first, second]);
    assert.equal(after[2].deviceId, `by-${mode}`);
  }
  assert.deepEqual(await bulk('delete', drafts('part-1', 'part-no', 'part-2', 'part-3')), [['part-no', 404201]]);
});

test('bulk: too many, and no mode', async () => {
  const ids = numbered(11, 0, (i) => `over-${i}`);
  await refused(bulk('create', drafts(...ids)), 'ArgumentError', 400, 400004);
  await refused(bulk('upsert', drafts('over-0')), 'ArgumentError', 400, 400004);
  await refused(forms.promise('getIndividualEnrollment', 'over-0'), 'Error', 404, 404201);
});

// The two working ways through the pages of a query; see the top for the third.
const steps = {
  callback: (query) =>
    new Promise((resolve, reject) => {
      query.next((err, page) => (err ? reject(err) : resolve(page)));
    }),
  'promise with the token': async (query) => (await query.next(query.continuationToken)).responseBody,
};

const select = (query) => ({ query });

const queries = [
  { name: 'individual enrollments', idField: 'registrationId', ids: individualIds, type: 'Enrollment',
    sizes: [100, 500, undefined], create: (size) => client.createIndividualEnrollmentQuery(select('*'), size) },
  { name: 'groups', idField: 'enrollmentGroupId', ids: groupIds, type: 'EnrollmentGroup',
    sizes: [2, undefined], create: (size) => client.createEnrollmentGroupQuery(select('select * from enrollmentGroups'), size) },
  { name: 'registrations', idField: 'registrationId', ids: lineIds, type: 'DeviceRegistration',
    sizes: [2, undefined],
    create: (size) => client.createEnrollmentGroupDeviceRegistrationStateQuery(select('*'), 'line', size) },
];

for (const query of queries) {
  for (const [stepName, step] of Object.entries(steps)) {
    for (const size of query.sizes) {
      test(`query: ${query.name}, ${stepName}, ${size || 'default'} a page`, async () => {
        const pages = [];
        const cursor = query.create(size);
        while (cursor.hasMoreResults) {
          pages.push(await step(cursor));
          assert.ok(pages.length <= query.ids.length, 'the pages come to an end');
        }
        assert.deepEqual(pages.flat().map((item) => item[query.idField]).sort(), query.ids);
        if (size) {
          assert.equal(pages.length, Math.ceil(query.ids.length / size));
          assert.ok(pages.slice(0, -1).every((page) => page.length === size));
        }
      });
    }
  }

  test(`query: ${query.name}, the answer's headers`, (_, done) => {
    query.create(1).next((err, page, response) => {
      assert.ifError(err);
      assert.equal(page.length, 1);
      assert.equal(response.headers['x-ms-item-type'], query.type);
      assert.ok(response.headers['x-ms-continuation']);
      done();
    });
  });
}

test('query: bad text', async () => {
  for (const method of ['createIndividualEnrollmentQuery', 'createEnrollmentGroupQuery']) {
    await refused(steps.callback(client[method](select('DROP TABLE enrollments'))), 'ArgumentError', 400, 400004);
  }
});

for (const [formName, call] of Object.entries(forms)) {
  test(`registrations, ${formName}: read`, async () => {
    for (const id of ['solo', ...lineIds]) {
      const state = await call('getDeviceRegistrationState', id);
      assert.equal(state.registrationId, id);
      assert.equal(state.deviceId, id);
      assert.equal(state.assignedHub, hubHost);
      assert.equal(state.status, 'assigned');
      assert.equal(state.substatus, 'initialAssignment');
      assert.ok(state.etag);
    }
    for (const method of ['getDeviceRegistrationState', 'deleteDeviceRegistrationState']) {
      await refused(call(method, 'nobody'), 'Error', 404, 404202);
    }
  });
}

// These come last, because they take the registrations away: line-1 and line-2 as
// records, line-3 and line-4 by their IDs.
for (const [i, [formName, call]] of Object.entries(forms).entries()) {
  test(`registrations, ${formName}: delete`, async () => {
    const [first, second] = await Promise.all([
      call('getDeviceRegistrationState', lineIds[i]), call('getDeviceRegistrationState', lineIds[i + 2]),
    ]);
    await refused(call('deleteDeviceRegistrationState', first.registrationId, staleEtag), 'InvalidEtagError', 412, 412001);
    await call('deleteDeviceRegistrationState', first);
    await call('deleteDeviceRegistrationState', second.registrationId);
    for (const state of [first, second]) {
      await refused(call('getDeviceRegistrationState', state.registrationId), 'Error', 404, 404202);
    }
  });
}
