package pagesum

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// The virtual file systems are the one of the system, but for the functions of two kinds of files,
// databases and their logs, that read, write, sync, truncate and close. Of these each calls the
// function of the system, before or after its own work.
// Source: sqlite.org, vfs.html and c3ref/io_methods.html.

// Types of the functions that are replaced.
type (
	openFunc     = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32
	deleteFunc   = func(tls *libc.TLS, vfs, name uintptr, syncDir int32) int32
	closeFunc    = func(tls *libc.TLS, file uintptr) int32
	ioFunc       = func(tls *libc.TLS, file, buf uintptr, amount int32, offset int64) int32
	truncateFunc = func(tls *libc.TLS, file uintptr, size int64) int32
	syncFunc     = func(tls *libc.TLS, file uintptr, flags int32) int32
)

// functionOf returns the function at an address, as compiled SQLite stores it.
func functionOf[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&struct{ uintptr }{address})) }

// addressOf returns the address of a function that is declared at the top level.
func addressOf[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

// at returns what is at an address outside Go's memory.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// bytesAt returns a piece of memory outside Go's.
func bytesAt(address uintptr, n int32) []byte { return unsafe.Slice(at[byte](address), n) }

// system is the file system that the others are made of.
type system struct {
	vfs    uintptr
	open   openFunc
	remove deleteFunc
}

// openFile is a database, or a log, that SQLite has open.
type openFile struct {
	guard *Guard
	log   bool

	close    closeFunc
	read     ioFunc
	write    ioFunc
	truncate truncateFunc
	sync     syncFunc
}

// registry is what the functions find their state in: SQLite hands them addresses only.
var registry struct {
	once    sync.Once
	err     error
	system  system
	reading uintptr // the address of the file system that does not write

	mu      sync.Mutex
	guards  map[string][]*Guard // by path; the last one counts
	methods map[uintptr]uintptr // replaced tables of functions, by the original
	files   sync.Map            // *openFile by the address of the file
}

// register makes the virtual file systems known to SQLite, once.
func register() error {
	registry.once.Do(func() {
		registry.guards, registry.methods = make(map[string][]*Guard), make(map[uintptr]uintptr)
		tls := libc.NewTLS()
		defer tls.Close()
		base := lib.Xsqlite3_vfs_find(tls, 0)
		if base == 0 {
			registry.err = errors.New("SQLite has no file system")
			return
		}
		v := at[lib.Tsqlite3_vfs](base)
		registry.system = system{vfs: base, open: functionOf[openFunc](v.FxOpen), remove: functionOf[deleteFunc](v.FxDelete)}
		for _, name := range []string{VFS, VFSReadOnly} {
			registry.err = errors.Join(registry.err, registerAs(tls, name, *v))
		}
	})
	return registry.err
}

func registerAs(tls *libc.TLS, name string, v lib.Tsqlite3_vfs) error {
	text, err := libc.CString(name)
	if err != nil {
		return err
	}
	address := libc.Xmalloc(tls, lib.Tsize_t(unsafe.Sizeof(v)))
	if address == 0 {
		return errors.New("out of memory")
	}
	v.FzName, v.FpNext = text, 0
	v.FxOpen, v.FxDelete = addressOf(vfsOpen), addressOf(vfsDelete)
	*at[lib.Tsqlite3_vfs](address) = v
	if name == VFSReadOnly {
		registry.reading = address
	}
	if rc := lib.Xsqlite3_vfs_register(tls, address, 0); rc != lib.SQLITE_OK {
		return fmt.Errorf("registering the file system %s: code %d", name, rc)
	}
	return nil
}

// enter makes a guard the one of its path.
func enter(g *Guard) error {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	for _, other := range registry.guards[g.path] {
		if !other.readOnly && !g.readOnly {
			return fmt.Errorf("%s is open in this process already", g.path)
		}
	}
	registry.guards[g.path] = append(registry.guards[g.path], g)
	return nil
}

func leave(g *Guard) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	rest := registry.guards[g.path][:0:0]
	for _, other := range registry.guards[g.path] {
		if other != g {
			rest = append(rest, other)
		}
	}
	registry.guards[g.path] = rest
	if len(rest) == 0 {
		delete(registry.guards, g.path)
	}
}

// guardOf returns the guard of a path: the one that writes, as its checksums are in memory, or any.
func guardOf(path string) *Guard {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	var found *Guard
	for _, g := range registry.guards[path] {
		if found == nil || !g.readOnly {
			found = g
		}
	}
	return found
}

func vfsOpen(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32 {
	database, log := flags&lib.SQLITE_OPEN_MAIN_DB != 0, flags&lib.SQLITE_OPEN_WAL != 0
	if name == 0 || !database && !log {
		return registry.system.open(tls, registry.system.vfs, name, file, flags, outFlags)
	}
	g := guardOf(strings.TrimSuffix(libc.GoString(name), logSuffix))
	if g == nil {
		return lib.SQLITE_CANTOPEN // it would change without its checksums
	}
	if rc := registry.system.open(tls, registry.system.vfs, name, file, flags, outFlags); rc != lib.SQLITE_OK {
		return rc
	}
	f := at[lib.Tsqlite3_file](file)
	if f.FpMethods == 0 {
		return lib.SQLITE_OK
	}
	m := at[lib.Tsqlite3_io_methods](f.FpMethods)
	registry.files.Store(file, &openFile{
		guard: g, log: log,
		close: functionOf[closeFunc](m.FxClose), read: functionOf[ioFunc](m.FxRead), write: functionOf[ioFunc](m.FxWrite),
		truncate: functionOf[truncateFunc](m.FxTruncate), sync: functionOf[syncFunc](m.FxSync),
	})
	f.FpMethods = replaced(tls, f.FpMethods, vfs == registry.reading)
	return lib.SQLITE_OK
}

// replaced returns a table of functions with ours in it. It lives as long as the process: there are
// as many as the system has kinds of files.
func replaced(tls *libc.TLS, original uintptr, readOnly bool) uintptr {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	key := original
	if readOnly {
		key++ // no table begins at an odd address
	}
	if address, ok := registry.methods[key]; ok {
		return address
	}
	m := *at[lib.Tsqlite3_io_methods](original)
	m.FxClose, m.FxRead, m.FxWrite = addressOf(fileClose), addressOf(fileRead), addressOf(fileWrite)
	m.FxTruncate, m.FxSync = addressOf(fileTruncate), addressOf(fileSync)
	if readOnly {
		m.FxWrite, m.FxTruncate = addressOf(refuseWrite), addressOf(refuseTruncate)
	}
	address := libc.Xmalloc(tls, lib.Tsize_t(unsafe.Sizeof(m)))
	if address == 0 {
		return original
	}
	*at[lib.Tsqlite3_io_methods](address) = m
	registry.methods[key] = address
	return address
}

// vfsDelete removes a file. A log is removed when all of it is in the database: from then on none
// is missing.
func vfsDelete(tls *libc.TLS, vfs, name uintptr, syncDir int32) int32 {
	path := libc.GoString(name)
	if base, isLog := strings.CutSuffix(path, logSuffix); isLog {
		g := guardOf(base)
		if g == nil || vfs == registry.reading {
			return lib.SQLITE_IOERR_DELETE
		}
		if err := g.logGone(); err != nil {
			return failure(err, lib.SQLITE_IOERR_DELETE)
		}
	}
	return registry.system.remove(tls, registry.system.vfs, name, syncDir)
}

func fileOf(address uintptr) *openFile {
	stored, _ := registry.files.Load(address)
	f, ok := stored.(*openFile)
	if !ok {
		panic("pagesum: a file that SQLite did not open")
	}
	return f
}

func fileClose(tls *libc.TLS, file uintptr) int32 {
	f := fileOf(file)
	registry.files.Delete(file) // the next file may get this address
	return f.close(tls, file)
}

func fileRead(tls *libc.TLS, file, buf uintptr, amount int32, offset int64) int32 {
	f := fileOf(file)
	rc := f.read(tls, file, buf, amount, offset)
	if rc != lib.SQLITE_OK && rc != lib.SQLITE_IOERR_SHORT_READ {
		return rc
	}
	if !f.guard.whole(f.log, bytesAt(buf, amount), offset) {
		return lib.SQLITE_IOERR_DATA
	}
	return rc
}

func fileWrite(tls *libc.TLS, file, buf uintptr, amount int32, offset int64) int32 {
	f := fileOf(file)
	b := bytesAt(buf, amount)
	if f.log {
		if err := f.guard.beforeLogWrite(b, offset); err != nil {
			return failure(err, lib.SQLITE_IOERR_WRITE)
		}
		rc := f.write(tls, file, buf, amount, offset)
		if rc == lib.SQLITE_OK {
			f.guard.logWritten(b, offset)
		}
		return rc
	}
	f.guard.writing.Lock()
	defer f.guard.writing.Unlock()
	rc := f.write(tls, file, buf, amount, offset)
	if rc != lib.SQLITE_OK {
		return rc
	}
	if err := f.guard.pageWritten(b, offset); err != nil {
		return failure(err, lib.SQLITE_IOERR_WRITE)
	}
	return lib.SQLITE_OK
}

func fileTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	f := fileOf(file)
	if f.log && size == 0 {
		if err := f.guard.logGone(); err != nil {
			return failure(err, lib.SQLITE_IOERR_TRUNCATE)
		}
	}
	if f.log {
		return f.truncate(tls, file, size)
	}
	f.guard.writing.Lock()
	defer f.guard.writing.Unlock()
	if rc := f.truncate(tls, file, size); rc != lib.SQLITE_OK {
		return rc
	}
	if err := f.guard.truncated(size); err != nil {
		return failure(err, lib.SQLITE_IOERR_TRUNCATE)
	}
	return lib.SQLITE_OK
}

func fileSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := fileOf(file)
	if !f.log {
		if err := f.guard.flush(); err != nil {
			return failure(err, lib.SQLITE_IOERR_FSYNC)
		}
		return f.sync(tls, file, flags)
	}
	rc := f.sync(tls, file, flags)
	if rc == lib.SQLITE_OK {
		f.guard.logSynced()
	} else {
		f.guard.logNotSynced()
	}
	return rc
}

// failure returns the code of SQLite for an error of ours.
func failure(err error, code int32) int32 {
	if errors.Is(err, syscall.ENOSPC) {
		return lib.SQLITE_FULL
	}
	return code
}

func refuseWrite(*libc.TLS, uintptr, uintptr, int32, int64) int32 { return lib.SQLITE_READONLY }

func refuseTruncate(*libc.TLS, uintptr, int64) int32 { return lib.SQLITE_READONLY }
