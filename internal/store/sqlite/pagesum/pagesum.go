// Package pagesum detects damage in an SQLite database: every page of the database file
// and of its write-ahead log is compared with a checksum when SQLite reads it, and the log
// is compared with what was committed when the database is opened.
//
// SQLite has checksums of its own in the log only, checks them only when it recovers after a
// crash, and then drops everything behind the first frame that does not match. A byte that
// changed on the disk is otherwise served as if it had been written.
//
// The checksums of the database file are in a file beside it (see sums). Each is written with its
// page, as other processes may read the page from then on, and synced before the database file is:
// a page that a crash left with another checksum, or written only in part, is still in the log.
// The checksums of the log are in memory. Source: sqlite.org, wal.html and fileformat2.html,
// section 4.
package pagesum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Suffix is what the name of the file of checksums adds to that of the database.
const Suffix = "-sums"

// logSuffix is what the name of the log adds.
const logSuffix = "-wal"

// Names of the virtual file systems, for the parameter vfs of a data source name. A database is
// opened under one of them between Open and Close.
const (
	VFS         = "mooring"
	VFSReadOnly = "mooring-read" // never writes the database or its log, not even to close it
)

// ErrDamaged is wrapped by every error that says that stored data was changed or lost by
// something else than this program.
var ErrDamaged = errors.New("the database is damaged")

// Damage is one place where stored data does not match its checksum.
type Damage struct {
	File string // the database or its log
	Page int64  // of the database, or frame of the log; counted from 1
}

func (d Damage) Error() string {
	unit := "page"
	if strings.HasSuffix(d.File, logSuffix) {
		unit = "frame"
	}
	return fmt.Sprintf("%s %d of %s does not match its checksum", unit, d.Page, d.File)
}

// Unwrap makes every Damage an ErrDamaged.
func (Damage) Unwrap() error { return ErrDamaged }

// maxReports bounds how many damaged places are remembered and reported.
const maxReports = 1000

// castagnoli is the polynomial that processors compute.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf returns the checksum of a page, which is never 0: that is a page without one. CRC-32C
// detects every error of up to 32 bits in a row, and others with a probability of 1 - 2^-32.
func sumOf(page []byte) uint32 {
	if sum := crc32.Checksum(page, castagnoli); sum != 0 {
		return sum
	}
	return ^uint32(0)
}

// Guard checks one database. It is safe for concurrent use.
type Guard struct {
	path     string // of the database, absolute and without symbolic links
	readOnly bool
	report   func(Damage)
	file     *os.File // the checksums
	db       *os.File // for checks beside SQLite; nil until there is a database
	unclean  bool

	writing sync.Mutex // held while a page of the database file and its checksum change

	mu       sync.RWMutex
	pageSize int64 // 0 until it is known
	sums     sums
	wal      walState
	damaged  map[Damage]bool
}

// Options are what a Guard needs.
type Options struct {
	Path string // of the database file
	// Report is called once for each damaged place, from the goroutine that found it; may be nil.
	Report func(Damage)
}

// Open prepares the checks of a database that this process alone writes, and compares the log
// with what was committed. Call it before SQLite opens the database, and Close after SQLite
// closed it. It fails with ErrDamaged when committed changes are missing from the log.
//
// A database without a file of checksums gets one: it is filled by Scan.
func Open(o Options) (*Guard, error) {
	g, err := newGuard(o)
	if err != nil {
		return nil, err
	}
	if g.file, err = os.OpenFile(g.path+Suffix, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err := enter(g); err != nil { // before load, which would end the locks of another one
		return nil, errors.Join(err, g.file.Close())
	}
	if err := g.load(); err != nil {
		leave(g)
		return nil, errors.Join(err, g.file.Close())
	}
	return g, nil
}

// OpenReadOnly prepares the checks of a database that another process may write.
func OpenReadOnly(o Options) (*Guard, error) {
	g, err := newGuard(o)
	if err != nil {
		return nil, err
	}
	g.readOnly = true
	if g.file, err = os.Open(g.path + Suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := g.findPageSize(); err != nil {
		return nil, errors.Join(err, g.closeFiles())
	}
	if err := enter(g); err != nil {
		return nil, errors.Join(err, g.closeFiles())
	}
	return g, nil
}

func (g *Guard) findPageSize() error {
	if g.file != nil {
		if size, ok := readHeader(g.file); ok {
			g.pageSize = size
			return nil
		}
	}
	f, err := g.database()
	if err != nil {
		return err
	}
	g.pageSize, _ = readPageSize(f)
	return nil
}

func newGuard(o Options) (*Guard, error) {
	abs, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, err
	}
	// SQLite asks for files by their real names.
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return nil, err
	}
	abs = filepath.Join(dir, filepath.Base(abs))
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	report := o.Report
	if report == nil {
		report = func(Damage) {}
	}
	return &Guard{path: abs, report: report, damaged: make(map[Damage]bool)}, register()
}

// Close ends the checks.
func (g *Guard) Close() error {
	leave(g)
	var err error
	if !g.readOnly {
		err = g.flush()
	}
	return errors.Join(err, g.closeFiles())
}

func (g *Guard) closeFiles() error {
	var errs []error
	for _, f := range []*os.File{g.file, g.db} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Unclean reports whether the last process that wrote the database ended without closing it, or
// whether the check after such an end was not finished.
func (g *Guard) Unclean() bool { return g.unclean }

// Checked notes that a check of the whole database was finished: the next start needs none.
func (g *Guard) Checked() error {
	g.mu.Lock()
	g.sums.pending = false
	g.mu.Unlock()
	return g.flush()
}

// Damages returns how many damaged places were found.
func (g *Guard) Damages() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.damaged)
}

// found reports one damaged place, unless that was done before.
func (g *Guard) found(d Damage) {
	g.mu.Lock()
	known := g.damaged[d] || len(g.damaged) >= maxReports
	if !known {
		g.damaged[d] = true
	}
	g.mu.Unlock()
	if !known {
		g.report(d)
	}
}

// load reads the checksums and checks the log.
func (g *Guard) load() error {
	if size, ok := headerPageSize(g.path); ok {
		g.pageSize = size
	}
	var err error
	var m mark
	if g.sums, m, err = readSums(g.file, g.pageSize); err != nil {
		return err
	}
	if g.sums.pageSize != 0 {
		g.pageSize = g.sums.pageSize // a damaged header of the database does not count
	}
	log, err := scanLog(g.path + logSuffix)
	if err != nil {
		return err
	}
	if err := log.check(g.path, m); err != nil {
		return err
	}
	g.wal = walState{sums: log.sums, size: log.pageSize, committed: log.last, marked: m}
	g.unclean = g.sums.pending || len(log.sums) > 0
	g.sums.pending = g.unclean
	if g.unclean {
		return g.flush()
	}
	return nil
}

// headerPageSize reads the size of the pages of a database from its header.
// Source: sqlite.org, fileformat2.html, section 1.3.2.
func headerPageSize(path string) (int64, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	return readPageSize(f)
}

func readPageSize(f *os.File) (int64, bool) {
	var header [18]byte
	if _, err := f.ReadAt(header[:], 0); err != nil {
		return 0, false
	}
	return pageSizeOf(header[:])
}

func pageSizeOf(header []byte) (int64, bool) {
	if string(header[:16]) != "SQLite format 3\x00" {
		return 0, false
	}
	size := int64(binary.BigEndian.Uint16(header[16:]))
	if size == 1 {
		size = 65536
	}
	return size, validPageSize(size)
}

func validPageSize(n int64) bool { return n >= 512 && n <= 65536 && n&(n-1) == 0 }
