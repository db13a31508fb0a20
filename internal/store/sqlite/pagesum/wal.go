package pagesum

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Sizes in a write-ahead log. Source: sqlite.org, fileformat2.html, section 4.1.
const (
	logHeader   = 32
	frameHeader = 24
	logMagic    = 0x377f0682 // the last bit says that checksums are big-endian
)

// laterLogs is how many logs later than the mark a log may be after a power cut. The mark is made durable
// with each checkpoint, and there is one before each new log: one or two are possible.
const laterLogs = 16

// walState is what is known of the log in memory.
type walState struct {
	sums      []uint32 // of the page in each frame; 0 if unknown
	size      int64    // of a page
	salts     [8]byte
	begun     mark // the commit whose last frame has a header and no page yet
	committed mark // the last commit that was written
	marked    mark // the last commit that the file of checksums knows
}

// frame returns which frame has its page at an offset, counted from 0.
func (w *walState) frame(offset int64) (int64, bool) {
	if w.size == 0 {
		return 0, false
	}
	at := offset - logHeader - frameHeader
	return at / (w.size + frameHeader), at >= 0 && at%(w.size+frameHeader) == 0
}

// mark says up to which frame a log was committed. The zero mark says nothing.
type mark struct {
	salts  [8]byte // of the log's header; the first four are a number that grows by one with each new log
	frames uint32
	sum    [8]byte // SQLite's checksum in the last frame
}

func (m mark) encode() []byte {
	b := append([]byte{}, m.salts[:]...)
	b = binary.BigEndian.AppendUint32(b, m.frames)
	b = append(b, m.sum[:]...)
	return binary.BigEndian.AppendUint32(b, sumOf(b))
}

// parseMark returns the zero mark where there is none, or a damaged one.
func parseMark(b []byte) mark {
	if binary.BigEndian.Uint32(b[20:]) != sumOf(b[:20]) {
		return mark{}
	}
	var m mark
	copy(m.salts[:], b)
	m.frames = binary.BigEndian.Uint32(b[8:])
	copy(m.sum[:], b[12:])
	return m
}

func (m mark) generation() uint32 { return binary.BigEndian.Uint32(m.salts[:]) }

// scanned is what a look at the log found.
type scanned struct {
	exists   bool
	header   bool // the header is whole
	pageSize int64
	salts    [8]byte
	sums     []uint32 // of the pages in the frames up to the last whole commit
	last     mark     // that commit
	lost     bool     // frames behind the last whole commit were committed
	sumAt    func(frame uint32) [8]byte
}

// scanLog reads a log as SQLite does when it recovers.
func scanLog(path string) (scanned, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return scanned{}, nil
	}
	if err != nil {
		return scanned{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return scanned{}, err
	}
	r := bufio.NewReaderSize(f, 1<<20)
	s := &logScan{scanned: scanned{exists: true}, r: r, limit: info.Size()}
	if !s.readHeader() {
		return s.scanned, nil
	}
	return s.scanned, s.readFrames()
}

// logScan reads frames one after the other.
type logScan struct {
	scanned
	r     io.Reader
	limit int64
	order binary.ByteOrder
	sum   [2]uint32

	chain   [][8]byte // SQLite's checksum in each whole frame
	pending []uint32  // sums of frames behind the last whole commit
	broken  bool      // a frame did not match
	before  []byte    // the checksum in the frame before, where that says it ends a commit; else nil
}

func (s *logScan) readHeader() bool {
	var b [logHeader]byte
	if _, err := io.ReadFull(s.r, b[:]); err != nil {
		return false
	}
	kind := binary.BigEndian.Uint32(b[:])
	if kind&^1 != logMagic {
		return false
	}
	s.order = binary.ByteOrder(binary.LittleEndian)
	if kind&1 != 0 {
		s.order = binary.BigEndian
	}
	s.pageSize = int64(binary.BigEndian.Uint32(b[8:]))
	copy(s.salts[:], b[16:])
	s.add(b[:24])
	s.header = validPageSize(s.pageSize) && s.matches(b[24:])
	return s.header
}

// add continues SQLite's checksum, which each frame takes over from the one before.
func (s *logScan) add(b []byte) { s.sum = logSum(s.order, s.sum, b) }

func logSum(order binary.ByteOrder, sum [2]uint32, b []byte) [2]uint32 {
	s0, s1 := sum[0], sum[1]
	if order == binary.ByteOrder(binary.LittleEndian) {
		for ; len(b) >= 8; b = b[8:] {
			s0 += binary.LittleEndian.Uint32(b) + s1
			s1 += binary.LittleEndian.Uint32(b[4:]) + s0
		}
		return [2]uint32{s0, s1}
	}
	for ; len(b) >= 8; b = b[8:] {
		s0 += binary.BigEndian.Uint32(b) + s1
		s1 += binary.BigEndian.Uint32(b[4:]) + s0
	}
	return [2]uint32{s0, s1}
}

func (s *logScan) matches(b []byte) bool {
	return binary.BigEndian.Uint32(b) == s.sum[0] && binary.BigEndian.Uint32(b[4:]) == s.sum[1]
}

// readFrames reads whole frames, and then looks whether what follows was committed: SQLite writes the
// frames of a commit only after the commit before it was synced. A frame that continues the checksum of
// the last one of a commit therefore says that this commit had been complete. Other frames behind a broken
// one say nothing: they may be left from a commit that failed on a full disk.
func (s *logScan) readFrames() error {
	b := make([]byte, frameHeader+s.pageSize)
	for {
		if _, err := io.ReadFull(s.r, b); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				break
			}
			return err
		}
		ours := string(b[8:16]) == string(s.salts[:])
		if s.broken {
			s.behind(b, ours)
			continue
		}
		s.frame(b, ours)
	}
	chain := s.chain
	s.sumAt = func(frame uint32) [8]byte { return chain[frame-1] }
	return nil
}

// frame takes the next frame, or notes that the log is broken there.
func (s *logScan) frame(b []byte, ours bool) {
	before := s.sum
	s.add(b[:8])
	s.add(b[frameHeader:])
	if !ours || binary.BigEndian.Uint32(b) == 0 || !s.matches(b[16:24]) {
		s.sum, s.broken = before, true
		s.behind(b, ours)
		return
	}
	var sum [8]byte
	copy(sum[:], b[16:24])
	s.chain, s.pending = append(s.chain, sum), append(s.pending, sumOf(b[frameHeader:]))
	if binary.BigEndian.Uint32(b[4:]) == 0 {
		return
	}
	s.sums, s.pending = append(s.sums, s.pending...), nil
	s.last = mark{salts: s.salts, frames: uint32(len(s.sums)), sum: sum}
}

// behind looks at a broken frame, or one behind it.
func (s *logScan) behind(b []byte, ours bool) {
	if s.before != nil && ours && s.continues(b) {
		s.lost = true
	}
	s.before = nil
	if ours && binary.BigEndian.Uint32(b[4:]) != 0 {
		s.before = append([]byte{}, b[16:24]...)
	}
}

// continues reports whether the checksum in a frame follows from that in the frame before.
func (s *logScan) continues(b []byte) bool {
	sum := [2]uint32{binary.BigEndian.Uint32(s.before), binary.BigEndian.Uint32(s.before[4:])}
	sum = logSum(s.order, logSum(s.order, sum, b[:8]), b[frameHeader:])
	return sum == [2]uint32{binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])}
}

// check compares the log with the mark: everything up to the mark was committed.
func (s scanned) check(path string, m mark) error {
	log, again := path+logSuffix, startAnew(path+Suffix)
	switch {
	case s.lost:
		return fmt.Errorf("%w: frame %d of %s does not match its checksum, and later changes were committed; %s",
			ErrDamaged, len(s.sums)+1, log, again)
	case m.frames == 0:
		return nil
	case !s.exists:
		return fmt.Errorf("%w: %s is missing or empty, and the latest changes were in it; %s", ErrDamaged, log, again)
	case !s.header:
		return fmt.Errorf("%w: the header of %s does not match its checksum, and the latest changes are in it; %s", ErrDamaged, log, again)
	case s.salts == m.salts:
		if s.last.frames < m.frames {
			return fmt.Errorf("%w: %d of %d committed frames of %s are readable; %s", ErrDamaged, s.last.frames, m.frames, log, again)
		}
		if s.sumAt(m.frames) != m.sum {
			return fmt.Errorf("%w: %s does not contain the committed changes; %s", ErrDamaged, log, again)
		}
		return nil
	case mark{salts: s.salts}.generation()-m.generation() <= laterLogs:
		return nil // a later log: all of the one of the mark is in the database
	}
	return fmt.Errorf("%w: %s is an older log, or belongs to another database; %s", ErrDamaged, log, again)
}
