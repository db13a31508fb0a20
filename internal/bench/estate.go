package bench

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/wire"
)

// Collections of the service API.
const (
	individuals = "/enrollments"
	groups      = "/enrollmentGroups"
)

// estate is what a run created at the service, and how to remove it.
type estate struct {
	service *Service
	note    func(string)
	workers int

	undo  []func(context.Context) error // to be called last to first
	calls int                           // that undo needs, about
}

func (e *estate) say(format string, args ...any) {
	if e.note != nil {
		e.note(fmt.Sprintf(format, args...))
	}
}

// prepare creates everything that o needs and returns the devices.
func (e *estate) prepare(ctx context.Context, o Options) ([]device, error) {
	if o.Enrollments > 0 {
		if err := e.fill(ctx, o.Fleet.Attestation, o.Enrollments); err != nil {
			return nil, err
		}
	}
	f := o.Fleet
	e.say("Making %d devices", f.Devices)
	switch f.Attestation {
	case X509:
		return e.certificateGroup(ctx, f)
	case GroupKey:
		return e.keyGroup(ctx, f)
	default:
		return e.individuals(ctx, f)
	}
}

// remove removes what was created, also when ctx has ended.
func (e *estate) remove(ctx context.Context) error {
	if ctx.Err() != nil || e.calls > 1000 {
		e.say("Removing what was created")
	}
	limit := cleanUpTime * time.Duration(1+e.calls/1000)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	var errs []error
	for len(e.undo) > 0 {
		last := len(e.undo) - 1
		errs = append(errs, e.undo[last](ctx))
		e.undo = e.undo[:last]
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing what the run created: %w", err)
	}
	return nil
}

// later has something removed at the end. What is not there is fine: the call that
// should create it may have failed on its way out or back.
func (e *estate) later(calls int, remove func(context.Context) error) {
	e.calls += calls
	e.undo = append(e.undo, func(ctx context.Context) error { return unlessMissing(remove(ctx)) })
}

func unlessMissing(err error) error {
	if statusOf(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// put creates an enrollment or a group that is to be removed at the end.
func (e *estate) put(ctx context.Context, path, id string, body wire.Enrollment) error {
	if err := e.service.enrollments(ctx, http.MethodPut, path, id, body); err != nil {
		if statusOf(err) == http.StatusConflict {
			return fmt.Errorf("%s is there already, maybe of an earlier run with --keep; choose another seed: %w", id, err)
		}
		if statusOf(err) != 0 {
			return err
		}
		e.laterEntry(path, id) // nobody knows whether it arrived
		return err
	}
	e.laterEntry(path, id)
	return nil
}

func (e *estate) laterEntry(path, id string) {
	e.later(1, func(ctx context.Context) error {
		return e.service.enrollments(ctx, http.MethodDelete, path, id, nil)
	})
}

// certificateGroup creates a CA with its proof of possession and an enrollment group
// on it, and issues the certificates of the devices.
func (e *estate) certificateGroup(ctx context.Context, f Fleet) ([]device, error) {
	name := "bench-" + f.Name
	root, issuer, err := authority(name, f.ChainLength)
	if err != nil {
		return nil, err
	}
	if err := e.upload(ctx, name, root); err != nil {
		return nil, err
	}
	err = e.put(ctx, groups, name, wire.Enrollment{
		EnrollmentGroupID: name,
		Attestation:       &wire.Attestation{Type: "x509", X509: &wire.X509{CAReferences: &wire.CAReferences{Primary: name}}},
	})
	if err != nil {
		return nil, err
	}
	return each(ctx, f.Devices, func(i int) (device, error) {
		return certified(deviceName(f.Name, i), issuer)
	})
}

// authority makes a root and, for chains of more than one certificate, intermediates
// below it; the last of them issues.
func authority(name string, chain int) (root *pki.Issued, issuer *pki.Issuer, err error) {
	if root, err = pki.Issue(pki.Request{Kind: pki.Root, CommonName: name}); err != nil {
		return nil, nil, err
	}
	issuer = root.Issuer()
	for i := 1; i < chain; i++ {
		below, err := pki.Issue(pki.Request{Kind: pki.Intermediate, CommonName: fmt.Sprintf("%s-%d", name, i), Issuer: issuer})
		if err != nil {
			return nil, nil, err
		}
		issuer = below.Issuer()
	}
	return root, issuer, nil
}

// upload uploads a CA certificate and proves possession of its key, as an operator
// does.
func (e *estate) upload(ctx context.Context, name string, root *pki.Issued) error {
	content := wire.CACertificateContent{Certificate: base64.StdEncoding.EncodeToString(root.Certificate.Raw)}
	e.later(1, func(ctx context.Context) error {
		_, err := e.service.certificate(ctx, http.MethodDelete, name, "", nil)
		return err
	})
	if _, err := e.service.certificate(ctx, http.MethodPut, name, "", wire.CACertificateUpload{Properties: &content}); err != nil {
		return err
	}
	c, err := e.service.certificate(ctx, http.MethodPost, name, "/generateVerificationCode", nil)
	if err != nil {
		return err
	}
	proof, err := pki.Issue(pki.Request{Kind: pki.Verification, CommonName: c.Properties.VerificationCode, Issuer: root.Issuer()})
	if err != nil {
		return err
	}
	body := wire.VerificationRequest{Certificate: base64.StdEncoding.EncodeToString(proof.Certificate.Raw)}
	_, err = e.service.certificate(ctx, http.MethodPost, name, "/verify", body)
	return err
}

// keyGroup creates an enrollment group with symmetric keys.
func (e *estate) keyGroup(ctx context.Context, f Fleet) ([]device, error) {
	name := "bench-" + f.Name
	key := keyFor(f.Name, "group")
	if err := e.put(ctx, groups, name, wire.Enrollment{EnrollmentGroupID: name, Attestation: keyAttestation(key)}); err != nil {
		return nil, err
	}
	return each(ctx, f.Devices, func(i int) (device, error) {
		id := deviceName(f.Name, i)
		return keyed(e.service.info.IDScope, id, derive(key, id)), nil
	})
}

// derive returns the key of a device of a group.
// Source: azure-docs, articles/iot-dps/concepts-symmetric-key-attestation.md.
func derive(key []byte, id string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id))
	return mac.Sum(nil)
}

// keyFor returns a key that follows from the name of the run: 32 bytes.
func keyFor(run, of string) []byte {
	sum := sha256.Sum256([]byte("mooring bench\x00" + run + "\x00" + of))
	return sum[:]
}

func keyAttestation(key []byte) *wire.Attestation {
	text := base64.StdEncoding.EncodeToString(key)
	return &wire.Attestation{Type: "symmetricKey", SymmetricKey: &wire.SymmetricKey{PrimaryKey: text, SecondaryKey: text}}
}

// certificateAttestation is that of the individual enrollment of a certificate.
func certificateAttestation(der []byte) *wire.Attestation {
	return &wire.Attestation{Type: "x509", X509: &wire.X509{ClientCertificates: &wire.Certificates{
		Primary: &wire.Certificate{Certificate: base64.StdEncoding.EncodeToString(der)},
	}}}
}

// individuals creates an enrollment for each device.
func (e *estate) individuals(ctx context.Context, f Fleet) ([]device, error) {
	devices, err := each(ctx, f.Devices, func(i int) (device, error) {
		id := deviceName(f.Name, i)
		if f.Attestation == Key {
			return keyed(e.service.info.IDScope, id, keyFor(f.Name, id)), nil
		}
		return certified(id, nil)
	})
	if err != nil {
		return nil, err
	}
	e.say("Creating %d individual enrollments", f.Devices)
	e.later(f.Devices, func(ctx context.Context) error {
		return parallel(ctx, e.workers, f.Devices, func(ctx context.Context, i int) error {
			return unlessMissing(e.service.enrollments(ctx, http.MethodDelete, individuals, devices[i].id, nil))
		})
	})
	return devices, parallel(ctx, e.workers, f.Devices, func(ctx context.Context, i int) error {
		d := devices[i]
		a := keyAttestation(d.key)
		if d.key == nil {
			a = certificateAttestation(d.certificate.Certificate[0])
		}
		return e.service.enrollments(ctx, http.MethodPut, individuals, d.id, wire.Enrollment{RegistrationID: d.id, Attestation: a})
	})
}

// each makes n devices.
func each(ctx context.Context, n int, one func(i int) (device, error)) ([]device, error) {
	devices := make([]device, n)
	err := parallel(ctx, makers, n, func(_ context.Context, i int) error {
		var err error
		devices[i], err = one(i)
		return err
	})
	return devices, err
}

// makers is how many devices are made at the same time: it is work for processors.
const makers = 4

// parallel calls do for 0 to n-1, in order of their beginning, workers at a time. It
// stops at the first error or when ctx ends, and returns that.
func parallel(ctx context.Context, workers, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var running sync.WaitGroup
	for range min(workers, n) {
		running.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}
