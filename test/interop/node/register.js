// Registers devices with the official SDK, as its samples do, and prints how each ended.
//
// node register.js < JOB
//
// JOB is a JSON object: host, idScope, timeoutSeconds, devices. A device has
// registrationId and transport (https, mqtt or mqtt-ws), key or certFile and keyFile, and
// maybe payload and another idScope. They register all at once. What to trust is given by
// NODE_EXTRA_CA_CERTS.
//
// The output is {"sdk": ..., "outcomes": [...]}: for each device, in order, assigned,
// error or hung, and the answer that was seen. Exit code 0 means that all outcomes are
// there.
'use strict';

const fs = require('node:fs');
const { Http } = require('azure-iot-provisioning-device-http');
const { Mqtt, MqttWs } = require('azure-iot-provisioning-device-mqtt');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { X509Security } = require('azure-iot-security-x509');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');

const sdk = 'azure-iot-provisioning-device';
const transports = { https: Http, mqtt: Mqtt, 'mqtt-ws': MqttWs };

function securityOf(device) {
  if (device.key) {
    return new SymmetricKeySecurityClient(device.registrationId, device.key);
  }
  return new X509Security(device.registrationId, {
    cert: fs.readFileSync(device.certFile, 'utf8'),
    key: fs.readFileSync(device.keyFile, 'utf8'),
  });
}

// listen returns a function that tells the last answer which the transport got over
// MQTT; it only listens to the event that the transport itself listens to.
function listen(transport) {
  let last;
  if (transport._mqttBase) {
    transport._mqttBase.on('message', (topic, payload) => {
      last = { statusCode: Number(topic.split('/')[3]), body: JSON.parse(payload) };
    });
  }
  return () => last;
}

// httpAnswer returns the answer that an error of the HTTPS transport came from: the JSON
// body when the HTTP layer refused, the parsed result when the state machine did.
function httpAnswer(err) {
  if (!err.response) {
    return undefined;
  }
  return { statusCode: err.response.statusCode, body: err.result || JSON.parse(err.responseBody || '{}') };
}

function describeAnswer(err, heard) {
  const refusedAtConnect = /^Connection refused/.test(err.message) && Number.isInteger(err.code);
  const answer = heard || httpAnswer(err);
  if (!answer) {
    return refusedAtConnect ? { connack: err.code } : undefined;
  }
  const { errorCode, trackingId, status } = answer.body;
  return { statusCode: answer.statusCode, errorCode, trackingId, status };
}

async function register(job, device) {
  const transport = new transports[device.transport]();
  const heard = listen(transport);
  const client = ProvisioningDeviceClient.create(job.host, device.idScope || job.idScope, transport, securityOf(device));
  if (device.payload !== undefined) {
    client.setProvisioningPayload(device.payload);
  }
  try {
    return { assigned: await client.register() };
  } catch (err) {
    return { error: { name: err.name, message: err.message }, answer: describeAnswer(err, heard()) };
  }
}

async function registerInTime(job, device) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, job.timeoutSeconds * 1000, { hung: true });
  });
  const outcome = await Promise.race([register(job, device), late]);
  clearTimeout(timer);
  return outcome;
}

async function main() {
  const job = JSON.parse(fs.readFileSync(0, 'utf8'));
  const outcomes = await Promise.all(job.devices.map((device) => registerInTime(job, device)));
  const { version } = require(`${sdk}/package.json`);
  fs.writeSync(1, JSON.stringify({ sdk: `${sdk} ${version}`, outcomes }));
  if (outcomes.some((o) => o.hung)) {
    process.exit(0); // the program would hang with it, and the outcome would not be heard
  }
}

main();
