"""What the official service SDK can do with many enrollments, and with registrations:
bulk operations, queries in pages, and reading and deleting registration states.

python service_bulk.py CONNECTION_STRING HUB_HOST FLEET GROUPS LINE

The service holds the individual enrollments fleet-0000, fleet-0001 and so on, FLEET of
them, and solo; the groups group-1 and so on, and line, GROUPS of them. The device solo
and the devices line-1 to line-LINE of the group line are registered and on HUB_HOST.

Left out is create_registration_state_query: its iterator passes the page size and the
continuation in the places of other parameters, so that next() raises TypeError before
any request. (azure-iothub-provisioningserviceclient 1.2.0, client.py, Query.next;
protocol/provisioning_service_client.py, query_device_registration_states)
"""

import base64
import sys
import unittest

from provisioningserviceclient import ProvisioningServiceClient, ProvisioningServiceError
from provisioningserviceclient.client import (
    BULKOP_CREATE,
    BULKOP_DELETE,
    BULKOP_UPDATE,
    BULKOP_UPDATE_IF_MATCH_ETAG,
)
from provisioningserviceclient.models import (
    AttestationMechanism,
    BulkEnrollmentOperation,
    IndividualEnrollment,
    QuerySpecification,
    SymmetricKeyAttestation,
)

CONNECTION_STRING, HUB_HOST = sys.argv[1:3]
FLEET, GROUPS, LINE = (int(arg) for arg in sys.argv[3:6])

INDIVIDUAL_IDS = sorted(["fleet-{:04d}".format(i) for i in range(FLEET)] + ["solo"])
GROUP_IDS = sorted(["group-{}".format(i) for i in range(1, GROUPS)] + ["line"])

STALE = base64.b64encode(b'"stale"').decode()


def enrollment(registration_id):
    """Returns an enrollment whose keys the service makes."""
    att = AttestationMechanism(type="symmetricKey", symmetric_key=SymmetricKeyAttestation())
    return IndividualEnrollment.create(registration_id, att)


class ServiceTest(unittest.TestCase):
    """What all tests share."""

    longMessage = True

    def setUp(self):
        self.psc = ProvisioningServiceClient.create_from_connection_string(CONNECTION_STRING)

    def assert_refused(self, status, reason, call, *args):
        """Checks that a call fails with the SDK's error for this status."""
        with self.assertRaises(ProvisioningServiceError) as caught:
            call(*args)
        self.assertEqual(str(caught.exception), "Service Error {} - {}".format(status, reason))
        return caught.exception.cause.error


class BulkTest(ServiceTest):
    """Bulk operations, which are answered with 200 whatever became of the items."""

    def run_bulk(self, mode, items):
        """Runs a bulk operation and returns its errors as pairs of ID and code."""
        result = self.psc.run_bulk_operation(BulkEnrollmentOperation(mode, items))
        self.assertEqual(result.is_successful, not result.errors)
        for error in result.errors:
            self.assertTrue(error.error_status, error.registration_id)
        return [(error.registration_id, error.error_code) for error in result.errors]

    def create_all(self, ids):
        """Creates enrollments, which are gone again when the test ends, and reads them."""
        items = [enrollment(i) for i in ids]
        self.addCleanup(self.run_bulk, BULKOP_DELETE, [enrollment(i) for i in ids])
        self.assertEqual(self.run_bulk(BULKOP_CREATE, items), [])
        return [self.psc.get_individual_enrollment(i) for i in ids]

    def test_create_update_delete(self):
        stored = self.create_all(["bulk-{}".format(i) for i in range(10)])
        for mode in (BULKOP_UPDATE, BULKOP_UPDATE_IF_MATCH_ETAG):
            for item in stored:
                item.device_id = "by-{}-{}".format(mode, item.registration_id)
            self.assertEqual(self.run_bulk(mode, stored), [], mode)
            read = [self.psc.get_individual_enrollment(item.registration_id) for item in stored]
            self.assertEqual([item.device_id for item in read], [item.device_id for item in stored])
            stored = read
        self.assertEqual(self.run_bulk(BULKOP_DELETE, stored), [])
        for item in stored:
            self.assert_refused(404, "Not Found", self.psc.get_individual_enrollment, item.registration_id)

    def test_partial_create(self):
        self.create_all(["bulk-a"])
        errors = self.run_bulk(BULKOP_CREATE, [enrollment(i) for i in ("bulk-b", "bulk-a", "bulk-c")])
        self.assertEqual(errors, [("bulk-a", 409201)])
        for created in ("bulk-b", "bulk-c"):
            self.psc.delete(self.psc.get_individual_enrollment(created))

    def test_partial_update(self):
        for mode, code in ((BULKOP_UPDATE, 409201), (BULKOP_UPDATE_IF_MATCH_ETAG, 412001)):
            with self.subTest(mode, item="without etag"):
                first, second = self.create_all([mode.lower() + "-1", mode.lower() + "-2"])
                first.etag, second.provisioning_status = None, "disabled"
                errors = self.run_bulk(mode, [first, second])
                self.assertEqual(errors, [(first.registration_id, code)])
                read = self.psc.get_individual_enrollment(second.registration_id)
                self.assertEqual(read.provisioning_status, "disabled")
            with self.subTest(mode, item="with a stale etag"):
                first.etag = STALE
                read.provisioning_status = "enabled"
                errors = self.run_bulk(mode, [first, read])
                self.assertEqual(errors, [(first.registration_id, 412001)])
                read = self.psc.get_individual_enrollment(second.registration_id)
                self.assertEqual(read.provisioning_status, "enabled")

    def test_partial_delete(self):
        self.create_all(["bulk-a", "bulk-b"])
        errors = self.run_bulk(BULKOP_DELETE, [enrollment(i) for i in ("bulk-a", "bulk-no", "bulk-b")])
        self.assertEqual(errors, [("bulk-no", 404201)])
        self.assert_refused(404, "Not Found", self.psc.get_individual_enrollment, "bulk-b")
        self.create_all(["bulk-a", "bulk-b"])

    def test_too_many(self):
        operation = BulkEnrollmentOperation(BULKOP_CREATE, [enrollment("bulk-{}".format(i)) for i in range(11)])
        self.assert_refused(400, "Bad Request", self.psc.run_bulk_operation, operation)
        self.assert_refused(404, "Not Found", self.psc.get_individual_enrollment, "bulk-0")


class QueryTest(ServiceTest):
    """Queries, whose iterators give pages."""

    def assert_pages(self, query, page_size, total):
        """Reads all pages, checks how many records they hold, and returns those."""
        pages = list(query)
        self.assertFalse(query.has_next)
        self.assertIsNone(query.continuation_token)
        full, rest = divmod(total, page_size)
        self.assertEqual([len(page) for page in pages], [page_size] * full + [rest] * bool(rest))
        return [item for page in pages for item in page]

    def test_individual_enrollments(self):
        for text in ("*", "SELECT *", "select * from enrollments"):
            with self.subTest(text):
                query = self.psc.create_individual_enrollment_query(QuerySpecification(text), 100)
                items = self.assert_pages(query, 100, len(INDIVIDUAL_IDS))
                self.assertEqual(sorted(item.registration_id for item in items), INDIVIDUAL_IDS)

    def test_individual_enrollments_without_page_size(self):
        query = self.psc.create_individual_enrollment_query(QuerySpecification("*"))
        items = [item for page in query for item in page]
        self.assertEqual(sorted(item.registration_id for item in items), INDIVIDUAL_IDS)
        self.assertTrue(all(item.etag and item.attestation.type == "symmetricKey" for item in items))

    def test_continue_elsewhere(self):
        spec = QuerySpecification("*")
        query = self.psc.create_individual_enrollment_query(spec, 600)
        first = query.next()
        self.assertTrue(query.has_next)
        second = self.psc.create_individual_enrollment_query(spec, 1000).next(query.continuation_token)
        ids = [item.registration_id for item in first + second]
        self.assertEqual(sorted(ids), INDIVIDUAL_IDS)

    def test_enrollment_groups(self):
        query = self.psc.create_enrollment_group_query(QuerySpecification("SELECT * FROM enrollmentGroups"), 2)
        items = self.assert_pages(query, 2, GROUPS)
        self.assertEqual(sorted(item.enrollment_group_id for item in items), GROUP_IDS)

    def test_page_after_the_last(self):
        query = self.psc.create_enrollment_group_query(QuerySpecification("*"))
        self.assertEqual(len(query.next()), GROUPS)
        with self.assertRaises(StopIteration):
            query.next()

    def test_bad_query(self):
        for create in (self.psc.create_individual_enrollment_query, self.psc.create_enrollment_group_query):
            query = create(QuerySpecification("DROP TABLE enrollments"))
            self.assert_refused(400, "Bad Request", query.next)


class RegistrationTest(ServiceTest):
    """Registration states of devices that have registered."""

    def test_read(self):
        for device in ["solo"] + ["line-{}".format(i) for i in range(2, LINE + 1)]:
            state = self.psc.get_registration_state(device)
            self.assertEqual(state.registration_id, device)
            self.assertEqual(state.device_id, device)
            self.assertEqual(state.assigned_hub, HUB_HOST)
            self.assertEqual(state.status, "assigned")
            self.assertEqual(state.substatus, "initialAssignment")
            self.assertTrue(state.etag)
            self.assertLessEqual(state.created_date_time_utc, state.last_updated_date_time_utc)

    def test_unknown(self):
        for call in (self.psc.get_registration_state, self.psc.delete_registration_state_by_param):
            self.assert_refused(404, "Not Found", call, "nobody")

    def test_delete(self):
        state = self.psc.get_registration_state("line-1")
        self.assert_refused(
            412, "Precondition Failed", self.psc.delete_registration_state_by_param, "line-1", STALE
        )
        self.assertEqual(self.psc.get_registration_state("line-1").etag, state.etag)
        self.psc.delete(state)
        self.assert_refused(404, "Not Found", self.psc.get_registration_state, "line-1")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
