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
	maxSumsFile = 4 << 32
)

// sums are the checksums of the pages of a database file. Those in the file are the same at any time,
// synced or not: other processes read pages before they are synced, and go on when this one ends.
type sums struct {
	pageSize int64
	pending  bool // a check of the whole is pending
	pages    []uint32
	header   bool // the file has no header yet
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

// flush makes the checksums durable.
func (g *Guard) flush() error {
	if known, err := g.writeHeader(); err != nil || !known {
		return err // where no page size is known, nothing was ever written
	}
	return g.file.Sync()
}

func (g *Guard) writeHeader() (known bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sums.pageSize == 0 {
		g.sums.pageSize = g.pageSize
	}
	if g.sums.pageSize == 0 {
		return false, nil
	}
	return true, g.sums.writeHeader(g.file)
}

// writeHeader writes the header. The first one makes the file as long as header and mark, and is
// durable before anything follows it.
func (s *sums) writeHeader(f *os.File) error {
	b := make([]byte, sumsOffset)
	if !s.header {
		b = b[:headerSize]
	}
	copy(b, magic)
	binary.BigEndian.PutUint32(b[16:], uint32(s.pageSize))
	if s.pending {
		binary.BigEndian.PutUint32(b[20:], 1)
	}
	binary.BigEndian.PutUint32(b[24:], sumOf(b[:24]))
	if _, err := f.WriteAt(b, 0); err != nil || !s.header {
		return err
	}
	if err := errors.Join(f.Truncate(sumsOffset), f.Sync()); err != nil {
		return err
	}
	s.header = false
	return nil
}

// writePages writes the checksums of pages, which the file needs a header for.
func (s *sums) writePages(f *os.File, from, to int64) error {
	if s.header {
		if err := s.writeHeader(f); err != nil {
			return err
		}
	}
	b := make([]byte, 0, 4*(to-from+1))
	for _, sum := range s.pages[from-1 : to] {
		b = binary.BigEndian.AppendUint32(b, sum)
	}
	_, err := f.WriteAt(b, sumsOffset+4*(from-1))
	return err
}

// SetPending notes in the content of a file of checksums that a check is pending, as a start after a
// crash does.
func SetPending(file []byte) {
	binary.BigEndian.PutUint32(file[20:], 1)
	binary.BigEndian.PutUint32(file[24:], sumOf(file[:24]))
}
