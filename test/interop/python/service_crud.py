"""Everything that the official service SDK can do with single enrollments and groups:
create, read back, update, delete, all attestation types, all members, and the errors.

python service_crud.py CONNECTION_STRING HUB_HOST CERTIFICATE_DIR

The directory holds self-signed certificates NAME.pem, each with the common name NAME:
ca-1, ca-2, device-1, device-2, device-3. A CA certificate of the control plane is
called interop-ca. The service holds no other enrollments.
"""

import base64
import datetime
import hashlib
import os
import ssl
import sys
import unittest

from provisioningserviceclient import ProvisioningServiceClient, ProvisioningServiceError
from provisioningserviceclient.models import (
    AttestationMechanism,
    CustomAllocationDefinition,
    DeviceCapabilities,
    EnrollmentGroup,
    IndividualEnrollment,
    InitialTwin,
    ReprovisionPolicy,
    SymmetricKeyAttestation,
)

CONNECTION_STRING, HUB_HOST, CERTIFICATE_DIR = sys.argv[1:4]

# A public endorsement key for trials.
# Source: azure-docs, articles/iot-dps/quick-enroll-device-tpm.md.
ENDORSEMENT_KEY = (
    "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAxsj2gUS"
    "cTk1UjuioeTlfGYZrrimExB+bScH75adUMRIi2UOMxG1kw4y+9RW/IVoMl4e620VxZad0ARX2gUqVjYO7KPVt3d"
    "yKhZS3dkcvfBisBhP1XH9B33VqHG9SHnbnQXdBUaCgKAfxome8UmBKfe+naTsE5fkvjb/do3/dD6l4sGBwFCnKR"
    "dln4XpM03zLpoHFao8zOwt8l/uP3qUIxmCYv9A7m69Ms+5/pCkTu/rK4mRDsfhZ0QLfbzVI6zQFOKF/rwsfBtFe"
    "WlWtcuJMKlXdD8TXWElTzgh7JS4qhFzreL0c1mI0GCj+Aws0usZh7dLIVPnlgZcBhgy1SSDQMQ=="
)

PRIMARY_KEY = base64.b64encode(bytes(range(64))).decode()
SECONDARY_KEY = base64.b64encode(bytes(range(16))).decode()

TAGS = {"site": "plant-7", "lines": [1, 2, 3]}
DESIRED = {"interval": 30, "nested": {"on": True, "ratio": 0.5}}


def certificate(name):
    """Returns the certificate called name as PEM text."""
    with open(os.path.join(CERTIFICATE_DIR, name + ".pem"), encoding="ascii") as pem:
        return pem.read()


def thumbprint(pem, algorithm):
    """Returns the upper-case fingerprint of a certificate."""
    return hashlib.new(algorithm, ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()


def symmetric_key(primary=None, secondary=None):
    """Returns a symmetric key attestation, for which the SDK has no factory."""
    keys = SymmetricKeyAttestation(primary_key=primary, secondary_key=secondary)
    return AttestationMechanism(type="symmetricKey", symmetric_key=keys)


class ServiceTest(unittest.TestCase):
    """What all tests share."""

    longMessage = True

    def setUp(self):
        self.psc = ProvisioningServiceClient.create_from_connection_string(CONNECTION_STRING)

    def create(self, model):
        """Creates model and deletes it when the test ends."""
        created = self.psc.create_or_update(model)
        self.addCleanup(self.remove, model)
        return created

    def remove(self, model):
        """Deletes model whatever its etag, if it is still there."""
        try:
            if isinstance(model, EnrollmentGroup):
                self.psc.delete_enrollment_group_by_param(model.enrollment_group_id)
            else:
                self.psc.delete_individual_enrollment_by_param(model.registration_id)
        except ProvisioningServiceError as err:
            if "404" not in str(err):
                raise

    def assert_refused(self, status, reason, call, *args):
        """Checks that a call fails with the SDK's error for this status."""
        with self.assertRaises(ProvisioningServiceError) as caught:
            call(*args)
        self.assertEqual(str(caught.exception), "Service Error {} - {}".format(status, reason))
        return caught.exception.cause.error

    def assert_fresh(self, model):
        """Checks the members that the service itself fills in."""
        etag = base64.b64decode(model.etag, validate=True).decode()
        self.assertRegex(etag, r'^"[^"]+"$', "an etag is base64 of a quoted string")
        now = datetime.datetime.now(datetime.timezone.utc)
        age = now - model.created_date_time_utc
        self.assertLess(abs(age), datetime.timedelta(minutes=5), "createdDateTimeUtc is now")
        self.assertEqual(model.created_date_time_utc, model.last_updated_date_time_utc)

    def assert_info(self, stored, name):
        """Checks what the service says about a certificate that it got."""
        pem = certificate(name)
        self.assertIsNone(stored.certificate, "the certificate itself is not given back")
        info = stored.info
        self.assertEqual(info.subject_name, "CN=" + name)
        self.assertEqual(info.issuer_name, "CN=" + name)
        self.assertEqual(info.sha1_thumbprint, thumbprint(pem, "sha1"))
        self.assertEqual(info.sha256_thumbprint, thumbprint(pem, "sha256"))
        self.assertRegex(info.serial_number, r"^([0-9A-F]{2})+$")
        self.assertEqual(info.version, 3)
        self.assertLess(info.not_before_utc, info.not_after_utc)


class GroupTest(ServiceTest):
    """Enrollment groups."""

    def signing_group(self, group_id="line-7"):
        att = AttestationMechanism.create_with_x509_signing_certs(
            certificate("ca-1"), certificate("ca-2")
        )
        return EnrollmentGroup.create(group_id, att)

    def test_create_and_read_back(self):
        created = self.create(self.signing_group())
        read = self.psc.get_enrollment_group("line-7")
        for group in (created, read):
            self.assert_fresh(group)
            self.assertEqual(group.enrollment_group_id, "line-7")
            self.assertEqual(group.provisioning_status, "enabled")
            self.assertEqual(group.attestation.type, "x509")
            self.assertIsNone(group.attestation.x509.client_certificates)
            self.assertIsNone(group.attestation.x509.ca_references)
            self.assert_info(group.attestation.x509.signing_certificates.primary, "ca-1")
            self.assert_info(group.attestation.x509.signing_certificates.secondary, "ca-2")
            for absent in ("reprovision_policy", "allocation_policy", "iot_hubs", "initial_twin",
                           "iot_hub_host_name", "custom_allocation_definition"):
                self.assertIsNone(getattr(group, absent), absent)
        self.assertEqual(created.etag, read.etag)

    def test_create_twice(self):
        self.create(self.signing_group())
        error = self.assert_refused(409, "Conflict", self.psc.create_or_update, self.signing_group())
        self.assertEqual(error.error_code, 409202)
        self.assertTrue(error.tracking_id)
        self.assertTrue(error.message)

    def test_update_with_returned_etag(self):
        created = self.create(self.signing_group())
        first_etag, first_time = created.etag, created.created_date_time_utc
        created.provisioning_status = "disabled"
        created.initial_twin = InitialTwin.create(TAGS, DESIRED)
        updated = self.psc.create_or_update(created)
        self.assertEqual(updated.provisioning_status, "disabled")
        self.assertNotEqual(updated.etag, first_etag)
        self.assertEqual(updated.created_date_time_utc, first_time)
        self.assertGreaterEqual(updated.last_updated_date_time_utc, first_time)
        self.assert_info(updated.attestation.x509.signing_certificates.primary, "ca-1")

        read = self.psc.get_enrollment_group("line-7")
        self.assertEqual(read.etag, updated.etag)
        self.assertEqual(read.initial_twin.tags, TAGS)
        self.assertEqual(read.initial_twin.desired_properties, DESIRED)

    def test_stale_etag(self):
        stale = self.create(self.signing_group())
        current = self.psc.create_or_update(self.psc.get_enrollment_group("line-7"))
        self.assertNotEqual(stale.etag, current.etag)
        self.assert_refused(412, "Precondition Failed", self.psc.create_or_update, stale)
        self.assert_refused(412, "Precondition Failed", self.psc.delete, stale)
        self.assertEqual(self.psc.get_enrollment_group("line-7").etag, current.etag)

    def test_delete(self):
        created = self.create(self.signing_group())
        self.psc.delete(created)
        error = self.assert_refused(404, "Not Found", self.psc.get_enrollment_group, "line-7")
        self.assertEqual(error.error_code, 404204)
        self.assert_refused(404, "Not Found", self.psc.delete_enrollment_group_by_param, "line-7")

    def test_ca_reference(self):
        att = AttestationMechanism.create_with_x509_ca_refs("interop-ca")
        self.create(EnrollmentGroup.create("by-reference", att))
        read = self.psc.get_enrollment_group("by-reference")
        self.assertEqual(read.attestation.x509.ca_references.primary, "interop-ca")
        self.assertIsNone(read.attestation.x509.ca_references.secondary)
        self.assertIsNone(read.attestation.x509.signing_certificates)

    def test_symmetric_key(self):
        created = self.create(EnrollmentGroup.create("by-key", symmetric_key(PRIMARY_KEY, SECONDARY_KEY)))
        self.assertEqual(created.attestation.symmetric_key.primary_key, PRIMARY_KEY)
        mechanism = self.psc.get_enrollment_group_attestation_mechanism("by-key")
        self.assertEqual(mechanism.symmetric_key.primary_key, PRIMARY_KEY)
        self.assertEqual(mechanism.symmetric_key.secondary_key, SECONDARY_KEY)

    def test_tpm_is_not_for_groups(self):
        att = AttestationMechanism.create_with_tpm(ENDORSEMENT_KEY)
        self.assert_refused(
            400, "Bad Request", self.psc.create_or_update, EnrollmentGroup.create("by-tpm", att)
        )
        self.assert_refused(404, "Not Found", self.psc.get_enrollment_group, "by-tpm")


class IndividualTest(ServiceTest):
    """Individual enrollments."""

    def test_x509(self):
        att = AttestationMechanism.create_with_x509_client_certs(
            certificate("device-1"), certificate("device-2")
        )
        created = self.create(IndividualEnrollment.create("device-1", att))
        read = self.psc.get_individual_enrollment("device-1")
        for enrollment in (created, read):
            self.assert_fresh(enrollment)
            self.assertEqual(enrollment.registration_id, "device-1")
            self.assertEqual(enrollment.provisioning_status, "enabled")
            self.assert_info(enrollment.attestation.x509.client_certificates.primary, "device-1")
            self.assert_info(enrollment.attestation.x509.client_certificates.secondary, "device-2")
            self.assertIsNone(enrollment.attestation.x509.signing_certificates)
            self.assertIsNone(enrollment.device_id)
        self.assertEqual(created.etag, read.etag)
        self.assertEqual(read.registration_state.registration_id, "device-1")
        self.assertEqual(read.registration_state.status, "unassigned")

    def test_one_certificate_belongs_to_one_enrollment(self):
        att = AttestationMechanism.create_with_x509_client_certs(certificate("device-3"))
        self.create(IndividualEnrollment.create("device-3", att))
        other = IndividualEnrollment.create("device-4", att)
        error = self.assert_refused(409, "Conflict", self.psc.create_or_update, other)
        self.assertIn("device-3", error.message, "the enrollment that has it is named")
        self.assert_refused(404, "Not Found", self.psc.get_individual_enrollment, "device-4")

    def test_tpm(self):
        att = AttestationMechanism.create_with_tpm(ENDORSEMENT_KEY)
        created = self.create(IndividualEnrollment.create("tpm-1", att))
        read = self.psc.get_individual_enrollment("tpm-1")
        mechanism = self.psc.get_individual_enrollment_attestation_mechanism("tpm-1")
        for attestation in (created.attestation, read.attestation, mechanism):
            self.assertEqual(attestation.type, "tpm")
            self.assertEqual(attestation.tpm.endorsement_key, ENDORSEMENT_KEY)
            self.assertIsNone(attestation.tpm.storage_root_key)
            self.assertIsNone(attestation.x509)

    def test_symmetric_key_given(self):
        created = self.create(
            IndividualEnrollment.create("key-1", symmetric_key(PRIMARY_KEY, SECONDARY_KEY))
        )
        self.assertEqual(created.attestation.type, "symmetricKey")
        self.assertEqual(created.attestation.symmetric_key.primary_key, PRIMARY_KEY)
        self.assertEqual(created.attestation.symmetric_key.secondary_key, SECONDARY_KEY)
        mechanism = self.psc.get_individual_enrollment_attestation_mechanism("key-1")
        self.assertEqual(mechanism.type, "symmetricKey")
        self.assertEqual(mechanism.symmetric_key.primary_key, PRIMARY_KEY)
        self.assertEqual(mechanism.symmetric_key.secondary_key, SECONDARY_KEY)

    def test_symmetric_key_generated(self):
        created = self.create(IndividualEnrollment.create("key-2", symmetric_key()))
        keys = created.attestation.symmetric_key
        for key in (keys.primary_key, keys.secondary_key):
            self.assertEqual(len(base64.b64decode(key, validate=True)), 64)
        self.assertNotEqual(keys.primary_key, keys.secondary_key)

        read = self.psc.get_individual_enrollment("key-2")
        self.assertEqual(read.attestation.type, "symmetricKey")
        self.assertIsNone(read.attestation.symmetric_key, "reading shows no keys")

        # A program that reads, changes and writes back does not change the keys.
        read.provisioning_status = "disabled"
        self.psc.create_or_update(read)
        mechanism = self.psc.get_individual_enrollment_attestation_mechanism("key-2")
        self.assertEqual(mechanism.symmetric_key.primary_key, keys.primary_key)
        self.assertEqual(mechanism.symmetric_key.secondary_key, keys.secondary_key)

    def test_all_members(self):
        created = self.create(
            IndividualEnrollment.create(
                "Sensor-7.A:b_c-1",
                symmetric_key(),
                device_id="press-0042",
                initial_twin=InitialTwin.create(TAGS, DESIRED),
                provisioning_status="disabled",
                device_capabilities=DeviceCapabilities.create(iot_edge=True),
                reprovision_policy=ReprovisionPolicy(
                    update_hub_assignment=True, migrate_device_data=False
                ),
                allocation_policy="static",
                iot_hubs=[HUB_HOST],
            )
        )
        read = self.psc.get_individual_enrollment("sensor-7.a:B_C-1")  # without case
        for enrollment in (created, read):
            self.assertEqual(enrollment.registration_id.lower(), "sensor-7.a:b_c-1")
            self.assertEqual(enrollment.device_id, "press-0042")
            self.assertEqual(enrollment.initial_twin.tags, TAGS)
            self.assertEqual(enrollment.initial_twin.desired_properties, DESIRED)
            self.assertEqual(enrollment.provisioning_status, "disabled")
            self.assertIs(enrollment.capabilities.iot_edge, True)
            self.assertIs(enrollment.reprovision_policy.update_hub_assignment, True)
            self.assertIs(enrollment.reprovision_policy.migrate_device_data, False)
            self.assertEqual(enrollment.allocation_policy, "static")
            self.assertEqual(enrollment.iot_hubs, [HUB_HOST])

    def test_allocation_policies(self):
        webhook = CustomAllocationDefinition(
            webhook_url="https://allocate.example/api", api_version="2019-03-31"
        )
        for policy in ("hashed", "geoLatency", "static", "custom"):
            with self.subTest(policy=policy):
                model = IndividualEnrollment.create(
                    "policy-" + policy, symmetric_key(), allocation_policy=policy
                )
                if policy == "static":
                    model.iot_hubs = [HUB_HOST]
                if policy == "custom":
                    model.custom_allocation_definition = webhook
                self.create(model)
                read = self.psc.get_individual_enrollment("policy-" + policy)
                self.assertEqual(read.allocation_policy, policy)
                if policy == "custom":
                    definition = read.custom_allocation_definition
                    self.assertEqual(definition.webhook_url, webhook.webhook_url)
                    self.assertEqual(definition.api_version, webhook.api_version)

    def test_update_and_delete(self):
        created = self.create(IndividualEnrollment.create("key-3", symmetric_key()))
        stale = created.etag
        created.device_id = "renamed"
        updated = self.psc.create_or_update(created)
        self.assertEqual(updated.device_id, "renamed")
        self.assertNotEqual(updated.etag, stale)
        created.etag = stale
        self.assert_refused(412, "Precondition Failed", self.psc.create_or_update, created)
        self.assert_refused(
            412, "Precondition Failed", self.psc.delete_individual_enrollment_by_param, "key-3", stale
        )
        self.psc.delete(updated)
        error = self.assert_refused(404, "Not Found", self.psc.get_individual_enrollment, "key-3")
        self.assertEqual(error.error_code, 404201)

    def test_create_twice(self):
        model = IndividualEnrollment.create("key-4", symmetric_key())
        self.create(model)
        again = IndividualEnrollment.create("KEY-4", symmetric_key())
        error = self.assert_refused(409, "Conflict", self.psc.create_or_update, again)
        self.assertEqual(error.error_code, 409201)

    def test_bad_input(self):
        signing = AttestationMechanism.create_with_x509_signing_certs(certificate("ca-1"))
        garbage = AttestationMechanism.create_with_x509_client_certs("no certificate")
        bad = {
            "identifier": IndividualEnrollment.create("ends-with.", symmetric_key()),
            "status": IndividualEnrollment.create("bad-1", symmetric_key(), provisioning_status="maybe"),
            "hubs without policy": IndividualEnrollment.create("bad-1", symmetric_key(), iot_hubs=[HUB_HOST]),
            "short key": IndividualEnrollment.create("bad-1", symmetric_key("c2hvcnQ=", "c2hvcnQ=")),
            "no certificate": IndividualEnrollment.create("bad-1", garbage),
            "signing certificate": IndividualEnrollment.create("bad-1", signing),
        }
        for name, model in bad.items():
            with self.subTest(name):
                error = self.assert_refused(400, "Bad Request", self.psc.create_or_update, model)
                self.assertTrue(error.message, "the answer says what is wrong")
        self.assert_refused(404, "Not Found", self.psc.get_individual_enrollment, "bad-1")


class AccessTest(ServiceTest):
    """Connection strings that do not open the door."""

    def test_wrong_key(self):
        host, policy, _ = (part.split("=", 1)[1] for part in CONNECTION_STRING.split(";"))
        for name, client in {
            "key": ProvisioningServiceClient(host, policy, PRIMARY_KEY),
            "policy": ProvisioningServiceClient(host, "nobody", PRIMARY_KEY),
        }.items():
            with self.subTest(name):
                error = self.assert_refused(401, "Unauthorized", client.get_enrollment_group, "line-7")
                self.assertEqual(error.error_code, 401002)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
