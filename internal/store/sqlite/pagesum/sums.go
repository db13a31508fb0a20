package pagesum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// The file of checksums:
//
//	offset 0     magic, 16 bytes; page size, 4; 1 if a check is pending, 4; CRC-32C of these 24 bytes, 4
//	offset 512   the mark: salts of the log, 8 bytes; frames, 4; checksum of the last frame, 8; CRC-32C, 4
//	offset 4096  for each page of the database from page 1 on: CRC-32C, 4 bytes; 0 if there is none
//
// Numbers are big-endian. The mark has a sector of its own, as it is written with every commit and
// not synced: after a power cut it may be an earlier one, but never a later one than the log.
const (
	magic       = "mooring sums v1\n"
	headerSize  = 28
	markOffset  = 512
	markSize    = 24
	sumsOffset  = 4096
	blockSums   = 1024 // checksums in a block, which is written as a whole
	maxSumsFile = 4 << 32
)

// sums are the checksums of the pages of a database file.
type sums struct {
	pageSize int64
	pending  bool // a check of the whole is pending
	pages    []uint32
	dirty    map[int]bool // blocks to be written
	header   bool         // the header is to be written
	cut      bool         // the file is to be shortened
}

func (s *sums) of(page int64) uint32 {
	if page > int64(len(s.pages)) {
		return 0
	}
	return s.pages[page-1]
}

func (s *sums) set(page int64, sum uint32) {
	for int64(len(s.pages)) < page {
		s.pages = append(s.pages, 0)
	}
	s.pages[page-1] = sum
	if s.dirty == nil {
		s.dirty = make(map[int]bool)
	}
	s.dirty[int(page-1)/blockSums] = true
}

// truncate forgets the pages from the count on.
func (s *sums) truncate(count int64) {
	if count < int64(len(s.pages)) {
		s.pages, s.cut = s.pages[:count], true
	}
}

// readHeader returns the page size that a file of checksums is for.
func readHeader(f io.ReaderAt) (int64, bool) {
	var b [headerSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil || !bytes.HasPrefix(b[:], []byte(magic)) {
		return 0, false
	}
	if binary.BigEndian.Uint32(b[24:]) != sumOf(b[:24]) {
		return 0, false
	}
	size := int64(binary.BigEndian.Uint32(b[16:]))
	return size, validPageSize(size)
}

// readSums reads the file, or starts one that is empty. A file with a damaged header, or for
// another page size, is no use: it is damage, as no program writes it.
func readSums(f *os.File, pageSize int64) (sums, mark, error) {
	info, err := f.Stat()
	if err != nil {
		return sums{}, mark{}, err
	}
	if info.Size() < sumsOffset { // new, or cut off before the first checksum was written
		return sums{pageSize: pageSize, header: true, pending: pageSize != 0}, mark{}, nil
	}
	size, ok := readHeader(f)
	if !ok || info.Size() > maxSumsFile {
		return sums{}, mark{}, fmt.Errorf("%w: the header of %s is not readable; %s", ErrDamaged, f.Name(), startAnew(f.Name()))
	}
	text := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, info.Size()), text); err != nil {
		return sums{}, mark{}, err
	}
	s := sums{pageSize: size, pending: binary.BigEndian.Uint32(text[20:]) != 0}
	body := text[sumsOffset:]
	s.pages = make([]uint32, len(body)/4)
	for i := range s.pages {
		s.pages[i] = binary.BigEndian.Uint32(body[4*i:])
	}
	return s, parseMark(text[markOffset : markOffset+markSize]), nil
}

// startAnew is what to do when another program changed the database on purpose.
func startAnew(file string) string {
	return fmt.Sprintf("if another program changed the database on purpose, delete %s and start again", file)
}

// flush writes what changed of the checksums, durably.
func (g *Guard) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := &g.sums
	if s.pageSize == 0 {
		if s.pageSize = g.pageSize; s.pageSize == 0 {
			return nil // nothing was ever written
		}
	}
	var errs []error
	if s.cut {
		errs = append(errs, g.file.Truncate(sumsOffset+4*int64(len(s.pages))))
	}
	errs = append(errs, s.writeHeader(g.file))
	for block := range s.dirty {
		errs = append(errs, s.writeBlock(g.file, block))
	}
	if err := errors.Join(append(errs, g.file.Sync())...); err != nil {
		return err
	}
	s.dirty, s.cut = nil, false
	return nil
}

func (s *sums) writeHeader(f io.WriterAt) error {
	b := make([]byte, sumsOffset)
	n := headerSize
	if !s.header { // the first write makes the file as long as its header and mark
		b = b[:n]
	}
	copy(b, magic)
	binary.BigEndian.PutUint32(b[16:], uint32(s.pageSize))
	if s.pending {
		binary.BigEndian.PutUint32(b[20:], 1)
	}
	binary.BigEndian.PutUint32(b[24:], sumOf(b[:24]))
	_, err := f.WriteAt(b, 0)
	if err == nil {
		s.header = false
	}
	return err
}

func (s *sums) writeBlock(f io.WriterAt, block int) error {
	from := block * blockSums
	to := min(from+blockSums, len(s.pages))
	if from >= to {
		return nil
	}
	b := make([]byte, 0, 4*blockSums)
	for _, sum := range s.pages[from:to] {
		b = binary.BigEndian.AppendUint32(b, sum)
	}
	_, err := f.WriteAt(b, sumsOffset+4*int64(from))
	return err
}

// SetPending notes in the content of a file of checksums that a check is pending, as a start after a
// crash does.
func SetPending(file []byte) {
	binary.BigEndian.PutUint32(file[20:], 1)
	binary.BigEndian.PutUint32(file[24:], sumOf(file[:24]))
}
