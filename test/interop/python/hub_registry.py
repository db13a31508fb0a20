"""The registry manager of the official SDK for hubs: identities and twins, over REST.

python hub_registry.py CONNECTION_STRING CERT_DEVICE THUMBPRINT KEY_DEVICE PRIMARY_KEY SECONDARY_KEY

Both devices were placed there by the provisioning service, with tags {"site":"plant-7","floor":3}
and desired properties {"interval":30,"alarm":{"on":true}}. There are no others.
"""

import base64
import sys
import unittest

from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.protocol.models import ExportImportDevice, QuerySpecification, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

CONNECTION_STRING, CERT_DEVICE, THUMBPRINT, KEY_DEVICE, PRIMARY_KEY, SECONDARY_KEY = sys.argv[1:7]

TAGS = {"site": "plant-7", "floor": 3}
DESIRED = {"interval": 30, "alarm": {"on": True}}
KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(range(32, 64))).decode()


def properties(half):
    """Returns one half of a twin without what the hub adds."""
    return {name: value for name, value in half.items() if not name.startswith("$")}


class HubTest(unittest.TestCase):
    """What all tests share."""

    longMessage = True

    def setUp(self):
        self.hub = IoTHubRegistryManager.from_connection_string(CONNECTION_STRING)

    def assert_refused(self, status, call, *args):
        with self.assertRaises(HttpOperationError) as caught:
            call(*args)
        self.assertEqual(caught.exception.response.status_code, status)


class ProvisionedTest(HubTest):
    """What the provisioning service wrote."""

    def test_identities(self):
        device = self.hub.get_device(CERT_DEVICE)
        self.assertEqual(device.device_id, CERT_DEVICE)
        self.assertEqual(device.status, "enabled")
        self.assertEqual(device.authentication.type, "selfSigned")
        self.assertEqual(device.authentication.x509_thumbprint.primary_thumbprint, THUMBPRINT)
        device = self.hub.get_device(KEY_DEVICE)
        self.assertEqual(device.authentication.type, "sas")
        self.assertEqual(device.authentication.symmetric_key.primary_key, PRIMARY_KEY)
        self.assertEqual(device.authentication.symmetric_key.secondary_key, SECONDARY_KEY)
        self.assertEqual(
            {d.device_id for d in self.hub.get_devices(1000)}, {CERT_DEVICE, KEY_DEVICE}
        )

    def test_twins(self):
        for device in (CERT_DEVICE, KEY_DEVICE):
            twin = self.hub.get_twin(device)
            self.assertEqual(twin.tags, TAGS)
            self.assertEqual(properties(twin.properties.desired), DESIRED)
            self.assertEqual(properties(twin.properties.reported), {})
            self.assertEqual(twin.status, "enabled")
            self.assertEqual(twin.version, 2)

    def test_queries(self):
        page = self.hub.query_iot_hub(QuerySpecification(query="SELECT * FROM devices"), None, "1")
        self.assertEqual([t.device_id for t in page.items], [min(CERT_DEVICE, KEY_DEVICE)])
        self.assertTrue(page.continuation_token)
        rest = self.hub.query_iot_hub(
            QuerySpecification(query="SELECT * FROM devices"), page.continuation_token, "1"
        )
        self.assertEqual([t.device_id for t in rest.items], [max(CERT_DEVICE, KEY_DEVICE)])
        self.assertEqual(rest.items[0].tags, TAGS)
        self.assertFalse(rest.continuation_token)

    def test_statistics(self):
        self.assertEqual(self.hub.get_device_registry_statistics().total_device_count, 2)
        self.assertEqual(self.hub.get_service_statistics().connected_device_count, 0)


class WriteTest(HubTest):
    """What a service writes."""

    def test_identity(self):
        created = self.hub.create_device_with_sas(
            "py-1", KEY, OTHER_KEY, "enabled", status_reason="new"
        )
        self.addCleanup(self.hub.delete_device, "py-1")
        self.assertEqual(created.authentication.symmetric_key.primary_key, KEY)
        self.assertEqual(created.status_reason, "new")
        self.assert_refused(
            409, self.hub.create_device_with_sas, "py-1", KEY, OTHER_KEY, "enabled"
        )
        updated = self.hub.update_device_with_sas("py-1", created.etag, OTHER_KEY, KEY, "disabled")
        self.assertEqual(updated.status, "disabled")
        self.assertEqual(updated.authentication.symmetric_key.primary_key, OTHER_KEY)
        self.assertEqual(updated.generation_id, created.generation_id)
        self.assert_refused(
            412, self.hub.update_device_with_sas, "py-1", created.etag, KEY, KEY, "enabled"
        )
        self.assert_refused(412, self.hub.delete_device, "py-1", created.etag)

    def test_other_authentication(self):
        thumbprint = "0F" * 20
        self.hub.create_device_with_x509("py-2", thumbprint, THUMBPRINT, "enabled", iot_edge=True)
        self.addCleanup(self.hub.delete_device, "py-2")
        device = self.hub.get_device("py-2")
        self.assertEqual(device.authentication.x509_thumbprint.primary_thumbprint, thumbprint)
        self.assertEqual(device.authentication.x509_thumbprint.secondary_thumbprint, THUMBPRINT)
        self.assertTrue(device.capabilities.iot_edge)
        self.hub.create_device_with_certificate_authority(
            "py-3", "enabled", device_scope=device.device_scope
        )
        self.addCleanup(self.hub.delete_device, "py-3")
        leaf = self.hub.get_device("py-3")
        self.assertEqual(leaf.authentication.type, "certificateAuthority")
        self.assertEqual(leaf.parent_scopes, [device.device_scope])

    def test_twin(self):
        self.hub.create_device_with_sas("py-4", KEY, OTHER_KEY, "enabled")
        self.addCleanup(self.hub.delete_device, "py-4")
        twin = self.hub.get_twin("py-4")
        patch = Twin(tags={"a": 1}, properties=TwinProperties(desired={"b": {"c": 2}}))
        changed = self.hub.update_twin("py-4", patch, twin.etag)
        self.assertEqual(changed.tags, {"a": 1})
        self.assertEqual(properties(changed.properties.desired), {"b": {"c": 2}})
        self.assert_refused(412, self.hub.update_twin, "py-4", patch, twin.etag)
        replaced = self.hub.replace_twin(
            "py-4", Twin(properties=TwinProperties(desired={"d": 3})), changed.etag
        )
        self.assertEqual(properties(replaced.properties.desired), {"d": 3})
        self.assertEqual(replaced.properties.desired["$version"], 3)
        # A twin as it was read goes back as it is.
        again = self.hub.replace_twin("py-4", replaced, replaced.etag)
        self.assertEqual(properties(again.properties.desired), {"d": 3})

    def test_bulk(self):
        devices = [
            ExportImportDevice(id="py-bulk-{}".format(i), import_mode="create", tags={"n": i})
            for i in range(10)
        ]
        result = self.hub.bulk_create_or_update_devices(devices)
        self.assertTrue(result.is_successful, result.errors)
        self.assertEqual(self.hub.get_twin("py-bulk-7").tags, {"n": 7})
        for device in devices:
            device.import_mode = "delete"
        self.assertTrue(self.hub.bulk_create_or_update_devices(devices).is_successful)
        result = self.hub.bulk_create_or_update_devices(devices[:1])
        self.assertFalse(result.is_successful)
        self.assertEqual(result.errors[0].device_id, "py-bulk-0")

    def test_refusals(self):
        self.assert_refused(404, self.hub.get_device, "nobody")
        self.assert_refused(404, self.hub.get_twin, "nobody")
        self.assert_refused(404, self.hub.delete_device, "nobody")
        self.assert_refused(404, self.hub.get_module, KEY_DEVICE, "m")
        self.assert_refused(
            400, self.hub.query_iot_hub, QuerySpecification(query="SELECT tags FROM devices")
        )


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
