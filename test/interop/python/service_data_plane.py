"""Everything that azure-iot-deviceprovisioning can do, in a service that prepareFleet of the tests filled.

python service_data_plane.py CONNECTION_STRING HUB_HOST FLEET GROUPS LINE CA_PEM

The service holds the FLEET individual enrollments fleet-0000 and so on, and "solo"; GROUPS groups, with
the group "line", from which LINE devices have registered. HUB_HOST is a linked hub. MOORING_TOKEN in the
environment is a bearer token of the instance.
"""

import os
import sys
import time
import unittest

from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.iot.deviceprovisioning import DeviceProvisioningClient, generate_sas_token

CONNECTION_STRING, HUB_HOST = sys.argv[1:3]
FLEET, GROUPS, LINE = (int(number) for number in sys.argv[3:6])
with open(sys.argv[6], encoding="ascii") as pem:
    CA = pem.read()
PARTS = dict(part.split("=", 1) for part in CONNECTION_STRING.split(";"))


def keyed(registration_id, **more):
    """Returns an individual enrollment whose keys the service makes."""
    return {"registrationId": registration_id, "attestation": {"type": "symmetricKey"}, **more}


class Token:
    """The credential of an instance's own bearer token."""

    def get_token(self, *_scopes, **_options):
        return AccessToken(os.environ["MOORING_TOKEN"], int(time.time()) + 600)


class DataPlaneTest(unittest.TestCase):
    """What all tests share."""

    def setUp(self):
        self.client = DeviceProvisioningClient.from_connection_string(CONNECTION_STRING)

    def fails(self, status, call, *args, **kwargs):
        """Checks that a call ends with an HTTP status."""
        with self.assertRaises(HttpResponseError) as raised:
            call(*args, **kwargs)
        self.assertEqual(raised.exception.status_code, status, raised.exception)


class Credentials(DataPlaneTest):
    """Every credential that the client takes."""

    def test_credentials(self):
        host, name, key = PARTS["HostName"], PARTS["SharedAccessKeyName"], PARTS["SharedAccessKey"]
        for credential in (
            AzureNamedKeyCredential(name, key),
            AzureSasCredential(generate_sas_token(host, name, key)),
            Token(),
        ):
            with self.subTest(type(credential).__name__):
                client = DeviceProvisioningClient(endpoint=host, credential=credential)
                self.assertEqual(client.enrollment.get("solo")["registrationId"], "solo")

    def test_wrong_key(self):
        wrong = AzureNamedKeyCredential(PARTS["SharedAccessKeyName"], "c2VjcmV0")
        client = DeviceProvisioningClient(endpoint=PARTS["HostName"], credential=wrong)
        self.fails(401, client.enrollment.get, "solo")


class Enrollments(DataPlaneTest):
    """Individual enrollments."""

    def test_life(self):
        wanted = keyed(
            "beta-1",
            deviceId="beta-device",
            iotHubs=[HUB_HOST],
            allocationPolicy="static",
            provisioningStatus="enabled",
            reprovisionPolicy={"updateHubAssignment": True, "migrateDeviceData": False},
            initialTwin={"tags": {"site": "plant-7"}, "properties": {"desired": {"interval": 30}}},
            optionalDeviceInformation={"batch": 7},
        )
        made = self.client.enrollment.create_or_update("beta-1", wanted)
        for member in set(wanted) - {"attestation"}:
            if isinstance(wanted[member], dict):
                self.assertLessEqual(wanted[member].items(), made[member].items(), member)
            else:
                self.assertEqual(made[member], wanted[member], member)
        keys = self.client.enrollment.get_attestation_mechanism("beta-1")
        self.assertTrue(keys["symmetricKey"]["primaryKey"])

        made["provisioningStatus"] = "disabled"
        changed = self.client.enrollment.create_or_update("beta-1", made, if_match=made["etag"])
        self.assertEqual(changed["provisioningStatus"], "disabled")
        self.fails(412, self.client.enrollment.create_or_update, "beta-1", made, if_match=made["etag"])
        self.fails(412, self.client.enrollment.delete, "beta-1", if_match=made["etag"])
        self.client.enrollment.delete("beta-1", if_match=changed["etag"])
        with self.assertRaises(ResourceNotFoundError):
            self.client.enrollment.get("beta-1")

    def test_static_without_hubs(self):
        """The live tests of the SDK write this, and DPS takes it."""
        made = self.client.enrollment.create_or_update("beta-static", keyed("beta-static", allocationPolicy="static"))
        self.assertEqual(made["allocationPolicy"], "static")
        self.client.enrollment.delete("beta-static")

    def test_bulk(self):
        some = [keyed(f"beta-bulk-{i}") for i in range(3)]
        result = self.client.enrollment.run_bulk_operation({"mode": "create", "enrollments": some})
        self.assertTrue(result["isSuccessful"], result)
        result = self.client.enrollment.run_bulk_operation({"mode": "create", "enrollments": some[:1]})
        self.assertFalse(result["isSuccessful"])
        self.assertEqual(result["errors"][0]["registrationId"], "beta-bulk-0")
        result = self.client.enrollment.run_bulk_operation({"mode": "delete", "enrollments": some})
        self.assertTrue(result["isSuccessful"], result)

    def test_query(self):
        found = list(self.client.enrollment.query({"query": "SELECT * FROM enrollments"}, top=400))
        self.assertEqual(len(found), FLEET + 1)
        self.assertEqual(len({e["registrationId"] for e in found}), FLEET + 1)


class Groups(DataPlaneTest):
    """Enrollment groups."""

    def test_life(self):
        x509 = {"signingCertificates": {"primary": {"certificate": CA}}}
        wanted = {"enrollmentGroupId": "beta-group", "attestation": {"type": "x509", "x509": x509}}
        made = self.client.enrollment_group.create_or_update("beta-group", wanted)
        info = made["attestation"]["x509"]["signingCertificates"]["primary"]["info"]
        self.assertTrue(info["sha256Thumbprint"])
        self.assertEqual(self.client.enrollment_group.get("beta-group")["etag"], made["etag"])
        self.fails(412, self.client.enrollment_group.delete, "beta-group", if_match='"other"')
        self.client.enrollment_group.delete("beta-group", if_match=made["etag"])
        self.fails(404, self.client.enrollment_group.get, "beta-group")

    def test_keys(self):
        keys = self.client.enrollment_group.get_attestation_mechanism("line")
        self.assertTrue(keys["symmetricKey"]["secondaryKey"])

    def test_bulk(self):
        some = [{"enrollmentGroupId": f"beta-bulk-{i}", "attestation": {"type": "symmetricKey"}} for i in range(2)]
        result = self.client.enrollment_group.run_bulk_operation({"mode": "create", "enrollmentGroups": some})
        self.assertTrue(result["isSuccessful"], result)
        result = self.client.enrollment_group.run_bulk_operation({"mode": "delete", "enrollmentGroups": some})
        self.assertTrue(result["isSuccessful"], result)

    def test_query(self):
        found = list(self.client.enrollment_group.query({"query": "SELECT *"}, top=3))
        self.assertGreaterEqual(len(found), GROUPS)


class Registrations(DataPlaneTest):
    """Registration records."""

    def test_registrations(self):
        states = list(self.client.device_registration_state.query("line", top=2))
        self.assertEqual(len(states), LINE)
        state = self.client.device_registration_state.get(states[0]["registrationId"])
        self.assertEqual((state["status"], state["assignedHub"]), ("assigned", HUB_HOST))
        self.fails(412, self.client.device_registration_state.delete, state["registrationId"], if_match='"other"')
        self.client.device_registration_state.delete(state["registrationId"], if_match=state["etag"])
        self.fails(404, self.client.device_registration_state.get, state["registrationId"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
