import com.microsoft.azure.sdk.iot.provisioning.service.ProvisioningServiceClient;
import com.microsoft.azure.sdk.iot.provisioning.service.Query;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.AllocationPolicy;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.Attestation;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.AttestationMechanism;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.BulkEnrollmentOperationResult;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.BulkOperationMode;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.DeviceCapabilities;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.DeviceRegistrationState;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.EnrollmentGroup;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.EnrollmentStatus;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.IndividualEnrollment;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.ProvisioningStatus;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.QuerySpecificationBuilder;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.ReprovisionPolicy;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.SymmetricKeyAttestation;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.TpmAttestation;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.TwinCollection;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.TwinState;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.X509Attestation;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;

/**
 * Runs every operation of the official service SDK against a prepared service.
 *
 * <p>java -cp 'LIBRARIES/*' Service.java CONNECTION_STRING HUB FLEET GROUPS LINE CA_PEM LEAF_PEM
 *
 * <p>The service holds what prepareFleet of the tests made: FLEET individual enrollments fleet-0000
 * and so on, and "solo"; GROUPS groups, with the group "line", from which LINE devices have
 * registered. HUB is a linked hub, CA_PEM a CA certificate and LEAF_PEM one of a device leaf-1.
 * What to trust is given by -Djavax.net.ssl.trustStore.
 *
 * <p>Exit code 0 means that every operation did what it promises.
 */
public final class Service {
    private static ProvisioningServiceClient client;

    public static void main(String[] args) throws Exception {
        client = new ProvisioningServiceClient(args[0]);
        String hub = args[1];
        int fleet = Integer.parseInt(args[2]);
        int groups = Integer.parseInt(args[3]);
        int line = Integer.parseInt(args[4]);
        String ca = Files.readString(Path.of(args[5]));
        String leaf = Files.readString(Path.of(args[6]));

        individualEnrollments(hub, leaf);
        enrollmentGroups(hub, ca);
        bulk();
        queries(fleet, groups, line);
        registrations();
        refusals();
        System.out.println("every operation did what it promises");
    }

    private static void individualEnrollments(String hub, String leaf) throws Exception {
        IndividualEnrollment keyed = new IndividualEnrollment("java-key", new SymmetricKeyAttestation("", ""));
        keyed.setDeviceId("java-device");
        keyed.setProvisioningStatus(ProvisioningStatus.ENABLED);
        keyed.setIotHubHostName(hub);
        keyed.setAllocationPolicy(AllocationPolicy.HASHED);
        keyed.setIotHubs(List.of(hub));
        keyed.setCapabilities(new DeviceCapabilities());
        keyed.getCapabilities().setIotEdge(true);
        ReprovisionPolicy policy = new ReprovisionPolicy();
        policy.setUpdateHubAssignment(true);
        policy.setMigrateDeviceData(false);
        keyed.setReprovisionPolicy(policy);
        TwinCollection tags = new TwinCollection();
        tags.put("site", "plant-7");
        TwinCollection desired = new TwinCollection();
        desired.put("interval", 30);
        keyed.setInitialTwin(new TwinState(tags, desired));

        IndividualEnrollment made = client.createOrUpdateIndividualEnrollment(keyed);
        same("deviceId", "java-device", made.getDeviceId());
        same("status", ProvisioningStatus.ENABLED, made.getProvisioningStatus());
        same("iotEdge", true, made.getCapabilities().isIotEdge());
        same("migrateDeviceData", false, made.getReprovisionPolicy().getMigrateDeviceData());
        same("tags", "plant-7", made.getInitialTwin().getTags().get("site"));
        check("no etag", made.getEtag() != null && !made.getEtag().isEmpty());

        AttestationMechanism mechanism = client.getIndividualEnrollmentAttestationMechanism("java-key");
        Attestation attestation = mechanism.getAttestation();
        check("no key was generated", !((SymmetricKeyAttestation) attestation).getPrimaryKey().isEmpty());

        made.setProvisioningStatus(ProvisioningStatus.DISABLED);
        IndividualEnrollment changed = client.createOrUpdateIndividualEnrollment(made);
        same("status", ProvisioningStatus.DISABLED, changed.getProvisioningStatus());
        refused(412, () -> client.createOrUpdateIndividualEnrollment(made)); // with the etag of before
        same("read", ProvisioningStatus.DISABLED, client.getIndividualEnrollment("java-key").getProvisioningStatus());
        refused(412, () -> client.deleteIndividualEnrollment("java-key", made.getEtag()));
        client.deleteIndividualEnrollment("java-key", changed.getEtag());
        refused(404, () -> client.getIndividualEnrollment("java-key"));

        IndividualEnrollment certified =
                new IndividualEnrollment("leaf-1", X509Attestation.createFromClientCertificates(leaf));
        same("attestation", X509Attestation.class,
                client.createOrUpdateIndividualEnrollment(certified).getAttestation().getClass());
        client.deleteIndividualEnrollment("leaf-1");

        // The endorsement key of the SDK's own sample.
        IndividualEnrollment tpm = new IndividualEnrollment("java-tpm", new TpmAttestation(
                "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAxsj2gUScTk1UjuioeTlf"
                        + "GYZrrimExB+bScH75adUMRIi2UOMxG1kw4y+9RW/IVoMl4e620VxZad0ARX2gUqVjYO7KPVt3dyKhZS3dkcvfBisBhP1XH9B"
                        + "33VqHG9SHnbnQXdBUaCgKAfxome8UmBKfe+naTsE5fkvjb/do3/dD6l4sGBwFCnKRdln4XpM03zLpoHFao8zOwt8l/uP3qUI"
                        + "xmCYv9A7m69Ms+5/pCkTu/rK4mRDsfhZ0QLfbzVI6zQFOKF/rwsfBtFeWlWtcuJMKlXdD8TXWElTzgh7JS4qhFzreL0c1mI0"
                        + "GCj+Aws0usZh7dLIVPnlgZcBhgy1SSDQMQ=="));
        same("attestation", TpmAttestation.class,
                client.createOrUpdateIndividualEnrollment(tpm).getAttestation().getClass());
        client.deleteIndividualEnrollment(client.getIndividualEnrollment("java-tpm"));
    }

    private static void enrollmentGroups(String hub, String ca) throws Exception {
        EnrollmentGroup group = new EnrollmentGroup("java-group", X509Attestation.createFromRootCertificates(ca));
        group.setIotHubHostName(hub);
        group.setProvisioningStatus(ProvisioningStatus.ENABLED);
        EnrollmentGroup made = client.createOrUpdateEnrollmentGroup(group);
        same("group", "java-group", made.getEnrollmentGroupId());
        made.setProvisioningStatus(ProvisioningStatus.DISABLED);
        EnrollmentGroup changed = client.createOrUpdateEnrollmentGroup(made);
        same("status", ProvisioningStatus.DISABLED, client.getEnrollmentGroup("java-group").getProvisioningStatus());
        refused(412, () -> client.createOrUpdateEnrollmentGroup(made));
        client.deleteEnrollmentGroup("java-group", changed.getEtag());
        refused(404, () -> client.getEnrollmentGroup("java-group"));

        client.createOrUpdateEnrollmentGroup(new EnrollmentGroup("java-keys", new SymmetricKeyAttestation("", "")));
        Attestation attestation = client.getEnrollmentGroupAttestationMechanism("java-keys").getAttestation();
        check("no key was generated", !((SymmetricKeyAttestation) attestation).getPrimaryKey().isEmpty());
        client.deleteEnrollmentGroup("java-keys");
    }

    private static void bulk() throws Exception {
        List<IndividualEnrollment> some = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            some.add(new IndividualEnrollment("java-bulk-" + i, new SymmetricKeyAttestation("", "")));
        }
        BulkEnrollmentOperationResult result = client.runBulkEnrollmentOperation(BulkOperationMode.CREATE, some);
        check("bulk create: " + result, result.getSuccessful());
        result = client.runBulkEnrollmentOperation(BulkOperationMode.CREATE, some.subList(0, 1));
        check("a duplicate was created", !result.getSuccessful());
        same("the duplicate", "java-bulk-0", result.getErrors().get(0).getRegistrationId());
        result = client.runBulkEnrollmentOperation(BulkOperationMode.DELETE, some);
        check("bulk delete: " + result, result.getSuccessful());
    }

    private static void queries(int fleet, int groups, int line) throws Exception {
        String all = "SELECT * FROM enrollments";
        int count = 0;
        Query query = client.createIndividualEnrollmentQuery(
                new QuerySpecificationBuilder("*", QuerySpecificationBuilder.FromType.ENROLLMENTS).createSqlQuery(), 100);
        while (query.hasNext()) {
            count += query.next().getItems().length;
        }
        same(all, fleet + 1, count); // and "solo"
        count = 0;
        query = client.createEnrollmentGroupQuery(
                new QuerySpecificationBuilder("*", QuerySpecificationBuilder.FromType.ENROLLMENT_GROUPS).createSqlQuery(), 3);
        while (query.hasNext()) {
            count += query.next().getItems().length;
        }
        same("enrollment groups", groups, count);
        count = 0;
        query = client.createEnrollmentGroupRegistrationStateQuery(
                new QuerySpecificationBuilder("*", QuerySpecificationBuilder.FromType.DEVICE_REGISTRATIONS).createSqlQuery(),
                "line", 2);
        while (query.hasNext()) {
            count += query.next().getItems().length;
        }
        same("registrations of the group", line, count);
    }

    private static void registrations() throws Exception {
        DeviceRegistrationState state = client.getDeviceRegistrationState("solo");
        same("registration", "solo", state.getRegistrationId());
        same("status", EnrollmentStatus.ASSIGNED, state.getStatus());
        client.deleteDeviceRegistrationState(state);
        refused(404, () -> client.getDeviceRegistrationState("solo"));
    }

    private static void refusals() throws Exception {
        refused(400, () -> client.createOrUpdateIndividualEnrollment(
                new IndividualEnrollment("not an ID!", new SymmetricKeyAttestation("", ""))));
        refused(404, () -> client.deleteEnrollmentGroup("java-nobody"));
        refused(400, () -> client.runBulkEnrollmentOperation(BulkOperationMode.CREATE,
                Collections.nCopies(11, new IndividualEnrollment("java-many", new SymmetricKeyAttestation("", "")))));
    }

    private interface Call {
        void run() throws Exception;
    }

    /** Checks that a call fails with the exception that the SDK has for an HTTP status. */
    private static void refused(int status, Call call) {
        String name;
        switch (status) {
            case 400: name = "ProvisioningServiceClientBadFormatException"; break;
            case 404: name = "ProvisioningServiceClientNotFoundException"; break;
            case 412: name = "ProvisioningServiceClientPreconditionFailedException"; break;
            default: throw new IllegalArgumentException(String.valueOf(status));
        }
        try {
            call.run();
        } catch (Exception e) {
            check("want " + name + ", got " + e, e.getClass().getSimpleName().equals(name));
            return;
        }
        throw new AssertionError("a call that should end with " + name + " succeeded");
    }

    private static void same(String what, Object want, Object got) {
        check(what + ": want " + want + ", got " + got, Objects.equals(want, got));
    }

    private static void check(String failure, boolean ok) {
        if (!ok) {
            throw new AssertionError(failure);
        }
    }
}
