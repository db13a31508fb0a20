package pagesum

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// whole reports whether what SQLite read matches its checksum. Pieces that are no whole page are
// not checked: SQLite reads the header of the database, looks at the size of the pages, and then
// reads the first page whole.
func (g *Guard) whole(log bool, b []byte, offset int64) bool {
	if log {
		return g.wholeFrame(b, offset)
	}
	g.mu.RLock()
	size := g.pageSize
	g.mu.RUnlock()
	switch {
	case size == 0 || int64(len(b)) < 512:
		return true
	case int64(len(b)) == size && offset%size == 0:
		return g.wholePage(b, offset/size+1)
	}
	return g.wholePages(size, offset/size+1, (offset+int64(len(b))-1)/size+1)
}

func (g *Guard) wholePage(b []byte, page int64) bool {
	sum := g.sum(page)
	if sum == 0 || sum == sumOf(b) {
		return true
	}
	g.found(Damage{File: g.path, Page: page})
	return false
}

// wholePages checks the pages that a read touched which had another size: the header is damaged.
func (g *Guard) wholePages(size, from, to int64) bool {
	f, err := g.database()
	if err != nil {
		return false
	}
	b := make([]byte, size)
	for page := from; page <= to; page++ {
		n, err := f.ReadAt(b, (page-1)*size)
		if err != nil && !errors.Is(err, io.EOF) {
			return false
		}
		if n > 0 && !g.wholePage(b, page) {
			return false
		}
	}
	return true
}

// database returns the database file for reading beside SQLite. Close alone closes it: closing it
// earlier would end SQLite's locks on the file. Source: sqlite.org, howtocorrupt.html, section 2.2.
func (g *Guard) database() (*os.File, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.db != nil {
		return g.db, nil
	}
	f, err := os.Open(g.path)
	if err == nil {
		g.db = f
	}
	return f, err
}

// sum returns the checksum of a page of the database, 0 if there is none. Where another process
// writes the database, it is read from the file.
func (g *Guard) sum(page int64) uint32 {
	if !g.readOnly {
		g.mu.RLock()
		defer g.mu.RUnlock()
		return g.sums.of(page)
	}
	if g.file == nil {
		return 0
	}
	var b [4]byte
	if _, err := g.file.ReadAt(b[:], sumsOffset+4*(page-1)); err != nil {
		return 0
	}
	return binary.BigEndian.Uint32(b[:])
}

// pageWritten takes over the checksum of what was written to the database. A piece that is no
// whole page leaves its page without one.
func (g *Guard) pageWritten(b []byte, offset int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if offset == 0 && len(b) >= 100 {
		if size, ok := pageSizeOf(b); ok && size != g.pageSize {
			g.pageSize = size
			g.sums = sums{pageSize: size, header: true, pending: g.sums.pending}
		}
	}
	size := g.pageSize
	if size == 0 {
		return nil
	}
	from, to := offset/size+1, (offset+int64(len(b))-1)/size+1
	if int64(len(b)) == size && offset%size == 0 {
		g.sums.set(from, sumOf(b))
		return g.sums.writePages(g.file, from, from)
	}
	for page := from; page <= to; page++ {
		g.sums.set(page, 0)
	}
	return g.sums.writePages(g.file, from, to)
}

// truncated forgets the checksums of pages that are gone.
func (g *Guard) truncated(size int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pageSize == 0 {
		return nil
	}
	count := (size + g.pageSize - 1) / g.pageSize
	if count >= int64(len(g.sums.pages)) {
		return nil
	}
	g.sums.pages = g.sums.pages[:count]
	return g.file.Truncate(sumsOffset + 4*count)
}

// wholeFrame checks a page that was read from the log: with the checksum that was kept when it was
// written or, where another process wrote it, with SQLite's own.
func (g *Guard) wholeFrame(b []byte, offset int64) bool {
	g.mu.RLock()
	frame, ok := g.wal.frame(offset)
	ok = ok && int64(len(b)) == g.wal.size
	var sum uint32
	if ok && frame < int64(len(g.wal.sums)) {
		sum = g.wal.sums[frame]
	}
	size := g.pageSize
	g.mu.RUnlock()
	if g.readOnly {
		return g.wholeForeignFrame(b, offset, size)
	}
	if sum == 0 || sum == sumOf(b) {
		return true
	}
	g.found(Damage{File: g.path + logSuffix, Page: frame + 1})
	return false
}

// wholeForeignFrame computes SQLite's checksum of a frame, which begins with that of the frame before.
func (g *Guard) wholeForeignFrame(b []byte, offset, size int64) bool {
	at := walState{size: size}
	frame, ok := at.frame(offset)
	if !ok || int64(len(b)) != size {
		return true
	}
	f, err := os.Open(g.path + logSuffix) // SQLite has no locks on it
	if err != nil {
		return true
	}
	defer f.Close()
	var header, own [logHeader]byte
	before := own[:8]
	if _, err := f.ReadAt(header[:], 0); err != nil {
		return true
	}
	if _, err := f.ReadAt(own[8:], offset-frameHeader); err != nil {
		return true
	}
	copy(before, header[24:])
	if frame > 0 {
		if _, err := f.ReadAt(before, offset-frameHeader-size-8); err != nil {
			return true
		}
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if header[3]&1 != 0 {
		order = binary.BigEndian
	}
	sum := [2]uint32{binary.BigEndian.Uint32(before), binary.BigEndian.Uint32(before[4:])}
	sum = logSum(order, logSum(order, sum, own[8:16]), b)
	if sum == [2]uint32{binary.BigEndian.Uint32(own[24:]), binary.BigEndian.Uint32(own[28:])} {
		return true
	}
	g.found(Damage{File: g.path + logSuffix, Page: frame + 1})
	return false
}

// beforeLogWrite forgets what is about to be overwritten: the whole log when a new one begins, as all of it
// is in the database then; or the last commit, when its sync failed and SQLite uses its frames again.
func (g *Guard) beforeLogWrite(b []byte, offset int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := &g.wal
	if offset == 0 && len(b) == logHeader {
		*w = walState{size: int64(binary.BigEndian.Uint32(b[8:]))}
		copy(w.salts[:], b[16:])
		return g.writeMark(mark{})
	}
	frame, ok := w.frame(offset + frameHeader)
	if !ok || len(b) != frameHeader {
		return nil
	}
	w.begun = mark{}
	if frame < int64(w.committed.frames) {
		w.committed = mark{}
	}
	if frame >= int64(w.marked.frames) {
		return nil
	}
	w.marked = mark{}
	return g.writeMark(mark{})
}

// logWritten takes over the checksum of a page, or what the header of a frame says about a commit, which
// is written when its page is.
func (g *Guard) logWritten(b []byte, offset int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := &g.wal
	if frame, ok := w.frame(offset); ok && int64(len(b)) == w.size {
		for int64(len(w.sums)) <= frame {
			w.sums = append(w.sums, 0)
		}
		w.sums[frame] = sumOf(b)
		if int64(w.begun.frames) == frame+1 {
			w.committed, w.begun = w.begun, mark{}
		}
		return
	}
	frame, ok := w.frame(offset + frameHeader)
	if !ok || len(b) != frameHeader || binary.BigEndian.Uint32(b[4:]) == 0 {
		return
	}
	w.begun = mark{frames: uint32(frame) + 1}
	copy(w.begun.salts[:], b[8:])
	copy(w.begun.sum[:], b[16:])
}

// logSynced notes up to where the log is durable. That is not synced in its turn: it is only to be no
// later than the log, and it survives the end of the process at once.
func (g *Guard) logSynced() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.readOnly || g.wal.committed == g.wal.marked || g.wal.committed.frames == 0 {
		return
	}
	if g.writeMark(g.wal.committed) == nil {
		g.wal.marked = g.wal.committed
	}
}

// logNotSynced forgets a commit whose sync failed: it may be lost, and its caller knows.
func (g *Guard) logNotSynced() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wal.committed = g.wal.marked
}

// logGone notes, durably, that there is no log.
func (g *Guard) logGone() error {
	g.mu.Lock()
	g.wal = walState{}
	err := g.writeMark(mark{})
	g.mu.Unlock()
	return errors.Join(err, g.file.Sync())
}

func (g *Guard) writeMark(m mark) error {
	if g.sums.pageSize == 0 {
		g.sums.pageSize = g.pageSize
	}
	if g.sums.header { // the file begins with a whole header
		if g.sums.pageSize == 0 {
			return nil
		}
		if err := g.sums.writeHeader(g.file); err != nil {
			return err
		}
	}
	_, err := g.file.WriteAt(m.encode(), markOffset)
	return err
}

// scanBatch is how many pages Scan reads while no page can be written.
const scanBatch = 32

// Scan reads the whole database file: it compares each page with its checksum, and gives one to each
// page that has none. Call it when the log has been moved into the database once since Open: before
// that, a page may be older than its checksum. It returns how many pages are damaged.
func (g *Guard) Scan(ctx context.Context) (damaged int, err error) {
	g.mu.RLock()
	size := g.pageSize
	g.mu.RUnlock()
	if g.readOnly || size == 0 {
		return 0, nil
	}
	if _, err := g.database(); err != nil {
		return 0, err
	}
	b := make([]byte, scanBatch*size)
	for page := int64(1); ctx.Err() == nil; page += scanBatch {
		n, bad, err := g.scanBatch(b, page, size)
		damaged += bad
		if err != nil || n < scanBatch {
			return damaged, err
		}
	}
	return damaged, ctx.Err()
}

func (g *Guard) scanBatch(b []byte, page, size int64) (pages, damaged int, err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	n, err := g.db.ReadAt(b, (page-1)*size)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, fmt.Errorf("reading page %d of %s: %w", page, g.path, err)
	}
	pages = n / int(size)
	added := false
	for i := range pages {
		one := b[int64(i)*size : int64(i+1)*size]
		if g.sum(page+int64(i)) == 0 {
			g.mu.Lock()
			g.sums.set(page+int64(i), sumOf(one))
			g.mu.Unlock()
			added = true
			continue
		}
		if !g.wholePage(one, page+int64(i)) {
			damaged++
		}
	}
	if !added {
		return pages, damaged, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return pages, damaged, g.sums.writePages(g.file, page, page+int64(pages)-1)
}

// Missing returns how many pages have a checksum but are not in the file any more. Call it when Scan
// may be called.
func (g *Guard) Missing() (int64, error) {
	g.writing.Lock() // the file and its checksums grow together
	defer g.writing.Unlock()
	info, err := os.Stat(g.path)
	if err != nil {
		return 0, err
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.pageSize == 0 {
		return 0, nil
	}
	return max(0, int64(len(g.sums.pages))-info.Size()/g.pageSize), nil
}
