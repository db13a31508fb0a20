package backup

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
)

const (
	magic2       = "age-encryption.org/v1\n"
	manifestName = "manifest.json" // of the first entry of the archive
)

// DefaultWorkFactor is the binary logarithm of scrypt's N: with age's r=8, a guess at a
// passphrase costs 128 MiB and some tenths of a second. It is the first recommendation of the
// OWASP Password Storage Cheat Sheet, and half of what age itself takes: a backup is made
// on servers with little memory too.
const DefaultWorkFactor = 17

// maxWorkFactor bounds what a file may make its reader spend: 1 GiB.
const maxWorkFactor = 20

// identity opens the header of an age file with a passphrase, and says why it does not.
type identity struct{ passphrase []byte }

// Unwrap implements age.Identity.
func (i identity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != "scrypt" {
		return nil, fmt.Errorf("%w: it is not encrypted with a passphrase", ErrNotBackup)
	}
	if args := stanzas[0].Args; len(args) > 1 {
		if factor, err := strconv.ParseInt(args[1], 10, 64); err != nil || factor > maxWorkFactor {
			return nil, fmt.Errorf("%w: its scrypt work factor is %.20q; the maximum is %d", ErrNotBackup, args[1], maxWorkFactor)
		}
	}
	if len(i.passphrase) == 0 {
		return nil, ErrPassphrase
	}
	inner, err := age.NewScryptIdentity(string(i.passphrase))
	if err != nil {
		return nil, err
	}
	inner.SetMaxWorkFactor(maxWorkFactor)
	key, err := inner.Unwrap(stanzas)
	switch {
	case errors.Is(err, age.ErrIncorrectIdentity):
		return nil, ErrPassphrase
	case err != nil:
		return nil, ErrDamaged
	}
	return key, nil
}

// unlock2 reads the header of an age file, and returns how to open its content.
func unlock2(r io.Reader, passphrase []byte) (unlocked, error) {
	source := &source{r: r}
	header, err := age.ExtractHeader(source)
	if err != nil {
		return nil, source.explain(err)
	}
	key, err := age.DecryptHeader(header, identity{passphrase})
	if err != nil {
		return nil, source.explain(err)
	}
	return func(r io.Reader) (archive, error) {
		source.r = r
		content, err := age.Decrypt(source, age.NewInjectedFileKeyIdentity(key))
		if err != nil {
			return nil, source.explain(err)
		}
		return archive2{tar: tar.NewReader(plain{content, source}), rest: plain{content, source}}, nil
	}, nil
}

// source is a file that remembers that it could not be read.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// explain returns why age does not read what this source gave it.
func (s *source) explain(err error) error {
	switch {
	case s.err != nil:
		return s.err
	case errors.Is(err, ErrNotBackup) || errors.Is(err, ErrPassphrase):
		return err
	}
	return ErrDamaged
}

// plain is the content of an age file. It fails with ErrDamaged where the file was cut or
// altered.
type plain struct {
	r      io.Reader
	source *source
}

func (p plain) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = p.source.explain(err)
	}
	return n, err
}

// archive2 is the content of a file of format 2.
type archive2 struct {
	tar  *tar.Reader
	rest io.Reader // what tar reads
}

func (a archive2) manifest() (Manifest, error) {
	h, err := a.entry(manifestName)
	if err != nil {
		return Manifest{}, err
	}
	return readManifest(a.tar, h.Size)
}

func (a archive2) next(f File) (io.Reader, error) {
	h, err := a.entry(f.Name)
	if err != nil {
		return nil, err
	}
	if h.Size != f.Size {
		return nil, fmt.Errorf("%w: %s has %d bytes in its archive and %d in its manifest", ErrNotBackup, f.Name, h.Size, f.Size)
	}
	return a.tar, nil
}

// entry goes to the next entry, which has to be a plain file of that name.
func (a archive2) entry(name string) (*tar.Header, error) {
	h, err := a.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: its archive lacks %s", ErrNotBackup, name)
	case errors.Is(err, ErrDamaged):
		return nil, ErrDamaged
	case errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: its content is no tar archive: %w", ErrNotBackup, err)
	case err != nil:
		return nil, err
	case h.Name != name:
		return nil, fmt.Errorf("%w: its archive has %.100q where its manifest has %q", ErrNotBackup, h.Name, name)
	case h.Typeflag != tar.TypeReg || sparse(h):
		return nil, fmt.Errorf("%w: %s is no plain file in its archive", ErrNotBackup, name)
	}
	return h, nil
}

// sparse reports whether an entry has less bytes than its file.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// end reads the blocks of zeros that a tar archive ends with, however many there are.
func (a archive2) end() error {
	switch _, err := a.tar.Next(); {
	case err == nil || errors.Is(err, tar.ErrHeader):
		return errTrailing
	case !errors.Is(err, io.EOF):
		return short(err)
	}
	block := make([]byte, 32<<10)
	for {
		n, err := a.rest.Read(block)
		if len(bytes.Trim(block[:n], "\x00")) > 0 {
			return errTrailing
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// writer2 writes a file of format 2: the manifest, then each file, then close.
type writer2 struct {
	tar      *tar.Writer
	age      io.WriteCloser
	manifest Manifest
}

func newWriter2(w io.Writer, o CreateOptions) (*writer2, error) {
	const least, most = 1, maxWorkFactor
	if o.WorkFactor < least || o.WorkFactor > most {
		return nil, fmt.Errorf("a scrypt work factor of %d; it is %d to %d", o.WorkFactor, least, most)
	}
	recipient, err := age.NewScryptRecipient(string(o.Passphrase))
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(o.WorkFactor)
	encrypted, err := age.Encrypt(w, recipient)
	if err != nil {
		return nil, err
	}
	out := &writer2{tar: tar.NewWriter(encrypted), age: encrypted, manifest: o.Manifest}
	return out, out.writeManifest()
}

func (w *writer2) writeManifest() error {
	if err := w.manifest.check(); err != nil {
		return err
	}
	text, err := json.Marshal(w.manifest)
	if err != nil {
		return err
	}
	if len(text) > maxManifest {
		return fmt.Errorf("a manifest of %d bytes", len(text))
	}
	if err := w.next(File{Name: manifestName, Size: int64(len(text)), Mode: 0o600}); err != nil {
		return err
	}
	_, err = w.tar.Write(text)
	return err
}

// next begins a file, whose content is written to w.tar.
func (w *writer2) next(f File) error {
	return w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: f.Name, Size: f.Size, Mode: int64(f.Mode & fs.ModePerm), ModTime: w.manifest.Made.Truncate(time.Second),
	})
}

func (w *writer2) close() error { return errors.Join(w.tar.Close(), w.age.Close()) }
