package fault_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// Sizes and places in the write-ahead log.
// Source: sqlite.org, fileformat2.html, section 4.1 "WAL File Format".
const (
	walHeader   = 32 // bytes; page size at 8, salts at 16
	frameHeader = 24 // bytes; page number, size of the database in a commit frame, salts at 8, checksums at 16
)

// TestTornLog leaves at the end of the log what a crash in the middle of a commit
// leaves: the beginning of a frame, a frame whose checksum does not hold, garbage. It
// was never acknowledged and is dropped; everything before it stays.
func TestTornLog(t *testing.T) {
	s := startService(t, t.TempDir())
	ca := prepare(t, s)
	l := newLedger()
	tails := []struct {
		name string
		tail func(header []byte, pageSize int) []byte
	}{
		{"half a frame", func(header []byte, pageSize int) []byte { return tornFrame(header, pageSize)[:frameHeader+pageSize/2] }},
		{"a frame header alone", func(header []byte, pageSize int) []byte { return tornFrame(header, pageSize)[:frameHeader] }},
		{"a commit frame with a wrong checksum", tornFrame},
		{"garbage", func(_ []byte, pageSize int) []byte { return bytes.Repeat([]byte{0xa5}, 3*pageSize+17) }},
	}
	for i, tt := range tails {
		l.registerAll(t, s, ca, "device-"+string(rune('a'+i)), 20)
		s.kill()
		tearLog(t, filepath.Join(s.data, "mooring.db-wal"), tt.tail)
		left := checkImage(t, s.data, l.all())
		same(t, "registrations after "+tt.name, left.registrations, len(l.all()))
		s.start(t)
		l.verify(t, s)
	}
	s.stop(t)
}

// tearLog puts a tail in the place of whatever follows the last commit.
func tearLog(t *testing.T, path string, tail func(header []byte, pageSize int) []byte) {
	t.Helper()
	wal, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(wal) < walHeader {
		t.Fatalf("the log has %d bytes and no header", len(wal))
	}
	header, pageSize := wal[:walHeader], int(binary.BigEndian.Uint32(wal[8:]))
	end := walHeader // of the last commit
	for at := end; at+frameHeader+pageSize <= len(wal); at += frameHeader + pageSize {
		frame := wal[at:]
		if !bytes.Equal(frame[8:16], header[16:24]) {
			break // left from before the log was restarted
		}
		if binary.BigEndian.Uint32(frame[4:]) != 0 {
			end = at + frameHeader + pageSize
		}
	}
	if end == walHeader {
		t.Fatal("the log holds no commit")
	}
	if err := os.WriteFile(path, append(wal[:end:end], tail(header, pageSize)...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tornFrame returns a frame that would commit a spoilt first page, did its checksum
// hold.
func tornFrame(header []byte, pageSize int) []byte {
	frame := make([]byte, frameHeader, frameHeader+pageSize)
	binary.BigEndian.PutUint32(frame, 1)
	binary.BigEndian.PutUint32(frame[4:], 1)
	copy(frame[8:16], header[16:24])
	return append(frame, bytes.Repeat([]byte{0xff}, pageSize)...)
}
