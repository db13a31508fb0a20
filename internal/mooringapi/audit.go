package mooringapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/wire"
)

// usualPage is how many records a page has where the request does not say.
const usualPage = 100

func (s *server) auditRoutes() []route.Route {
	return []route.Route{{Method: "GET", Pattern: wire.AuditPath, Handle: s.guarded(dps.ServiceConfig, s.listAudit)}}
}

// listAudit answers with a page of the audit.
func (s *server) listAudit(w http.ResponseWriter, r *http.Request, _ route.Params) error {
	given, err := parameters(r, "from", "to", "principal", "operation", "kind", "id", "result", "top", "continuation")
	if err != nil {
		return err
	}
	filter, err := readFilter(given)
	if err != nil {
		return err
	}
	top, err := readTop(given["top"])
	if err != nil {
		return err
	}
	after, err := readAuditToken(given["continuation"])
	if err != nil {
		return err
	}
	entries, next, err := s.Audit.Entries(r.Context(), s.Instance, filter, top, after)
	if err != nil {
		return err
	}
	page := wire.AuditPage{Value: make([]wire.AuditEntry, len(entries))}
	for i, e := range entries {
		page.Value[i] = auditEntry(e)
	}
	if next != nil {
		if page.Continuation, err = writeToken(pageToken{Time: next.Time.UnixNano(), Seq: next.Seq}); err != nil {
			return err
		}
	}
	return httpio.WriteJSON(w, http.StatusOK, page)
}

func readFilter(given map[string]string) (f audit.Filter, err error) {
	f.Principal, f.ID = audit.Principal(given["principal"]), given["id"]
	if text := given["from"]; text != "" {
		if f.From, err = readTime("from", text); err != nil {
			return f, err
		}
	}
	if text := given["to"]; text != "" {
		if f.To, err = readTime("to", text); err != nil {
			return f, err
		}
	}
	if text := given["operation"]; text != "" {
		if f.Operation, err = audit.ParseOperation(text); err != nil {
			return f, err
		}
	}
	if text := given["kind"]; text != "" {
		if f.Kind, err = audit.ParseKind(text); err != nil {
			return f, err
		}
	}
	if text := given["result"]; text != "" {
		f.Result, err = audit.ParseResult(text)
	}
	return f, err
}

// readTime reads a moment, or a day, which stands for its first moment in UTC. What
// lies outside of what the store can compare is refused.
func readTime(field, text string) (time.Time, error) {
	const firstYear, lastYear = 1970, 2261
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil && t.Year() >= firstYear && t.Year() <= lastYear {
			return t, nil
		}
	}
	return time.Time{}, dps.Invalidf(field, "must be a time such as 2026-03-01T12:00:00Z or a date such as 2026-03-01")
}

// readTop reads how many records a page may have, usualPage for "".
func readTop(text string) (int, error) {
	if text == "" {
		return usualPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > wire.MaxAuditPage {
		return 0, dps.Invalidf("top", "must be a number from 1 to %d", wire.MaxAuditPage)
	}
	return n, nil
}

// pageToken is what stands in a continuation. It holds for any filter and page size,
// after restarts and after changes.
type pageToken struct {
	Time int64 `json:"t"` // nanoseconds since 1970
	Seq  int64 `json:"s"`
}

// maxToken bounds a continuation, in bytes.
const maxToken = 256

func writeToken(t pageToken) (string, error) {
	text, err := json.Marshal(t)
	return base64.RawURLEncoding.EncodeToString(text), err
}

// readToken returns nil for "".
func readToken(text string) (*pageToken, error) {
	if text == "" {
		return nil, nil
	}
	var t pageToken
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > maxToken || json.Unmarshal(raw, &t) != nil || t.Seq < 1 {
		return nil, notOurs()
	}
	return &t, nil
}

func readAuditToken(text string) (*audit.Cursor, error) {
	t, err := readToken(text)
	if err != nil || t == nil {
		return nil, err
	}
	return &audit.Cursor{Time: time.Unix(0, t.Time), Seq: t.Seq}, nil
}

func auditEntry(e audit.Entry) wire.AuditEntry {
	out := wire.AuditEntry{
		Time: moment(e.Time), Principal: string(e.Principal), Operation: string(e.Operation),
		Kind: string(e.Kind), ID: e.ID, OldETag: string(e.OldETag), NewETag: string(e.NewETag), Result: string(e.Result), Detail: e.Detail,
		TrackingID: e.TrackingID, Remote: e.Remote,
	}
	if e.Several {
		out.Succeeded, out.Failed = &e.Succeeded, &e.Failed
	}
	return out
}
