package fault_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	importSize  = 20000 // lines
	importKills = 3     // of the service, and as many of the command
)

// TestKillDuringImport ends the service and the command with kill -9 at random moments
// of an import and runs the same command again, until it ends: the records are those of
// the file, to the last byte of the export, and the refused lines are there once.
func TestKillDuringImport(t *testing.T) {
	random := newRandom(t)
	dir := t.TempDir()
	file, want := importFile(t, dir)
	s := startService(t, filepath.Join(dir, "data"))
	ended := 0
	for i := range 2 * importKills {
		at := random.Int64N(int64(len(want)) * 3 / 4)
		run := s.importing(t, file)
		if !awaitOffset(t, run, file, at) {
			_ = os.Remove(file + ".refused.jsonl") // it was faster than the kills: the last run begins anew
			break
		}
		upTo(random, 20*time.Millisecond)
		ended++
		if i%2 == 0 {
			_ = run.cmd.Process.Kill()
			<-run.exited
			continue
		}
		s.kill()
		<-run.exited
		s.start(t)
	}
	t.Logf("ended %d times", ended)
	run := s.importing(t, file)
	<-run.exited
	if code := run.cmd.ProcessState.ExitCode(); code != 1 || !bytes.Contains([]byte(run.stderr.String()), []byte("2 lines were refused")) {
		t.Errorf("the last run: exit code %d, %s%s", code, run.stdout.String(), run.stderr.String())
	}
	if _, err := os.Stat(file + ".progress"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the progress file is still there: %v", err)
	}
	s.checkExport(t, want)
	refused, err := os.ReadFile(file + ".refused.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "refused lines", bytes.Count(refused, []byte("\n")), 4)

	// Corrected, they are imported like any file.
	corrected := filepath.Join(dir, "corrected.jsonl")
	if err := os.WriteFile(corrected, bytes.ReplaceAll(refused, []byte("best"), []byte("hashed")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := command(t.Context(), "enrollment", "import", "--data", s.data, corrected).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("2 created, 0 replaced, 0 unchanged, 0 refused")) {
		t.Errorf("corrected: %v\n%s", err, out)
	}
	s.stop(t)
}

// importFile writes a file with two lines that are refused, and returns what an export
// has to say after its import.
func importFile(t *testing.T, dir string) (name string, want []byte) {
	t.Helper()
	var all, good bytes.Buffer
	key := make([]byte, 64)
	random := rand.NewChaCha8([32]byte{1})
	for i := range importSize {
		policy := "hashed"
		if i == importSize/5 || i == importSize/2 {
			policy = "best"
		}
		_, _ = random.Read(key) // never fails
		text := base64.StdEncoding.EncodeToString(key)
		line := fmt.Sprintf(
			`{"registrationId":"imported-%06d","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":%q,"secondaryKey":%q}},`+
				`"initialTwin":{"tags":{"row":%d}},"provisioningStatus":"enabled","allocationPolicy":%q}`+"\n",
			i,
			text,
			text,
			i,
			policy,
		)
		all.WriteString(line)
		if policy == "hashed" {
			good.WriteString(line)
		}
	}
	name = filepath.Join(dir, "devices.jsonl")
	if err := os.WriteFile(name, all.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name, good.Bytes()
}

// importing starts an import of file.
func (s *service) importing(t *testing.T, file string) *process {
	t.Helper()
	p := &process{exited: make(chan struct{})}
	p.cmd = command(context.WithoutCancel(t.Context()), "enrollment", "import", "--data", s.data, file)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.kill)
	return p
}

// awaitOffset returns when an import has done all before a place of its file. It
// reports false when it ended before.
func awaitOffset(t *testing.T, run *process, file string, offset int64) bool {
	t.Helper()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		var progress struct{ Offset int64 }
		text, err := os.ReadFile(file + ".progress")
		if err == nil && json.Unmarshal(text, &progress) == nil && progress.Offset >= offset {
			return true
		}
		select {
		case <-run.exited:
			if exit, ok := errors.AsType[*exec.ExitError](run.err); !ok || exit.ExitCode() != 1 {
				t.Fatalf("the import ended: %v\n%s", run.err, run.stderr.String())
			}
			return false
		case <-tick.C:
		}
	}
}

// checkExport compares the export with what it has to say.
func (s *service) checkExport(t *testing.T, want []byte) {
	t.Helper()
	got, err := command(t.Context(), "enrollment", "export", "--data", s.data, "--with-keys").Output()
	if err != nil {
		t.Fatalf("export: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the export has %d bytes and %d lines, want %d bytes and %d lines, or they differ",
			len(got), bytes.Count(got, []byte("\n")), len(want), bytes.Count(want, []byte("\n")))
	}
}
