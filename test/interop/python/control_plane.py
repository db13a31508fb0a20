"""Every operation of the official management SDK azure-mgmt-iothubprovisioningservices.

python control_plane.py INFO CA_CERTIFICATE

INFO is a file with what `mooring info --json` prints. CA_CERTIFICATE is a PEM file of a CA
whose key is in CA_CERTIFICATE with the ending .key. The program signs the verification
certificate with openssl.
"""

import datetime
import json
import os
import ssl
import subprocess
import sys
import tempfile
import unittest

from azure.core import MatchConditions
from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.serialization import NULL
from azure.mgmt.iothubprovisioningservices import IotDpsClient, models

INFO_FILE, CA_FILE = sys.argv[1:3]
with open(INFO_FILE, encoding="utf-8") as file:
    INFO = json.load(file)

SUBSCRIPTION, GROUP, NAME = "00000000-0000-0000-0000-000000000000", "mooring", "default"


class Token:
    """A credential that is always the same token."""

    def get_token(self, *scopes, **kwargs):
        return AccessToken(INFO["controlPlane"]["token"], 4102444800)

    def get_token_info(self, *scopes, options=None):
        return AccessTokenInfo(INFO["controlPlane"]["token"], 4102444800)


def new_client():
    endpoint = INFO["serviceEndpoint"]
    base = endpoint if "://" in endpoint else "https://" + endpoint
    return IotDpsClient(Token(), SUBSCRIPTION, base_url=base, polling_interval=0, connection_verify=INFO["caFile"])


class ControlPlane(unittest.TestCase):
    """One service, changed and put back."""

    def setUp(self):
        self.client = new_client()
        self.dps = self.client.iot_dps_resource

    def tearDown(self):
        self.client.close()

    def get(self):
        return self.dps.get(provisioning_service_name=NAME, resource_group_name=GROUP)

    def put(self, service):
        return self.dps.begin_create_or_update(GROUP, NAME, service).result()

    def refused(self, status, words, call, *args, **kwargs):
        with self.assertRaises(HttpResponseError) as caught:
            result = call(*args, **kwargs)
            if hasattr(result, "result"):
                result.result()
        self.assertEqual(caught.exception.status_code, status, caught.exception)
        self.assertIn(words, str(caught.exception))

    def test_read(self):
        service = self.get()
        self.assertEqual((service.name, service.location, service.properties.state), (NAME, "local", "Active"))
        self.assertEqual(service.sku.name, "S1")
        hub = service.properties.iot_hubs[0]
        self.assertEqual(hub.host_name, hub.name)
        self.assertEqual(hub.authentication_type, models.IotHubAuthenticationType.KEY_BASED)
        for found in (self.dps.list_by_subscription(), self.dps.list_by_resource_group(GROUP)):
            self.assertEqual([s.id for s in found], [service.id])
        self.assertEqual([s.name for s in self.dps.list_valid_skus(NAME, GROUP)], ["S1"])
        self.assertTrue(any(o.name.endswith("/write") for o in self.client.operations.list()))
        answer = self.dps.check_provisioning_service_name_availability({"name": NAME})
        self.assertEqual((answer.name_available, answer.reason), (False, "AlreadyExists"))
        self.refused(404, "operation", self.dps.get_operation_result, "abc", GROUP, NAME, asyncinfo="true")
        self.refused(404, "", self.dps.get, "another", GROUP)

    def test_read_and_write_back(self):
        service = self.get()
        service.tags = {"site": "plant-7"}
        written = self.put(service)
        self.assertEqual(written.tags, {"site": "plant-7"})
        self.assertEqual(written.properties.iot_hubs, service.properties.iot_hubs)
        self.assertEqual(self.dps.begin_update(GROUP, NAME, {"tags": {"a": "b"}}).result().tags, {"a": "b"})

    def test_members_that_say_what_holds(self):
        service = self.get()
        p = service.properties
        p.disable_local_auth, p.enable_data_residency, p.public_network_access = False, False, "Enabled"
        p.ip_filter_rules, p.private_endpoint_connections = [], []
        service.identity = models.ManagedServiceIdentity(type="None")
        self.put(service)

    def test_members_that_are_not_supported(self):
        for name, value in {
            "disable_local_auth": True,
            "enable_data_residency": True,
            "public_network_access": "Disabled",
            "ip_filter_rules": [models.IpFilterRule(filter_name="x", action="Reject", ip_mask="0.0.0.0/0")],
        }.items():
            service = self.get()
            setattr(service.properties, name, value)
            self.refused(400, "properties.", self.dps.begin_create_or_update, GROUP, NAME, service)
        service = self.get()
        service.identity = models.ManagedServiceIdentity(type="SystemAssigned")
        self.refused(400, "identity: ", self.dps.begin_create_or_update, GROUP, NAME, service)
        service = self.get()
        service.properties.iot_hubs[0].authentication_type = "SystemAssigned"
        self.refused(400, "authenticationType: must be KeyBased", self.dps.begin_create_or_update, GROUP, NAME, service)

    def test_hub_by_host_name(self):
        service = self.get()
        hub = service.properties.iot_hubs[0]
        hub.allocation_weight, hub.connection_string = 7, None  # the host name says which hub it is
        self.assertEqual(self.put(service).properties.iot_hubs[0].allocation_weight, 7)
        service = self.get()
        service.properties.iot_hubs[0].allocation_weight = 1
        self.put(service)

    def test_policies(self):
        service = self.get()
        rule = models.SharedAccessSignatureAuthorizationRuleAccessRightsDescription
        all_rules = list(self.dps.list_keys(NAME, GROUP))
        service.properties.authorization_policies = all_rules + [rule(key_name="line-7", rights="EnrollmentRead")]
        self.put(service)
        first = self.dps.list_keys_for_key_name(NAME, "line-7", GROUP)
        self.assertTrue(first.primary_key and first.secondary_key)

        # NULL is sent as null, which asks for a new key; a key that is left out stays.
        service = self.get()
        changed = rule(key_name="line-7", rights="EnrollmentRead", primary_key=NULL)
        service.properties.authorization_policies = all_rules + [changed]
        self.put(service)
        second = self.dps.list_keys_for_key_name(NAME, "line-7", GROUP)
        self.assertNotEqual(second.primary_key, first.primary_key)
        self.assertEqual(second.secondary_key, first.secondary_key)

        service = self.get()
        changed.primary_key = ""
        service.properties.authorization_policies = all_rules + [changed]
        self.refused(400, "primaryKey: is empty", self.dps.begin_create_or_update, GROUP, NAME, service)
        service.properties.authorization_policies = all_rules
        self.put(service)
        self.refused(404, "line-7", self.dps.list_keys_for_key_name, NAME, "line-7", GROUP)

    def test_private_endpoints(self):
        self.assertEqual(self.dps.list_private_endpoint_connections(GROUP, NAME), [])
        self.assertEqual(self.dps.list_private_link_resources(GROUP, NAME).value, [])
        self.refused(404, "private", self.dps.get_private_endpoint_connection, GROUP, NAME, "one")
        self.refused(404, "private", self.dps.get_private_link_resources, GROUP, NAME, "iotDps")
        self.refused(404, "private", self.dps.begin_delete_private_endpoint_connection, GROUP, NAME, "one")
        state = models.PrivateLinkServiceConnectionState(status="Approved", description="x")
        endpoint = models.PrivateEndpointConnection(
            properties=models.PrivateEndpointConnectionProperties(private_link_service_connection_state=state)
        )
        self.refused(
            400, "privateEndpointConnections", self.dps.begin_create_or_update_private_endpoint_connection, GROUP, NAME, "one", endpoint
        )

    def test_create_and_delete(self):
        service = self.get()
        self.refused(400, "one provisioning service", self.dps.begin_create_or_update, GROUP, "another", service)
        self.refused(409, "cannot be deleted", self.dps.begin_delete, NAME, GROUP)
        self.dps.begin_delete("another", GROUP).result()

    def test_certificates(self):
        certificates = self.client.dps_certificate
        with open(CA_FILE, encoding="utf-8") as file:
            pem = file.read()
        der = ssl.PEM_cert_to_DER_cert(pem)
        for name, content in {"from-der": der, "from-pem": pem.encode()}.items():
            body = models.CertificateResponse(properties=models.CertificateProperties(certificate=content))
            made = certificates.create_or_update(GROUP, NAME, name, body)
            self.assertFalse(made.properties.is_verified)
            self.assertEqual([c.name for c in certificates.list(GROUP, NAME).value], [name])
            etag = certificates.get(name, GROUP, NAME).etag
            unchanged = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
            coded = certificates.generate_verification_code(name, GROUP, NAME, **unchanged)
            proof = sign(coded.properties.verification_code)
            unchanged["etag"] = coded.etag
            verified = certificates.verify_certificate(
                name, GROUP, NAME, models.VerificationCodeRequest(certificate=proof), **unchanged
            )
            self.assertTrue(verified.properties.is_verified)
            self.assertIsInstance(verified.properties.expiry, datetime.datetime)
            unchanged["etag"] = verified.etag
            certificates.delete(GROUP, NAME, name, **unchanged)
            with self.assertRaises(ResourceNotFoundError):
                certificates.get(name, GROUP, NAME)


def sign(code):
    """Returns a certificate for a verification code, issued by the CA."""
    key = os.path.splitext(CA_FILE)[0] + ".key"
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        run = lambda *args: subprocess.run(["openssl", *args], check=True, capture_output=True)
        run("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", path("k"), "-subj", "/CN=" + code, "-out", path("r"))
        run("x509", "-req", "-in", path("r"), "-CA", CA_FILE, "-CAkey", key, "-set_serial", "7", "-days", "1", "-out", path("c"))
        with open(path("c"), encoding="utf-8") as file:
            return file.read()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
