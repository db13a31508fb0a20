package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mooring-iot/mooring/wire"
)

// Import writes records that stand in text, in the media type that contentType says:
// wire.ContentTypeJSONLines, one record a line as JSON, or wire.ContentTypeCSV with a
// header. text has at most wire.MaxImportBody bytes; a larger file is imported in
// parts, each CSV one with the header.
//
// A record that exists already is left alone when it is the same, and otherwise refused
// unless replace says to put the new one in its place. So the same call made again
// after a failure ends with the same records. Refused records do not keep the others
// from being written: the result names them, and is no error.
//
// Only Mooring offers it.
func (c *Enrollments) Import(ctx context.Context, contentType string, text []byte, replace bool) (*wire.ImportResult, error) {
	query := url.Values{"kind": {c.kind.path[1:]}}
	if replace {
		query.Set("replace", "true")
	}
	r := Request{Method: http.MethodPost, Path: wire.ImportPath, Query: query, Header: http.Header{"Content-Type": {contentType}}}
	for tries := 0; ; tries++ {
		res, err := c.call.once(ctx, r, text)
		refusal, refused := errors.AsType[*Error](err)
		if err == nil {
			return decode[wire.ImportResult](res)
		}
		if !refused || !refusal.passing() || tries >= c.call.retries {
			return nil, err
		}
		if err := wait(ctx, refusal, tries); err != nil {
			return nil, err
		}
	}
}

// Export writes all records to w, sorted by ID, in the media type that contentType
// says; see Import. There are no versions, times and states among them, certificates
// are whole, and symmetric keys are there only with withKeys. Import takes them back.
//
// The records are sent as they are read, however many there are: an error may come
// after some were written. A record that does not change meanwhile is there once.
//
// Only Mooring offers it.
func (c *Enrollments) Export(ctx context.Context, w io.Writer, contentType string, withKeys bool) error {
	query := url.Values{"kind": {c.kind.path[1:]}, "keys": {strconv.FormatBool(withKeys)}}
	r := Request{Method: http.MethodGet, Path: wire.ExportPath, Query: query}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res, err := c.call.stream(ctx, r, contentType, cancel)
	if err != nil {
		return err
	}
	defer res.Close()
	if _, err := io.Copy(w, res); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("the export is cut off: %w", err)
	}
	return nil
}

// errStalled is the end of an answer that does not go on.
var errStalled = errors.New("the service sends nothing more")

// stream sends r once and returns its answer as it comes, from a status of 200. The
// time that the HTTP client allows for an attempt is what the answer may stand still:
// then cancel is called.
func (c *caller) stream(ctx context.Context, r Request, accept string, cancel context.CancelCauseFunc) (io.ReadCloser, error) {
	req, err := c.newRequest(ctx, r, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	client := *c.http
	client.Timeout = 0
	body := &streamed{patience: c.http.Timeout}
	if body.patience > 0 {
		body.timer = time.AfterFunc(body.patience, func() { cancel(errStalled) })
	}
	res, err := client.Do(req) //nolint:bodyclose // by body, which the caller closes
	if err != nil {
		body.stop()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	body.ReadCloser = res.Body
	if res.StatusCode == http.StatusOK {
		return body, nil
	}
	defer body.Close()
	answer, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the service's answer: %w", err)
	}
	return nil, newError(res, answer, c.now())
}

// streamed is an answer that may not stand still for long.
type streamed struct {
	io.ReadCloser
	timer    *time.Timer // nil when it may
	patience time.Duration
}

// Read reads on, within a time of its own.
func (s *streamed) Read(p []byte) (int, error) {
	if s.timer != nil {
		s.timer.Reset(s.patience)
		defer s.timer.Stop() // whoever takes the answer may take any time
	}
	return s.ReadCloser.Read(p)
}

// Close ends the answer.
func (s *streamed) Close() error {
	s.stop()
	return s.ReadCloser.Close()
}

func (s *streamed) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
}
