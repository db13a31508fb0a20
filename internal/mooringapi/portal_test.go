package mooringapi_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/mooringapi"
	"github.com/mooring-iot/mooring/wire"
)

// signinFake gives out a password, or fails.
type signinFake struct{ err error }

func (f signinFake) Reset(context.Context) (dps.Secret, error) {
	return dps.NewSecret([]byte("new-password")), f.err
}

func TestResetPortal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := slog.New(slog.DiscardHandler)
	guard := access.New(access.Options{Store: w.store, Names: []string{"dps.example"}, Now: func() time.Time { return now }})
	for _, tt := range []struct {
		name          string
		authorization string
		query         string
		err           error
		status        int
		body          string
	}{
		{"by a policy with every right", w.sas("p"), "", nil, 401, ""},
		{"by one that may change the service", w.sas("ServiceConfig"), "", nil, 401, ""},
		{"by a token", w.bearer(t), "?api-version=2021-10-01", nil, 200, `{"password":"new-password"}`},
		{"without the right", w.sas("EnrollmentWrite"), "", nil, 401, ""},
		{"by nobody", "", "", nil, 401, ""},
		{"with something unknown", w.bearer(t), "?color=red", nil, 400, ""},
		{"when it fails", w.bearer(t), "", dps.Errorf(dps.Unavailable, "Later."), 503, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := httpio.Track(mooringapi.New(mooringapi.Options{
				Guard: guard, Audit: audit.New(audit.Options{Store: w.store, Log: log}), Instance: dps.DefaultInstance, Log: log,
				Now: func() time.Time { return now }, Portal: signinFake{tt.err},
			}), log)
			r := httptest.NewRequest("POST", "https://dps.example"+wire.ResetPortalPath+tt.query, nil)
			r.Header.Set("Authorization", tt.authorization)
			res := httptest.NewRecorder()
			h.ServeHTTP(res, r)
			if res.Code != tt.status || (tt.body != "" && res.Body.String() != tt.body) {
				t.Errorf("%d %s, want %d", res.Code, res.Body, tt.status)
			}
			if res.Code == 200 && res.Header().Get("Cache-Control") != "no-store" {
				t.Error("the answer may be kept")
			}
		})
	}
	entries, err := w.store.Audit(t.Context(), dps.DefaultInstance, audit.Filter{Kind: audit.PortalAccount}, 10, nil)
	if err != nil || len(entries) != 2 || entries[0].Result != "Unavailable" || entries[1].Result != "Invalid" || entries[0].ID != "admin" {
		t.Errorf("audit = %+v, %v", entries, err) // of a success the store writes it, with the change
	}
}
