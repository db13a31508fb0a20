import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.provisioning.device.AdditionalData;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClient;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientRegistrationResult;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientStatus;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientTransportProtocol;
import com.microsoft.azure.sdk.iot.provisioning.security.SecurityProvider;
import com.microsoft.azure.sdk.iot.provisioning.security.SecurityProviderSymmetricKey;
import com.microsoft.azure.sdk.iot.provisioning.security.hsm.SecurityProviderX509Cert;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.SSLException;
import org.eclipse.paho.client.mqttv3.MqttSecurityException;

/**
 * Registers devices with the official SDK, as its samples do, and prints how each ended.
 *
 * <p>java -cp 'LIBRARIES/*' Register.java &lt; JOB
 *
 * <p>JOB is a JSON object: host, idScope, timeoutSeconds, devices. A device has registrationId and
 * transport (https, mqtt or mqtt-ws), key or certFile and keyFile, and maybe payload and another
 * idScope. They register all at once. What to trust is given by -Djavax.net.ssl.trustStore.
 *
 * <p>The output is {"sdk": ..., "outcomes": [...]}: for each device, in order, assigned, error or
 * hung, and the answer of the service where the error repeats it. Exit code 0 means that all
 * outcomes are there.
 */
public final class Register {
    private static final String SDK = "provisioning-device-client";

    private static final Map<String, ProvisioningDeviceClientTransportProtocol> TRANSPORTS =
            Map.of(
                    "https", ProvisioningDeviceClientTransportProtocol.HTTPS,
                    "mqtt", ProvisioningDeviceClientTransportProtocol.MQTT,
                    "mqtt-ws", ProvisioningDeviceClientTransportProtocol.MQTT_WS);

    public static void main(String[] args) throws Exception {
        JsonObject job =
                JsonParser.parseReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)).getAsJsonObject();
        JsonArray devices = job.getAsJsonArray("devices");

        ExecutorService threads = Executors.newCachedThreadPool();
        List<Future<JsonObject>> running = new ArrayList<>();
        for (JsonElement device : devices) {
            running.add(threads.submit(() -> register(job, device.getAsJsonObject())));
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(job.get("timeoutSeconds").getAsLong());
        JsonArray outcomes = new JsonArray();
        for (Future<JsonObject> one : running) {
            outcomes.add(await(one, deadline));
        }

        JsonObject report = new JsonObject();
        report.addProperty("sdk", SDK + " " + version());
        report.add("outcomes", outcomes);
        OutputStream out = System.out;
        out.write(new Gson().toJson(report).getBytes(StandardCharsets.UTF_8));
        out.flush();
        Runtime.getRuntime().halt(0); // the SDK's own threads would keep the program alive
    }

    private static List<X509Certificate> certificates(Path path) throws Exception {
        List<X509Certificate> all = new ArrayList<>();
        try (var in = Files.newInputStream(path)) {
            for (Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                all.add((X509Certificate) one);
            }
        }
        return all;
    }

    private static PrivateKey privateKey(Path path) throws Exception {
        String pem = Files.readString(path).replaceAll("-----[A-Z ]+-----|\\s", "");
        PKCS8EncodedKeySpec spec = new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem));
        try {
            return KeyFactory.getInstance("EC").generatePrivate(spec);
        } catch (java.security.spec.InvalidKeySpecException e) {
            return KeyFactory.getInstance("RSA").generatePrivate(spec);
        }
    }

    private static SecurityProvider securityOf(JsonObject device) throws Exception {
        if (device.has("key")) {
            byte[] key = device.get("key").getAsString().getBytes(StandardCharsets.UTF_8); // base64, as the samples
            return new SecurityProviderSymmetricKey(key, device.get("registrationId").getAsString());
        }
        List<X509Certificate> chain = certificates(Path.of(device.get("certFile").getAsString()));
        PrivateKey key = privateKey(Path.of(device.get("keyFile").getAsString()));
        SecurityProviderX509Cert security =
                new SecurityProviderX509Cert(chain.get(0), key, chain.subList(1, chain.size()));
        String id = device.get("registrationId").getAsString();
        if (id.equals(security.getRegistrationId())) {
            return security;
        }
        // A device that claims another name than its certificate's.
        return new SecurityProviderX509Cert(chain.get(0), key, chain.subList(1, chain.size())) {
            @Override
            public String getClientCertificateCommonName() {
                return id;
            }

            @Override
            public String getRegistrationId() {
                return id;
            }
        };
    }

    private static JsonObject register(JsonObject job, JsonObject device) {
        JsonObject outcome = new JsonObject();
        ProvisioningDeviceClient client = null;
        try {
            JsonElement scope = device.has("idScope") ? device.get("idScope") : job.get("idScope");
            client = ProvisioningDeviceClient.create(
                    job.get("host").getAsString(),
                    scope.getAsString(),
                    TRANSPORTS.get(device.get("transport").getAsString()),
                    securityOf(device));
            AdditionalData more = new AdditionalData();
            if (device.has("payload")) {
                more.setProvisioningPayload(new Gson().toJson(device.get("payload")));
            }
            outcome.add("assigned", describe(client.registerDeviceSync(more)));
        } catch (Throwable e) {
            outcome.add("error", describe(e));
            outcome.add("answer", answer(e));
        } finally {
            if (client != null) {
                client.close();
            }
        }
        return outcome;
    }

    private static JsonObject describe(ProvisioningDeviceClientRegistrationResult result) throws Exception {
        if (result.getProvisioningDeviceClientStatus() != ProvisioningDeviceClientStatus.PROVISIONING_DEVICE_STATUS_ASSIGNED) {
            // As the SDK's samples do, which only print this.
            throw new IllegalStateException(String.valueOf(result.getProvisioningDeviceClientStatus()));
        }
        JsonObject told = new JsonObject();
        told.addProperty("status", result.getStatus());
        told.addProperty("substatus", camelCase(String.valueOf(result.getSubstatus())));
        told.addProperty("assignedHub", result.getIothubUri());
        told.addProperty("deviceId", result.getDeviceId());
        return told;
    }

    /** Returns INITIAL_ASSIGNMENT, the SDK's constant, as the service spells it: initialAssignment. */
    private static String camelCase(String constant) {
        StringBuilder name = new StringBuilder();
        for (String word : constant.toLowerCase().split("_")) {
            name.append(name.length() == 0 ? word : word.substring(0, 1).toUpperCase() + word.substring(1));
        }
        return name.toString();
    }

    // The ways in which the SDK's messages repeat what the service answered.
    private static final Pattern BODY = Pattern.compile("\"errorCode\":(\\d+),\"trackingId\":\"([^\"]+)\"");
    private static final Pattern TOLD = Pattern.compile("Service error: (\\d+) - .* - TrackingId: (\\S+)");

    /** Returns the answer that an error came from, as far as the error tells it. */
    private static JsonObject answer(Throwable error) {
        JsonObject told = new JsonObject();
        for (Throwable e = error; e != null; e = e.getCause()) {
            if (e instanceof MqttSecurityException) {
                told.addProperty("connack", ((MqttSecurityException) e).getReasonCode());
                return told;
            }
            if (e instanceof SSLException || String.valueOf(e.getMessage()).contains("SSLHandshakeException")) {
                return told; // nothing was answered
            }
            for (Pattern pattern : List.of(BODY, TOLD)) {
                Matcher found = pattern.matcher(String.valueOf(e.getMessage()));
                if (found.find()) {
                    told.addProperty("statusCode", Integer.parseInt(found.group(1)) / 1000);
                    told.addProperty("errorCode", Integer.parseInt(found.group(1)));
                    told.addProperty("trackingId", found.group(2));
                    return told;
                }
            }
        }
        told.addProperty("untold", true);
        return told;
    }

    private static JsonObject describe(Throwable e) {
        if (e instanceof ExecutionException && e.getCause() != null) {
            return describe(e.getCause()); // it only repeats its cause
        }
        JsonObject told = new JsonObject();
        told.addProperty("name", e.getClass().getSimpleName());
        told.addProperty("message", e.getMessage() == null ? "" : e.getMessage());
        if (e.getCause() != null && e.getCause() != e) {
            told.add("cause", describe(e.getCause()));
        }
        return told;
    }

    private static JsonObject await(Future<JsonObject> one, long deadline) throws Exception {
        try {
            return one.get(Math.max(0, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
        } catch (TimeoutException e) {
            JsonObject hung = new JsonObject();
            hung.addProperty("hung", true);
            return hung;
        }
    }

    /** Returns the version of the SDK, from the name of its file on the class path. */
    private static String version() {
        String path = ProvisioningDeviceClient.class.getProtectionDomain().getCodeSource().getLocation().getPath();
        return path.replaceAll(".*" + SDK + "-(.*)\\.jar$", "$1");
    }
}
