package pagesum_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mooring-iot/mooring/internal/store/sqlite/pagesum"
)

const testPage = 512

// logFrame is one frame of a log to be built.
type logFrame struct {
	commit bool
	fill   byte
}

// buildLog returns a log of a database with pages of 512 bytes, as SQLite writes it.
// Source: sqlite.org, fileformat2.html, section 4.1.
func buildLog(frames ...logFrame) []byte {
	b := binary.BigEndian.AppendUint32(nil, 0x377f0682)
	b = binary.BigEndian.AppendUint32(b, 3007000)
	b = binary.BigEndian.AppendUint32(b, testPage)
	b = append(b, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	sum := checksum([2]uint32{}, b)
	b = appendSum(b, sum)
	for i, f := range frames {
		head := binary.BigEndian.AppendUint32(nil, uint32(i+1))
		head = binary.BigEndian.AppendUint32(head, map[bool]uint32{true: 9}[f.commit])
		page := make([]byte, testPage)
		for i := range page {
			page[i] = f.fill
		}
		sum = checksum(checksum(sum, head), page)
		b = append(append(b, head...), 1, 2, 3, 4, 5, 6, 7, 8)
		b = append(appendSum(b, sum), page...)
	}
	return b
}

func checksum(sum [2]uint32, b []byte) [2]uint32 {
	for ; len(b) >= 8; b = b[8:] {
		sum[0] += binary.LittleEndian.Uint32(b) + sum[1]
		sum[1] += binary.LittleEndian.Uint32(b[4:]) + sum[0]
	}
	return sum
}

func appendSum(b []byte, sum [2]uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, sum[0]), sum[1])
}

// frameAt is where frame i of a log begins.
func frameAt(i int) int { return 32 + i*(24+testPage) }

// Behind the last whole commit of a log there may be frames of a commit that failed, on a full disk for
// example, and part of one that was under way when the power failed. Only frames that follow a complete
// commit say that something acknowledged is lost.
func TestLogBehindLastCommit(t *testing.T) {
	const page, commit = false, true
	// over writes the first n bytes of what other has from a frame on over a log.
	over := func(log, other []byte, frame, n int) []byte {
		copy(log[frameAt(frame):], other[frameAt(frame):][:n])
		return log
	}
	whole := func() []byte {
		return buildLog(logFrame{commit, 1}, logFrame{page, 2}, logFrame{commit, 3}, logFrame{commit, 4}, logFrame{commit, 5})
	}
	flipped := func(at int) []byte { b := whole(); b[at] ^= 1; return b }
	failed := func() []byte { // a commit of four frames failed, and one of one frame succeeded
		log := buildLog(logFrame{commit, 1}, logFrame{page, 2}, logFrame{page, 3}, logFrame{page, 4}, logFrame{commit, 5})
		return over(log, buildLog(logFrame{commit, 1}, logFrame{commit, 6}), 1, 24+testPage)
	}
	torn := buildLog(logFrame{commit, 1}, logFrame{commit, 6}, logFrame{commit, 7})
	short := func() []byte { // two commits failed, the second one shorter, both in their last sync
		log := buildLog(logFrame{commit, 1}, logFrame{page, 2}, logFrame{page, 3}, logFrame{page, 4}, logFrame{commit, 5})
		log = over(log, buildLog(logFrame{commit, 1}, logFrame{page, 8}, logFrame{commit, 9}), 1, 2*(24+testPage))
		return over(log, buildLog(logFrame{commit, 1}, logFrame{commit, 6}), 1, 24+testPage)
	}
	for _, tt := range []struct {
		name string
		log  []byte
		lost bool
	}{
		{"whole", whole(), false},
		{"cut in the last frame", whole()[:frameAt(5)-7], false},
		{"last page damaged", flipped(frameAt(4) + 100), false}, // as a commit under way leaves it
		{"page of a commit damaged", flipped(frameAt(1) + 100), true},
		{"last page of a commit damaged", flipped(frameAt(2) + 100), true},
		{"checksum in a frame damaged", flipped(frameAt(1) + 17), true},
		{"rest of a failed commit", failed(), false},
		{"rest of a failed commit behind a torn frame", over(failed(), torn, 2, 24), false},
		{"rest of two failed commits", short(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.db")
			if err := os.WriteFile(path+"-wal", tt.log, 0o600); err != nil {
				t.Fatal(err)
			}
			g, err := pagesum.Open(pagesum.Options{Path: path})
			if lost := errors.Is(err, pagesum.ErrDamaged); lost != tt.lost {
				t.Errorf("Open: %v, want damage %t", err, tt.lost)
			}
			if err == nil {
				if err := g.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
