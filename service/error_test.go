package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/service"
)

// script is a transport that answers from a list, and notes when it was asked.
type script struct {
	answers []canned
	at      []time.Time
	bodies  []string
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	body := ""
	if r.Body != nil {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(text)
	}
	s.at, s.bodies = append(s.at, time.Now()), append(s.bodies, body)
	return s.answers[min(len(s.at), len(s.answers))-1].response(), nil
}

// canned is an answer to be given.
type canned struct {
	status int
	header http.Header
	body   string
	cut    bool // the connection breaks after body
}

func (c canned) response() *http.Response {
	body := io.Reader(strings.NewReader(c.body))
	if c.cut {
		body = io.MultiReader(body, broken{})
	}
	return &http.Response{StatusCode: c.status, Header: c.header, Body: io.NopCloser(body)}
}

// reply is an answer; header is name and value, by turns.
func reply(status int, body string, header ...string) canned {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return canned{status: status, header: h, body: body}
}

func (s *script) client(t *testing.T, retries int) *service.Client {
	t.Helper()
	c, err := service.NewClientWithToken(
		"h",
		service.StaticToken("t"),
		&service.Options{HTTPClient: &http.Client{Transport: s}, Retries: retries},
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const throttled = `{"errorCode":429001,"trackingId":"id-1","message":"Slow down.","timestampUtc":"2026-01-01T00:00:00Z"}`

func TestErrors(t *testing.T) {
	tests := []struct {
		name   string
		answer canned
		want   service.Error
		text   string
	}{
		{
			"service", reply(404, `{"errorCode":404201,"trackingId":"id-1","message":"Not found."}`),
			service.Error{Status: 404, Code: 404201, Message: "Not found.", TrackingID: "id-1"},
			"the service refused with 404 Not Found, code 404201: Not found. (tracking ID id-1)",
		},
		{
			"other spelling, and headers", reply(409, `{"code":409201,"Message":"Exists."}`, "x-ms-request-id", "id-2", "Retry-After", "7"),
			service.Error{Status: 409, Code: 409201, Message: "Exists.", TrackingID: "id-2", RetryAfter: 7 * time.Second},
			"the service refused with 409 Conflict, code 409201: Exists. (tracking ID id-2)",
		},
		{
			"control plane", reply(412, `{"error":{"code":"PreconditionFailed","message":"Changed."}}`, "x-ms-error-code", "PreconditionFailed"),
			service.Error{Status: 412, Reason: "PreconditionFailed", Message: "Changed."},
			"the service refused with 412 PreconditionFailed: Changed.",
		},
		{
			"code in a header alone", reply(400, "", "x-ms-error-code", "400004"),
			service.Error{Status: 400, Code: 400004},
			"the service refused with 400 Bad Request, code 400004",
		},
		{
			"plain text", reply(502, "no\n  upstream\n", "Content-Type", "text/plain; charset=utf-8"),
			service.Error{Status: 502, Message: "no upstream"},
			"the service refused with 502 Bad Gateway: no upstream",
		},
		{"a page", reply(502, "<html>", "Content-Type", "text/html"), service.Error{Status: 502}, "the service refused with 502 Bad Gateway"},
		{"JSON of another kind", reply(500, `["errorCode"]`), service.Error{Status: 500}, "the service refused with 500 Internal Server Error"},
		{"redirect", reply(302, "", "Location", ""), service.Error{Status: 302}, "the service refused with 302 Found"},
		{"date", reply(409, "", "Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"), service.Error{Status: 409}, "the service refused with 409 Conflict"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &script{answers: []canned{tt.answer}}
			_, err := s.client(t, 0).Enrollments().Get(t.Context(), "a")
			got, ok := errors.AsType[*service.Error](fmt.Errorf("wrapped: %w", err))
			if !ok {
				t.Fatalf("error = %v, want a *service.Error", err)
			}
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if got.Error() != tt.text {
				t.Errorf("Error() = %q, want %q", got, tt.text)
			}
			if len(s.at) != 1 {
				t.Errorf("%d requests, want 1", len(s.at))
			}
		})
	}
}

func TestKindsOfErrors(t *testing.T) {
	kinds := map[int]func(error) bool{404: service.IsNotFound, 409: service.IsConflict, 412: service.IsPreconditionFailed}
	for _, status := range []int{0, 400, 404, 409, 412, 500} {
		for kind, is := range kinds {
			for _, err := range []error{&service.Error{Status: status}, &service.ItemError{Code: status*1000 + 201}} {
				if got := is(fmt.Errorf("wrapped: %w", err)); got != (status == kind) {
					t.Errorf("%d is of kind %d: %t", status, kind, got)
				}
			}
			if is(nil) || is(io.EOF) {
				t.Errorf("no refusal is of kind %d", kind)
			}
		}
	}
}

func TestBulkErrorTexts(t *testing.T) {
	item := &service.ItemError{ID: "a", Code: 409201, Message: "Exists."}
	tests := []struct {
		items []*service.ItemError
		want  string
	}{
		{nil, "the service says that the bulk operation failed, and not where"},
		{[]*service.ItemError{item}, "the service refused 1 record: a: Exists. (code 409201)"},
		{[]*service.ItemError{item, item}, "the service refused 2 records; the first: a: Exists. (code 409201)"},
	}
	for _, tt := range tests {
		if got := (&service.BulkError{Items: tt.items}).Error(); got != tt.want {
			t.Errorf("Error() = %q, want %q", got, tt.want)
		}
	}
}

func TestRetries(t *testing.T) {
	ok := `{"registrationId":"a"}`
	tests := []struct {
		name    string
		retries int
		answers []canned
		asked   int
		atLeast time.Duration // from the first request to the last
		atMost  time.Duration
		status  int // of the error, 0 for none
	}{
		{"as asked for", 0, []canned{reply(429, throttled, "Retry-After", "5"), reply(503, "", "Retry-After", "2"), reply(200, ok)}, 3, 7 * time.Second, 7 * time.Second, 0},
		{"own pauses", 0, []canned{reply(429, throttled), reply(429, throttled), reply(200, ok)}, 3, 3 * time.Second, 4 * time.Second, 0},
		{"bounded", 0, []canned{reply(429, throttled, "Retry-After", "1")}, 4, 3 * time.Second, 3 * time.Second, 429},
		{"as often as told", 6, []canned{reply(503, "", "Retry-After", "1")}, 7, 6 * time.Second, 6 * time.Second, 503},
		{"never", -1, []canned{reply(429, throttled)}, 1, 0, 0, 429},
		{"too long", 0, []canned{reply(429, throttled, "Retry-After", "61")}, 1, 0, 0, 429},
		{"absurd", 0, []canned{reply(429, throttled, "Retry-After", "999999999999")}, 1, 0, 0, 429},
		{"another failure", 0, []canned{reply(429, throttled, "Retry-After", "1"), reply(500, "")}, 2, time.Second, time.Second, 500},
		{"no other refusal", 0, []canned{reply(502, "")}, 1, 0, 0, 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: tt.answers}
				_, err := s.client(t, tt.retries).Do(t.Context(), service.Request{Method: "POST", Path: "/x", Body: "b"})
				refusal, _ := errors.AsType[*service.Error](err)
				if (tt.status == 0) != (err == nil) || (refusal != nil && refusal.Status != tt.status) {
					t.Errorf("error = %v, want status %d", err, tt.status)
				}
				if len(s.at) != tt.asked {
					t.Fatalf("%d requests, want %d", len(s.at), tt.asked)
				}
				if took := s.at[len(s.at)-1].Sub(s.at[0]); took < tt.atLeast || took > tt.atMost {
					t.Errorf("it took %v, want %v to %v", took, tt.atLeast, tt.atMost)
				}
				for _, body := range s.bodies {
					if body != `"b"` {
						t.Errorf("a request had the body %q", body)
					}
				}
			})
		})
	}
}

func TestRetryEndsWithContext(t *testing.T) {
	t.Run("cancelled while waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{answers: []canned{reply(429, throttled, "Retry-After", "30")}}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(3*time.Second, cancel)
			start := time.Now()
			_, err := s.client(t, 0).Enrollments().Get(ctx, "a")
			if _, told := errors.AsType[*service.Error](err); !errors.Is(err, context.Canceled) || !told {
				t.Errorf("error = %v, want both the cancellation and the refusal", err)
			}
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("it took %v, want 3s", took)
			}
		})
	})
	t.Run("deadline before the pause is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{answers: []canned{reply(429, throttled, "Retry-After", "30")}}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			start := time.Now()
			_, err := s.client(t, 0).Enrollments().Get(ctx, "a")
			if refusal, ok := errors.AsType[*service.Error](err); !ok || refusal.RetryAfter != 30*time.Second {
				t.Errorf("error = %v, want the refusal", err)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("it took %v, want none", took)
			}
		})
	})
}

func TestCancel(t *testing.T) {
	f := newFake(t)
	reached, release := make(chan struct{}), make(chan struct{})
	f.refuse = func(http.ResponseWriter, *http.Request) bool {
		close(reached)
		<-release
		return true
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := f.client().Enrollments().Get(ctx, "a")
		done <- err
	}()
	<-reached
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
	close(release)
}

func TestStrangeAnswers(t *testing.T) {
	tests := []struct {
		name   string
		answer canned
		want   string
	}{
		{"too large", reply(200, `"`+strings.Repeat("x", 16<<20)+`"`), "larger than"},
		{"not JSON", reply(200, "<html>"), "reading the service's answer"},
		{"another shape", reply(200, "[]"), "reading the service's answer"},
		{"cut off", canned{status: 200, body: "{", cut: true}, "reading the service's answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &script{answers: []canned{tt.answer}}
			if _, err := s.client(t, 0).Enrollments().Get(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

// broken is a connection that was cut.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
