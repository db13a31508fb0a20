"""Registers a device with paho-mqtt, as the documentation of MQTT for DPS describes, without any device SDK.

python paho_register.py HOST CA_FILE ID_SCOPE REGISTRATION_ID [CERT_FILE KEY_FILE]

With a key instead of a certificate, DEVICE_KEY in the environment has it in base64. Prints the hub.
"""

import base64
import hashlib
import hmac
import json
import os
import queue
import ssl
import sys
import time
import urllib.parse
import uuid

import paho.mqtt.client as mqtt

HOST, CA_FILE, ID_SCOPE, REGISTRATION_ID = sys.argv[1:5]
CERTIFICATE = sys.argv[5:7]
VERSION = "2019-03-31"
PATIENCE = 20  # seconds for an answer


def token():
    """Returns a SAS token of the device."""
    resource = urllib.parse.quote(f"{ID_SCOPE}/registrations/{REGISTRATION_ID}", safe="")
    expiry = int(time.time()) + 600
    key = base64.b64decode(os.environ["DEVICE_KEY"])
    mac = hmac.new(key, f"{resource}\n{expiry}".encode(), hashlib.sha256)
    signature = urllib.parse.quote(base64.b64encode(mac.digest()), safe="")
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn=registration"


def main():
    events = queue.Queue()
    if hasattr(mqtt, "CallbackAPIVersion"):  # paho-mqtt 2
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=REGISTRATION_ID, protocol=mqtt.MQTTv311)
    else:
        client = mqtt.Client(client_id=REGISTRATION_ID, protocol=mqtt.MQTTv311)
    client.on_connect = lambda *args: events.put(("connected", args[3]))
    client.on_subscribe = lambda *args: events.put(("subscribed", args[3]))
    client.on_message = lambda _client, _data, message: events.put((message.topic, message.payload))

    def wait(what):
        name, value = events.get(timeout=PATIENCE)
        assert name.startswith(what), f"{name} {value}, not {what}"
        return name, value

    username = f"{ID_SCOPE}/registrations/{REGISTRATION_ID}/api-version={VERSION}"
    client.username_pw_set(username, None if CERTIFICATE else token())
    client.tls_set(CA_FILE, *CERTIFICATE, tls_version=ssl.PROTOCOL_TLS_CLIENT)
    client.connect(HOST, 8883)
    client.loop_start()
    wait("connected")
    client.subscribe("$dps/registrations/res/#", qos=1)
    wait("subscribed")

    body = json.dumps({"registrationId": REGISTRATION_ID})
    client.publish(f"$dps/registrations/PUT/iotdps-register/?$rid={uuid.uuid4()}", body, qos=1)
    while True:
        topic, payload = wait("$dps/registrations/res/")
        answer = json.loads(payload)
        if topic.split("/")[3] != "202":
            break
        query = urllib.parse.parse_qs(topic.split("?")[1])
        time.sleep(float(query["retry-after"][0]))
        poll = f"?$rid={uuid.uuid4()}&operationId={answer['operationId']}"
        client.publish(f"$dps/registrations/GET/iotdps-get-operationstatus/{poll}", qos=1)
    client.disconnect()
    client.loop_stop()
    assert answer["status"] == "assigned", answer
    print(answer["registrationState"]["assignedHub"])


main()
