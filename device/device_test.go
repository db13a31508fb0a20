package device_test

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/device"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/sas"
)

func TestAssigned(t *testing.T) {
	want := &device.Assignment{
		Hub: "hub.example.net", DeviceID: "sensor-7", RegistrationID: "sensor-7", EnrollmentGroupID: "line-7",
		Substatus: "initialAssignment", ETag: "IjE=",
		Created: time.Date(2025, 3, 4, 5, 6, 7, 123456700, time.UTC), Updated: time.Date(2025, 3, 4, 5, 6, 8, 0, time.UTC),
		Payload: json.RawMessage(`{"line":7}`), OperationID: "5.op-1",
	}
	everyTransport(t, func(t *testing.T, transport device.Transport) {
		bubble(t, transport, script(accepted, assigning, assigning, assigned), func(t *testing.T, f *fake, o device.Options) {
			start := time.Now()
			got, err := device.Register(t.Context(), o)
			if err != nil {
				t.Fatalf("Register: %v", err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Register (-want +got):\n%s", diff)
			}
			if took := time.Since(start); took != 9*time.Second {
				t.Errorf("it took %v, want three pauses of 3 s", took)
			}
			if f.sofar().dials != 1 {
				t.Errorf("dialled %d times, want once", f.sofar().dials)
			}
			if transport != device.HTTPS && f.sofar().goodbyes != 1 {
				t.Errorf("%d DISCONNECT packets, want 1", f.sofar().goodbyes)
			}
		})
	})
}

// TestWhatIsSent checks the requests themselves.
func TestWhatIsSent(t *testing.T) {
	everyTransport(t, func(t *testing.T, transport device.Transport) {
		bubble(t, transport, script(accepted, assigned), func(t *testing.T, f *fake, o device.Options) {
			o.Payload = map[string]string{"model": "s7"}
			o.UserAgent = "press/2 (line 7)"
			if _, err := device.Register(t.Context(), o); err != nil {
				t.Fatalf("Register: %v", err)
			}
			for _, q := range f.sofar().requests {
				checkRequest(t, transport, q)
			}
		})
	})
}

func checkRequest(t *testing.T, transport device.Transport, q request) {
	t.Helper()
	const base, query = "/0ne00000001/registrations/sensor-7", "?api-version=2021-06-01"
	wantBody := map[string]string{
		registering: `{"registrationId":"sensor-7","payload":{"model":"s7"}}`, connecting: "", subscribing: "", polling: " ",
	}
	wantPath := map[string]string{
		subscribing: "$dps/registrations/res/#", connecting: "",
		registering: "$dps/registrations/PUT/iotdps-register/?$rid=2",
		polling:     "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=3&operationId=5.op-1",
	}
	if transport == device.HTTPS {
		wantPath[registering], wantPath[polling] = base+"/register"+query, base+"/operations/5.op-1"+query
		wantBody[polling] = ""
		if q.agent != "press/2 (line 7)" {
			t.Errorf("user agent = %q", q.agent)
		}
	}
	if string(q.body) != wantBody[q.step] || q.path != wantPath[q.step] {
		t.Errorf("%s: %q %q, want %q %q", q.step, q.path, q.body, wantPath[q.step], wantBody[q.step])
	}
	if transport == device.HTTPS || q.step == connecting {
		checkToken(t, q.token)
	}
	if q.step != connecting {
		return
	}
	want := &packet.Connect{
		Level: 4, CleanSession: true, KeepAlive: 60, ClientID: "sensor-7", HasUsername: true,
		Username:    "0ne00000001/registrations/sensor-7/api-version=2021-06-01&ClientVersion=press%2F2%20%28line%207%29",
		HasPassword: true, Password: q.connect.Password,
	}
	if diff := cmp.Diff(want, q.connect); diff != "" {
		t.Errorf("CONNECT (-want +got):\n%s", diff)
	}
}

func checkToken(t *testing.T, text string) {
	t.Helper()
	token, err := sas.Parse(text)
	if err != nil {
		t.Fatalf("token: %v", err)
	}
	if !token.Verify(deviceKey) || token.Resource != "0ne00000001/registrations/sensor-7" || token.KeyName != "registration" {
		t.Errorf("token = %q", text)
	}
	if life := time.Until(token.Expiry); life < 59*time.Minute || life > time.Hour {
		t.Errorf("the token lives for %v", life)
	}
	if !strings.Contains(text, "sr=0ne00000001%2Fregistrations%2Fsensor-7&") {
		t.Errorf("sr is not encoded in %q", text)
	}
}

// signer is a private key that cannot be read, as in a TPM.
type signer struct {
	crypto.Signer
	used *atomic.Int32
}

func (s signer) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	s.used.Add(1)
	return s.Signer.Sign(r, digest, o)
}

func TestX509(t *testing.T) {
	everyTransport(t, func(t *testing.T, transport device.Transport) {
		bubble(t, transport, script(accepted, assigned), func(t *testing.T, f *fake, o device.Options) {
			cert := newCertificate("sensor-7")
			var used atomic.Int32
			key, ok := cert.PrivateKey.(crypto.Signer)
			if !ok {
				t.Fatalf("%T cannot sign", cert.PrivateKey)
			}
			cert.PrivateKey = signer{key, &used}
			o.Credential, o.RegistrationID = device.X509(cert), ""
			if _, err := device.Register(t.Context(), o); err != nil {
				t.Fatalf("Register: %v", err)
			}
			if used.Load() != 1 {
				t.Errorf("the key signed %d times, want once", used.Load())
			}
			for _, q := range f.sofar().requests {
				if q.cert == nil || q.cert.Subject.CommonName != "sensor-7" {
					t.Errorf("%s: certificate %v", q.step, q.cert)
				}
				if q.token != "" || q.connect != nil && q.connect.HasPassword {
					t.Errorf("%s: a password beside the certificate", q.step)
				}
			}
		})
	})
}

// TestDeriveKey has the vector of the documentation.
// Source: azure-docs, articles/iot-dps/how-to-legacy-device-symm-key.md.
func TestDeriveKey(t *testing.T) {
	group, err := base64.StdEncoding.DecodeString("8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==")
	if err != nil {
		t.Fatal(err)
	}
	got := base64.StdEncoding.EncodeToString(device.DeriveKey(group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"))
	if want := "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="; got != want {
		t.Errorf("DeriveKey = %s, want %s", got, want)
	}
}

func TestGroupKey(t *testing.T) {
	bubble(t, device.HTTPS, script(accepted, assigned), func(t *testing.T, f *fake, o device.Options) {
		o.Credential = device.GroupKey([]byte("the group's key"))
		if _, err := device.Register(t.Context(), o); err != nil {
			t.Fatalf("Register: %v", err)
		}
		token, err := sas.Parse(f.sofar().requests[0].token)
		if err != nil || !token.Verify(device.DeriveKey([]byte("the group's key"), "sensor-7")) {
			t.Errorf("token of another key, %v", err)
		}
	})
}

func TestKeysDoNotPrint(t *testing.T) {
	for _, c := range []device.Credential{
		device.SymmetricKey([]byte("top secret")), device.GroupKey([]byte("top secret")), device.X509(newCertificate("x")),
	} {
		o := device.Options{Credential: c}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
			text := fmt.Sprintf(verb, o)
			if strings.Contains(text, "secret") || strings.Contains(text, "746f70") || strings.Contains(text, "116, 111") ||
				strings.Contains(text, "PrivateKey") {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
}

// TestAnswers plays answers of the service and compares what Register makes of them.
func TestAnswers(t *testing.T) {
	failed := reply{
		status: 200,
		body: `{"operationId":"5.op-1","status":"failed","registrationState":{"registrationId":"sensor-7","status":"failed",` +
			`"errorCode":400208,"errorMessage":"No hub.","lastUpdatedDateTimeUtc":"2025-03-04T05:06:08Z"}}`,
	}
	disabled := reply{
		status: 200,
		body:   `{"operationId":"5.op-1","status":"disabled","registrationState":{"registrationId":"sensor-7","status":"disabled"}}`,
	}
	ok := func(body string) reply { return reply{status: 200, body: body} }
	unauthorized := &device.Error{Status: 401, Code: 401002, Message: "Unauthorized", TrackingID: "t-2"}
	tests := []struct {
		name    string
		replies []reply
		err     error // nil: assigned; compared by errors.Is, an *Error and a *FailedError by value
		took    time.Duration
	}{
		{"assigned at once", []reply{assigned}, nil, 0},
		{"no retry-after", []reply{{status: 202, body: accepted.body}, assigned}, nil, 2 * time.Second},
		{"retry-after that is no number", []reply{{status: 202, body: accepted.body, retry: "soon"}, assigned}, nil, 2 * time.Second},
		{"retry-after 0", []reply{{status: 202, body: accepted.body, retry: "0"}, assigned}, nil, 500 * time.Millisecond},
		{"retry-after without end", []reply{{status: 202, body: accepted.body, retry: "99999999"}, assigned}, nil, 5 * time.Minute},
		{"unassigned", []reply{{status: 202, body: `{"operationId":"5.op-1","status":"unassigned"}`, retry: "1"}, assigned}, nil, time.Second},
		{"status in capitals", []reply{{status: 202, body: `{"operationId":"5.op-1","status":"Assigning"}`, retry: "1"}, assigned}, nil, time.Second},
		{"throttled, then accepted", []reply{throttled, accepted, assigned}, nil, 10 * time.Second},
		{"throttled while polling", []reply{accepted, throttled, assigned}, nil, 10 * time.Second},
		{"throttled for ever", []reply{throttled}, &device.Error{
			Status: 429, Code: 429001, Message: "Operations are being throttled for this tenant.", TrackingID: "t-1", RetryAfter: 7 * time.Second,
		}, 28 * time.Second},
		{"refused", []reply{refused}, unauthorized, 0},
		{"refused while polling", []reply{accepted, refused}, unauthorized, 3 * time.Second},
		{
			"unknown",
			[]reply{{status: 404, body: `{"errorCode":404201,"message":"Not found.","trackingId":"t-3"}`}},
			&device.Error{Status: 404, Code: 404201, Message: "Not found.", TrackingID: "t-3"}, 0,
		},
		{"failed", []reply{accepted, failed}, &device.FailedError{
			Code: 400208, Message: "No hub.", RegistrationID: "sensor-7", OperationID: "5.op-1",
			Updated: time.Date(2025, 3, 4, 5, 6, 8, 0, time.UTC),
		}, 3 * time.Second},
		{"failed without a state", []reply{ok(`{"operationId":"x","status":"failed"}`)}, &device.FailedError{OperationID: "x"}, 0},
		{"disabled", []reply{accepted, disabled}, device.ErrDisabled, 3 * time.Second},
		{"not JSON", []reply{ok("<html>")}, device.ErrProtocol, 0},
		{"empty", []reply{ok("")}, device.ErrProtocol, 0},
		{"a list", []reply{ok("[]")}, device.ErrProtocol, 0},
		{"null", []reply{ok("null")}, device.ErrProtocol, 0},
		{"no status", []reply{ok(`{"operationId":"x"}`)}, device.ErrProtocol, 0},
		{"status unheard of", []reply{ok(`{"operationId":"x","status":"maybe"}`)}, device.ErrProtocol, 0},
		{"no operation", []reply{ok(`{"status":"assigning"}`)}, device.ErrProtocol, 0},
		{"operation that breaks topics", []reply{ok(`{"operationId":"a/#","status":"assigning"}`)}, device.ErrProtocol, 0},
		{"operation without end", []reply{ok(`{"operationId":"` + strings.Repeat("a", 2000) + `","status":"assigning"}`)}, device.ErrProtocol, 0},
		{"assigned to nothing", []reply{ok(`{"operationId":"x","status":"assigned"}`)}, device.ErrProtocol, 0},
		{"assigned without a hub", []reply{ok(`{"operationId":"x","status":"assigned","registrationState":{"deviceId":"d"}}`)}, device.ErrProtocol, 0},
		{"assigned without a device ID", []reply{ok(`{"operationId":"x","status":"assigned","registrationState":{"assignedHub":"h"}}`)}, device.ErrProtocol, 0},
		{"wrong type", []reply{ok(`{"operationId":1,"status":"assigned"}`)}, device.ErrProtocol, 0},
		{"huge", []reply{ok(`{"operationId":"` + strings.Repeat("a", 1<<19) + `"}`)}, device.ErrProtocol, 0},
		{"answer before its acknowledgement", []reply{
			{status: 202, body: accepted.body, retry: "3", early: true}, {status: 200, body: assigned.body, early: true},
		}, nil, 3 * time.Second},
		{"answers to others", []reply{
			{status: 202, body: accepted.body, retry: "3", other: true}, {status: 200, body: assigned.body, other: true},
		}, nil, 3 * time.Second},
		{"lost once", []reply{{drop: true}, accepted, assigned}, nil, -1},
		{"lost while polling", []reply{accepted, {drop: true}, accepted, assigned}, nil, -1},
		{"hanging once", []reply{{hang: true}, accepted, assigned}, nil, -1},
		{"hanging while polling", []reply{accepted, {hang: true}, accepted, assigned}, nil, -1},
	}
	everyTransport(t, func(t *testing.T, transport device.Transport) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				bubble(t, transport, script(tt.replies...), func(t *testing.T, _ *fake, o device.Options) {
					start := time.Now()
					got, err := device.Register(t.Context(), o)
					took := time.Since(start)
					checkError(t, err, tt.err)
					if (got == nil) == (tt.err == nil) {
						t.Errorf("assignment = %v", got)
					}
					if tt.took >= 0 && took != tt.took {
						t.Errorf("it took %v, want %v", took, tt.took)
					}
				})
			})
		}
	})
}

// checkError compares an error of Register with the one that is wanted.
func checkError(t *testing.T, err, want error) {
	t.Helper()
	var refusal, wantRefusal *device.Error
	var failed, wantFailed *device.FailedError
	switch {
	case errors.As(want, &wantRefusal):
		if !errors.As(err, &refusal) {
			t.Fatalf("error = %v, want %v", err, want)
		}
		if refusal.TrackingID == "header-id" && wantRefusal.TrackingID == "" {
			refusal.TrackingID = ""
		}
		if diff := cmp.Diff(wantRefusal, refusal); diff != "" {
			t.Errorf("error (-want +got):\n%s", diff)
		}
	case errors.As(want, &wantFailed):
		if !errors.As(err, &failed) {
			t.Fatalf("error = %v, want %v", err, want)
		}
		if diff := cmp.Diff(wantFailed, failed); diff != "" {
			t.Errorf("error (-want +got):\n%s", diff)
		}
	case !errors.Is(err, want):
		t.Errorf("error = %v, want %v", err, want)
	}
}

func TestRefusalThatIsNotJSON(t *testing.T) {
	bubble(t, device.HTTPS, script(reply{status: 403, body: "<html>"}), func(t *testing.T, _ *fake, o device.Options) {
		_, err := device.Register(t.Context(), o)
		checkError(t, err, &device.Error{Status: 403, TrackingID: "header-id"})
		if want := `registering "sensor-7": the service refused with 403 Forbidden (tracking ID header-id)`; err.Error() != want {
			t.Errorf("error = %q, want %q", err, want)
		}
	})
}

func TestRedirectIsNotFollowed(t *testing.T) {
	bubble(t, device.HTTPS, script(reply{status: 307}), func(t *testing.T, f *fake, o device.Options) {
		_, err := device.Register(t.Context(), o)
		checkError(t, err, &device.Error{Status: 307})
		if len(f.sofar().requests) != 1 {
			t.Errorf("%d requests, want 1", len(f.sofar().requests))
		}
	})
}

// at makes one step go wrong each time, and the others go well.
func at(step string, wrong reply) func(request) reply {
	next := script(accepted, assigned)
	return func(q request) reply {
		if q.step == step {
			return wrong
		}
		if q.step == registering {
			return accepted
		}
		return next(q)
	}
}

// stepsOf a transport.
func stepsOf(transport device.Transport) []string {
	if transport == device.HTTPS {
		return []string{registering, polling}
	}
	return []string{connecting, subscribing, registering, polling}
}

// TestLost loses the connection in every step, and each time again.
func TestLost(t *testing.T) {
	everyTransport(t, func(t *testing.T, transport device.Transport) {
		for _, step := range stepsOf(transport) {
			for name, wrong := range map[string]reply{"reset": {drop: true}, "silence": {hang: true}} {
				t.Run(step+" "+name, func(t *testing.T) {
					bubble(t, transport, at(step, wrong), func(t *testing.T, f *fake, o device.Options) {
						o.Retries = 2
						_, err := device.Register(t.Context(), o)
						if err == nil || !strings.Contains(err.Error(), "the connection was lost: ") {
							t.Errorf("error = %v, want a lost connection", err)
						}
						if f.sofar().steps[step] < 3 {
							t.Errorf("%d tries, want 3", f.sofar().steps[step])
						}
					})
				})
			}
		}
	})
}

func TestNoRetries(t *testing.T) {
	everyTransport(t, func(t *testing.T, transport device.Transport) {
		bubble(t, transport, script(throttled, accepted, assigned), func(t *testing.T, f *fake, o device.Options) {
			o.Retries = -1
			_, err := device.Register(t.Context(), o)
			checkError(t, err, &device.Error{
				Status: 429, Code: 429001, Message: "Operations are being throttled for this tenant.", TrackingID: "t-1", RetryAfter: 7 * time.Second,
			})
			if f.sofar().steps[registering] != 1 {
				t.Errorf("%d requests, want 1", f.sofar().steps[registering])
			}
		})
	})
}

// TestContext ends the context while each step hangs and while the device waits.
func TestContext(t *testing.T) {
	everyTransport(t, func(t *testing.T, transport device.Transport) {
		for _, step := range stepsOf(transport) {
			t.Run(step, func(t *testing.T) {
				bubble(t, transport, at(step, reply{hang: true}), func(t *testing.T, _ *fake, o device.Options) {
					_ = checkEnd(t, o, context.Canceled, 10*time.Second)
				})
			})
		}
		t.Run("pause", func(t *testing.T) {
			waiting := reply{status: 202, body: accepted.body, retry: "200"}
			bubble(t, transport, script(waiting), func(t *testing.T, _ *fake, o device.Options) {
				_ = checkEnd(t, o, context.DeadlineExceeded, 150*time.Second)
			})
		})
		t.Run("backoff", func(t *testing.T) {
			bubble(t, transport, script(throttled), func(t *testing.T, _ *fake, o device.Options) {
				err := checkEnd(t, o, context.DeadlineExceeded, 5*time.Second)
				if refusal, ok := errors.AsType[*device.Error](err); !ok || refusal.Status != 429 {
					t.Errorf("error = %v, which does not tell the last answer", err)
				}
			})
		})
		t.Run("over before it starts", func(t *testing.T) {
			bubble(t, transport, script(accepted), func(t *testing.T, _ *fake, o device.Options) {
				_ = checkEnd(t, o, context.Canceled, 0)
			})
		})
	})
}

// checkEnd ends the context of Register in the way want after d, and checks that it
// notices at once.
func checkEnd(t *testing.T, o device.Options, want error, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	switch {
	case errors.Is(want, context.DeadlineExceeded):
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	case d == 0:
		cancel()
	default:
		defer time.AfterFunc(d, cancel).Stop()
	}
	start := time.Now()
	_, err := device.Register(ctx, o)
	if !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
	if took := time.Since(start); took != d {
		t.Errorf("it ended after %v, want %v", took, d)
	}
	return err
}

// TestDial covers services that cannot be reached.
func TestDial(t *testing.T) {
	everyTransport(t, func(t *testing.T, transport device.Transport) {
		t.Run("refused", func(t *testing.T) {
			bubble(t, transport, script(accepted), func(t *testing.T, _ *fake, o device.Options) {
				refusal, dials := errors.New("connection refused"), 0
				o.Dial = func(context.Context, string, string) (net.Conn, error) { dials++; return nil, refusal }
				_, err := device.Register(t.Context(), o)
				if !errors.Is(err, refusal) || dials != 1 || !strings.Contains(err.Error(), "connecting to example.com:") {
					t.Errorf("error = %v after %d tries, want the dialer's after one", err, dials)
				}
			})
		})
		t.Run("refused after a loss", func(t *testing.T) {
			bubble(t, transport, script(reply{drop: true}, accepted, assigned), func(t *testing.T, f *fake, o device.Options) {
				dials := 0
				o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if dials++; dials == 2 || dials == 3 {
						return nil, errors.New("connection refused")
					}
					return f.dial(ctx, network, addr)
				}
				if _, err := device.Register(t.Context(), o); err != nil {
					t.Errorf("Register: %v", err)
				}
			})
		})
		for _, tls := range []bool{false, true} {
			t.Run(fmt.Sprintf("silent, cancelled %t", tls), func(t *testing.T) {
				bubble(t, transport, script(accepted), func(t *testing.T, _ *fake, o device.Options) {
					theirs, ours := net.Pipe() // nobody shakes hands
					defer ours.Close()
					o.Dial = func(context.Context, string, string) (net.Conn, error) { return theirs, nil }
					if tls {
						_ = checkEnd(t, o, context.Canceled, time.Second)
						return
					}
					start := time.Now()
					_, err := device.Register(t.Context(), o)
					if err == nil || !strings.Contains(err.Error(), "no answer within 30s") || time.Since(start) != 30*time.Second {
						t.Errorf("error = %v after %v", err, time.Since(start))
					}
				})
			})
		}
		t.Run("certificate of another", func(t *testing.T) {
			bubble(t, transport, script(accepted), func(t *testing.T, f *fake, o device.Options) {
				o.Endpoint = "dps.example.org"
				o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					return f.dial(ctx, network, strings.Replace(addr, "dps.example.org", "example.com", 1))
				}
				_, err := device.Register(t.Context(), o)
				if err == nil || !strings.Contains(err.Error(), "dps.example.org") || f.sofar().dials != 1 {
					t.Errorf("error = %v after %d tries, want one about the name after one", err, f.sofar().dials)
				}
			})
		})
	})
}

// TestMQTTRefused has the refusals that only MQTT has.
func TestMQTTRefused(t *testing.T) {
	malformed := reply{raw: "\x00\x00"}
	huge := reply{raw: "\x30\xff\xff\xff\x7f"}
	tests := []struct {
		name, step string
		reply      reply
		err        error
	}{
		{"version", connecting, reply{status: 1}, &device.Error{Status: 400, Message: "MQTT connection refused: unacceptable protocol version"}},
		{"identifier", connecting, reply{status: 2}, &device.Error{Status: 400, Message: "MQTT connection refused: identifier rejected"}},
		{"unavailable", connecting, reply{status: 3}, &device.Error{Status: 503, Message: "MQTT connection refused: server unavailable"}},
		{"credentials", connecting, reply{status: 4}, &device.Error{Status: 401, Message: "MQTT connection refused: bad user name or password"}},
		{"authorization", connecting, reply{status: 5}, &device.Error{Status: 401, Message: "MQTT connection refused: not authorized"}},
		{"not CONNACK", connecting, reply{raw: "\xd0\x00"}, device.ErrProtocol},
		{"malformed", connecting, malformed, device.ErrProtocol},
		{"subscription refused", subscribing, reply{status: packet.SubscribeFailed}, device.ErrProtocol},
		{"not SUBACK", subscribing, reply{raw: "\xd0\x00"}, device.ErrProtocol},
		{"malformed instead of an answer", registering, malformed, device.ErrProtocol},
		{"huge answer", registering, huge, device.ErrProtocol},
		{"foreign packet", registering, reply{raw: "\x20\x02\x00\x00"}, device.ErrProtocol},
		{"foreign topic", polling, reply{raw: "\x30\x03\x00\x01a"}, device.ErrProtocol},
		{"status that is no number", polling, reply{raw: "\x30\x1d\x00\x1b$dps/registrations/res/2x/?a"}, device.ErrProtocol},
	}
	for _, transport := range []device.Transport{device.MQTT, device.MQTTWebSocket} {
		for _, tt := range tests {
			t.Run(transport.String()+" "+tt.name, func(t *testing.T) {
				bubble(t, transport, at(tt.step, tt.reply), func(t *testing.T, f *fake, o device.Options) {
					_, err := device.Register(t.Context(), o)
					checkError(t, err, tt.err)
					want := 1
					if refusal, ok := errors.AsType[*device.Error](err); ok && refusal.Temporary() {
						want = 5
					}
					if f.sofar().dials != want {
						t.Errorf("connected %d times, want %d", f.sofar().dials, want)
					}
				})
			})
		}
	}
}

// TestPing waits for long, and the service must not think that the device is gone.
func TestPing(t *testing.T) {
	for _, transport := range []device.Transport{device.MQTT, device.MQTTWebSocket} {
		t.Run(transport.String(), func(t *testing.T) {
			waiting := reply{status: 202, body: accepted.body, retry: "100"}
			bubble(t, transport, script(waiting, waiting, assigned), func(t *testing.T, f *fake, o device.Options) {
				if _, err := device.Register(t.Context(), o); err != nil {
					t.Fatalf("Register: %v", err)
				}
				if f.sofar().pings != 4 || f.sofar().dials != 1 {
					t.Errorf("%d pings on %d connections, want 4 on 1", f.sofar().pings, f.sofar().dials)
				}
			})
		})
	}
}

// TestWebSocketRefused has a service without MQTT over WebSocket.
func TestWebSocketRefused(t *testing.T) {
	bubble(t, device.HTTPS, script(reply{status: 404}), func(t *testing.T, f *fake, o device.Options) {
		o.Transport = device.MQTTWebSocket
		f.server.Handler = nil // an empty mux: 404
		_, err := device.Register(t.Context(), o)
		checkError(t, err, &device.Error{Status: 404, Message: "The WebSocket was not opened."})
	})
}

func TestTrace(t *testing.T) {
	everyTransport(t, func(t *testing.T, transport device.Transport) {
		bubble(t, transport, script(accepted, assigned), func(t *testing.T, f *fake, o device.Options) {
			var steps []string
			note := func(name string) func(time.Duration) {
				return func(d time.Duration) { steps = append(steps, fmt.Sprint(name, " ", d)) }
			}
			o.Trace = &device.Trace{Connected: note("connected"), Accepted: note("accepted"), Answered: note("answered")}
			o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				time.Sleep(time.Second) //nolint:forbidigo // in a bubble: this is how long dialling takes
				return f.dial(ctx, network, addr)
			}
			if _, err := device.Register(t.Context(), o); err != nil {
				t.Fatalf("Register: %v", err)
			}
			if diff := cmp.Diff([]string{"connected 1s", "accepted 0s", "answered 3s"}, steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	})
}

func TestOptions(t *testing.T) {
	good := device.Options{Endpoint: "example.com", IDScope: "0ne1", RegistrationID: "a", Credential: device.SymmetricKey([]byte("k"))}
	tests := []struct {
		name   string
		change func(o *device.Options)
		want   string
	}{
		{"no endpoint", func(o *device.Options) { o.Endpoint = "" }, `Endpoint: "" is not host or host:port`},
		{"URL as endpoint", func(o *device.Options) { o.Endpoint = "https://example.com" }, "Endpoint: "},
		{"path in endpoint", func(o *device.Options) { o.Endpoint = "example.com/x" }, "Endpoint: "},
		{"user in endpoint", func(o *device.Options) { o.Endpoint = "u@example.com" }, "Endpoint: "},
		{"port that is no number", func(o *device.Options) { o.Endpoint = "example.com:mqtt" }, "Endpoint: "},
		{"no ID scope", func(o *device.Options) { o.IDScope = "" }, "IDScope: is missing"},
		{"slash in ID scope", func(o *device.Options) { o.IDScope = "a/b" }, "IDScope: "},
		{"no credential", func(o *device.Options) { o.Credential = nil }, "Credential: is missing"},
		{"empty key", func(o *device.Options) { o.Credential = device.SymmetricKey(nil) }, "Credential: the key is empty"},
		{"empty group key", func(o *device.Options) { o.Credential = device.GroupKey(nil) }, "Credential: the group's key is empty"},
		{"no chain", func(o *device.Options) { c := newCertificate("a"); c.Certificate = nil; o.Credential = device.X509(c) }, "Credential: the X.509 chain"},
		{"two common names", func(o *device.Options) { o.Credential, o.RegistrationID = device.X509(newCertificate("a", "b")), "" }, "RegistrationID: is required: the certificate has several common names"},
		{"no private key", func(o *device.Options) { c := newCertificate("a"); c.PrivateKey = nil; o.Credential = device.X509(c) }, "Credential: a private key"},
		{"broken leaf", func(o *device.Options) {
			c := newCertificate("a")
			c.Certificate[0] = []byte{1}
			o.Credential = device.X509(c)
		}, "Credential: "},
		{"no registration ID", func(o *device.Options) { o.RegistrationID = "" }, "RegistrationID: is missing"},
		{"blank in registration ID", func(o *device.Options) { o.RegistrationID = "a b" }, "RegistrationID: "},
		{"long registration ID", func(o *device.Options) { o.RegistrationID = strings.Repeat("a", 129) }, "RegistrationID: is longer than 128 characters"},
		{"transport", func(o *device.Options) { o.Transport = 9 }, "Transport: 9 is not a transport"},
		{"payload", func(o *device.Options) { o.Payload = func() {} }, "Payload: "},
		{"user agent", func(o *device.Options) { o.UserAgent = "a\nb" }, "UserAgent: "},
		{"two at once", func(o *device.Options) { o.IDScope, o.Endpoint = "", "" }, "IDScope: is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			o.Dial = func(context.Context, string, string) (net.Conn, error) {
				t.Error("dialled with wrong options")
				return nil, errors.New("no")
			}
			tt.change(&o)
			if _, err := device.Register(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

// TestAddress checks which address and server name an endpoint means.
func TestAddress(t *testing.T) {
	tests := []struct {
		endpoint  string
		transport device.Transport
		want      string
	}{
		{"example.com", device.HTTPS, "example.com:443"},
		{"example.com", device.MQTT, "example.com:8883"},
		{"example.com", device.MQTTWebSocket, "example.com:443"},
		{"example.com:8443", device.MQTTWebSocket, "example.com:8443"},
		{"example.com:9999", device.MQTT, "example.com:9999"},
		{"127.0.0.1", device.MQTT, "127.0.0.1:8883"},
		{"::1", device.HTTPS, "[::1]:443"},
		{"[::1]:8443", device.HTTPS, "[::1]:8443"},
	}
	for _, tt := range tests {
		t.Run(tt.transport.String()+" "+tt.endpoint, func(t *testing.T) {
			var got string
			stop := errors.New("enough")
			_, err := device.Register(t.Context(), device.Options{
				Endpoint: tt.endpoint, IDScope: "0ne1", RegistrationID: "a", Credential: device.SymmetricKey([]byte("k")), Transport: tt.transport,
				Dial: func(_ context.Context, _, addr string) (net.Conn, error) { got = addr; return nil, stop },
			})
			if got != tt.want || !errors.Is(err, stop) {
				t.Errorf("dialled %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}
