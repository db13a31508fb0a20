// Registers one device over HTTPS with the official SDK, as its samples do, and prints
// {"assigned": ...} or {"error": ...}. Exit code 0 means assigned.
//
// node register.js HOST ID_SCOPE REGISTRATION_ID CERTIFICATE_PEM KEY_PEM
'use strict';

const fs = require('node:fs');
const { Http } = require('azure-iot-provisioning-device-http');
const { X509Security } = require('azure-iot-security-x509');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');

// bodyOf returns the object that the service answered with an error: its JSON body
// when the HTTP layer refused, the parsed result when the state machine did.
function bodyOf(err) {
  if (err.result) {
    return err.result;
  }
  try {
    return JSON.parse(err.responseBody);
  } catch {
    return {};
  }
}

function describe(err) {
  const response = err.response || err.transportObject || {};
  const body = bodyOf(err);
  return {
    name: err.name,
    message: err.message,
    code: err.code,
    statusCode: response.statusCode,
    errorCode: body.errorCode,
    trackingId: body.trackingId,
    status: body.status,
  };
}

async function main() {
  const [host, idScope, registrationId, certFile, keyFile] = process.argv.slice(2);
  const certificate = {
    cert: fs.readFileSync(certFile, 'utf8'),
    key: fs.readFileSync(keyFile, 'utf8'),
  };
  const security = new X509Security(registrationId, certificate);
  const client = ProvisioningDeviceClient.create(host, idScope, new Http(), security);
  try {
    console.log(JSON.stringify({ assigned: await client.register() }));
  } catch (err) {
    console.log(JSON.stringify({ error: describe(err) }));
    process.exitCode = 1;
  }
}

main();
