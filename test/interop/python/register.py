"""Registers devices with the official SDK, as its samples do, and prints how each ended.

python register.py < JOB

JOB is a JSON object: host, idScope, timeoutSeconds, devices. A device has registrationId
and transport (mqtt or mqtt-ws), key or certFile and keyFile, and maybe payload, another
idScope, and caFile, the authority to trust instead of the system's. With "trace": true
the devices register one after the other, so that the SDK's log tells what the service
answered to which; without, they register all at once.

The output is {"sdk": ..., "outcomes": [...]}: for each device, in order, assigned, error
or hung, and the answer that was seen. Exit code 0 means that all outcomes are there.
"""

import ast
import importlib.metadata
import json
import logging
import os
import re
import sys
import threading
import time

from azure.iot.device import X509, ProvisioningDeviceClient

SDK = "azure-iot-device"
ANSWER = re.compile(r"Received payload:(?P<body>b.*) on topic:\$dps/registrations/res/(?P<status>\d+)/")
CONNACK = re.compile(r"connected with result code: (?P<code>[1-9]\d*)$")


class Answers(logging.Handler):
    """Keeps the last answer of the service that the SDK's log tells."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.last = None

    def emit(self, record):
        text = record.getMessage()
        if match := ANSWER.search(text):
            body = json.loads(ast.literal_eval(match["body"]))
            self.last = {"statusCode": int(match["status"])}
            self.last.update((k, body[k]) for k in ("errorCode", "trackingId", "status") if k in body)
        elif match := CONNACK.search(text):
            self.last = {"connack": int(match["code"])}


def trace():
    """Returns the handler that hears all that the SDK logs."""
    answers = Answers()
    logger = logging.getLogger("azure.iot.device")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(answers)
    return answers


def client_for(job, device):
    """Returns the SDK's client for a device."""
    options = {"websockets": device["transport"] == "mqtt-ws"}
    if "caFile" in device:
        with open(device["caFile"], encoding="ascii") as pem:
            options["server_verification_cert"] = pem.read()
    names = {
        "provisioning_host": job["host"],
        "registration_id": device["registrationId"],
        "id_scope": device.get("idScope", job["idScope"]),
    }
    if "key" in device:
        create = ProvisioningDeviceClient.create_from_symmetric_key
        client = create(symmetric_key=device["key"], **names, **options)
    else:
        create = ProvisioningDeviceClient.create_from_x509_certificate
        client = create(x509=X509(device["certFile"], device["keyFile"]), **names, **options)
    if "payload" in device:
        client.provisioning_payload = device["payload"]
    return client


def describe(error):
    """Returns an exception, and the one that it was raised from, as plain data."""
    told = {"name": type(error).__name__, "message": str(error)}
    if error.__cause__ is not None:
        told["cause"] = describe(error.__cause__)
    return told


def register(job, device, outcome):
    """Registers one device and writes how it ended into outcome."""
    try:
        result = client_for(job, device).register()
        state = result.registration_state
        outcome["assigned"] = {
            "status": result.status,
            "substatus": state.sub_status,
            "assignedHub": state.assigned_hub,
            "deviceId": state.device_id,
        }
    except Exception as error:  # the SDK's own, and whatever else it lets out
        outcome["error"] = describe(error)


def run_together(job, outcomes):
    """Registers all devices at once."""
    threads = [
        threading.Thread(target=register, args=(job, device, outcome), daemon=True)
        for device, outcome in zip(job["devices"], outcomes)
    ]
    deadline = time.monotonic() + job["timeoutSeconds"]
    for thread in threads:
        thread.start()
    for thread, outcome in zip(threads, outcomes):
        thread.join(max(0, deadline - time.monotonic()))
        if thread.is_alive():
            outcome["hung"] = True


def run_traced(job, outcomes):
    """Registers one device after the other and tells what the service answered."""
    answers = trace()
    for device, outcome in zip(job["devices"], outcomes):
        answers.last = None
        thread = threading.Thread(target=register, args=(job, device, outcome), daemon=True)
        thread.start()
        thread.join(job["timeoutSeconds"])
        if thread.is_alive():
            outcome["hung"] = True
        if answers.last:
            outcome["answer"] = answers.last


def main():
    job = json.load(sys.stdin)
    outcomes = [{} for _ in job["devices"]]
    (run_traced if job.get("trace") else run_together)(job, outcomes)
    json.dump({"sdk": f"{SDK} {importlib.metadata.version(SDK)}", "outcomes": outcomes}, sys.stdout)
    sys.stdout.flush()
    if any("hung" in outcome for outcome in outcomes):
        os._exit(0)  # the program would hang with it, and the outcome would not be heard


if __name__ == "__main__":
    main()
