package snapshot

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
)

// MemFS is a file system in memory for tests and the simulator. What was not
// synced is lost, kept or torn when it crashes: the bytes of files and, apart
// from them, the names in directories. It is safe for use by several goroutines.
type MemFS struct {
	mu     sync.Mutex
	dirs   map[string]*memDir
	life   int // raised by Crash: files opened before are dead
	count  int
	inject func(Op) error
}

// Op is one operation on a MemFS, as the injection hook sees it.
type Op struct {
	N    int    // operations before it, since NewMemFS
	Kind string // mkdir readdir create open rename remove syncdir read write seek truncate sync size
	Path string
}

// CrashMode says what a crash does to what was not synced.
type CrashMode int

// The ways to crash.
const (
	CrashLose CrashMode = iota // nothing of it is there
	CrashKeep                  // all of it is there
	CrashTear                  // some of it: parts of files, damaged bytes among them, and some of the changed names
)

// errStale is what a file opened before a crash answers.
var errStale = errors.New("file was opened before the crash")

type memDir struct {
	durable bool // its own name is
	names   map[string]*inode
	synced  map[string]*inode
	pending []nameOp // what separates names from synced, in order
}

// nameOp is one change of names that a crash keeps or loses as a whole.
type nameOp struct {
	gone string // this name goes, if not empty
	here string // this name stands for node from now on, if not empty
	node *inode
}

func (o nameOp) apply(names map[string]*inode) {
	delete(names, o.gone)
	if o.here != "" {
		names[o.here] = o.node
	}
}

// inode is a file apart from its names. disk shares the memory of data: bytes
// below len(disk) are copied before they change.
type inode struct {
	data []byte
	disk []byte
	bad  bool // a sync failed: the system forgot which pages were dirty, so later syncs do nothing
}

// own makes the bytes from offset on free to change.
func (n *inode) own(offset int) {
	if offset < len(n.disk) {
		n.data = slices.Clone(n.data)
	}
}

// NewMemFS makes an empty file system that has the directory "/".
func NewMemFS() *MemFS {
	m := &MemFS{dirs: make(map[string]*memDir)}
	m.dirs["/"] = newMemDir(true)
	return m
}

func newMemDir(durable bool) *memDir {
	return &memDir{durable: durable, names: make(map[string]*inode), synced: make(map[string]*inode)}
}

// Inject sets a hook that is asked before each operation. An error from it is
// the operation's: it does nothing then, but for a write, half of which is
// done. After a failed sync the file's bytes never reach the disk. Nil ends it.
// The hook must not use the MemFS.
func (m *MemFS) Inject(hook func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inject = hook
}

// Ops is how many operations there were.
func (m *MemFS) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// step counts an operation and asks the hook. The caller holds the mutex.
func (m *MemFS) step(kind, path string) error {
	op := Op{N: m.count, Kind: kind, Path: path}
	m.count++
	if m.inject == nil {
		return nil
	}
	if err := m.inject(op); err != nil {
		return &fs.PathError{Op: kind, Path: path, Err: err}
	}
	return nil
}

// Crash is a power cut: the disk has what was synced and, as mode says, of the
// rest. Open files are dead. rng is used by CrashTear only.
func (m *MemFS) Crash(mode CrashMode, rng *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life++
	seen := make(map[*inode]bool)
	for _, path := range sortedKeys(m.dirs) {
		d := m.dirs[path]
		if !d.durable && mode != CrashKeep {
			delete(m.dirs, path)
			continue
		}
		for _, op := range d.pending {
			if mode == CrashKeep || mode == CrashTear && rng.IntN(2) == 0 {
				op.apply(d.synced)
			}
		}
		d.pending = nil
		d.durable = true
		d.names = make(map[string]*inode)
		for _, name := range sortedKeys(d.synced) {
			n := d.synced[name]
			d.names[name] = n
			if !seen[n] {
				seen[n] = true
				n.crash(mode, rng)
			}
		}
	}
}

func (n *inode) crash(mode CrashMode, rng *rand.Rand) {
	switch mode {
	case CrashLose:
		n.data = n.disk
	case CrashTear:
		// The bytes after the shared beginning are unsynced, in files that only grow.
		same := 0
		for same < len(n.disk) && same < len(n.data) && n.disk[same] == n.data[same] {
			same++
		}
		tail := n.data[same:]
		if rng.IntN(2) == 0 {
			tail = n.disk[same:] // a truncation may be lost too
		}
		if len(tail) > 0 {
			tail = slices.Clone(tail[:rng.IntN(len(tail)+1)])
		}
		if len(tail) > 0 && rng.IntN(2) == 0 {
			// The length reached the disk and these bytes did not.
			from := rng.IntN(len(tail))
			clear(tail[from : from+rng.IntN(len(tail)-from)+1])
		}
		if same == len(n.disk) { // synced bytes stay whatever the tail
			n.data = append(slices.Clip(n.disk), tail...)
		} else {
			n.data = append(slices.Clone(n.data[:same]), tail...)
		}
	}
	n.disk = n.data
	n.bad = false
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Mkdir makes one directory; its parent must be there.
func (m *MemFS) Mkdir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("mkdir", path); err != nil {
		return err
	}
	if m.dirs[path] != nil {
		return nil
	}
	if m.dirs[filepath.Dir(path)] == nil {
		return notExist("mkdir", path)
	}
	m.dirs[path] = newMemDir(false)
	return nil
}

// ReadDir returns the names in a directory, in order.
func (m *MemFS) ReadDir(path string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("readdir", path); err != nil {
		return nil, err
	}
	d := m.dirs[path]
	if d == nil {
		return nil, notExist("readdir", path)
	}
	return sortedKeys(d.names), nil
}

// SyncDir makes the names in a directory durable.
func (m *MemFS) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("syncdir", path); err != nil {
		return err
	}
	d := m.dirs[path]
	if d == nil {
		return notExist("syncdir", path)
	}
	for _, op := range d.pending {
		op.apply(d.synced)
	}
	d.pending = nil
	for sub, dir := range m.dirs {
		if filepath.Dir(sub) == path {
			dir.durable = true
		}
	}
	return nil
}

// find returns the directory of path, the last part of it, and its file or nil.
func (m *MemFS) find(kind, path string) (*memDir, string, *inode, error) {
	d := m.dirs[filepath.Dir(path)]
	if d == nil {
		return nil, "", nil, notExist(kind, path)
	}
	name := filepath.Base(path)
	return d, name, d.names[name], nil
}

func (d *memDir) change(op nameOp) {
	op.apply(d.names)
	d.pending = append(d.pending, op)
}

// Create makes an empty file, or empties the one that is there.
func (m *MemFS) Create(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("create", path); err != nil {
		return nil, err
	}
	d, name, n, err := m.find("create", path)
	if err != nil {
		return nil, err
	}
	if n == nil {
		n = &inode{}
		d.change(nameOp{here: name, node: n})
	}
	n.data = nil
	return &memFile{fs: m, path: path, node: n, life: m.life, write: true}, nil
}

// Open opens a file that is there.
func (m *MemFS) Open(path string, write bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("open", path); err != nil {
		return nil, err
	}
	_, _, n, err := m.find("open", path)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return nil, notExist("open", path)
	}
	return &memFile{fs: m, path: path, node: n, life: m.life, write: write}, nil
}

// Rename renames within one directory, in one step.
func (m *MemFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("rename", from); err != nil {
		return err
	}
	d, name, n, err := m.find("rename", from)
	if err != nil {
		return err
	}
	if n == nil {
		return notExist("rename", from)
	}
	if filepath.Dir(from) != filepath.Dir(to) {
		return &fs.PathError{Op: "rename", Path: from, Err: errors.ErrUnsupported}
	}
	d.change(nameOp{gone: name, here: filepath.Base(to), node: n})
	return nil
}

// Remove takes the name of a file away. Open files go on.
func (m *MemFS) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("remove", path); err != nil {
		return err
	}
	d, name, n, err := m.find("remove", path)
	if err != nil {
		return err
	}
	if n == nil {
		return notExist("remove", path)
	}
	d.change(nameOp{gone: name})
	return nil
}

func notExist(kind, path string) error {
	return &fs.PathError{Op: kind, Path: path, Err: fs.ErrNotExist}
}

// ReadFile returns a copy of a file's bytes. It is no operation for the hook.
func (m *MemFS) ReadFile(path string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, n, err := m.find("read", path)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return nil, notExist("read", path)
	}
	return slices.Clone(n.data), nil
}

// WriteFile gives a file these bytes, durably: damage, or a file from elsewhere.
// It is no operation for the hook.
func (m *MemFS) WriteFile(path string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name, n, err := m.find("write", path)
	if err != nil {
		return err
	}
	if n == nil {
		n = &inode{}
		op := nameOp{here: name, node: n}
		op.apply(d.names)
		op.apply(d.synced)
	}
	n.data = slices.Clone(data)
	n.disk = n.data
	return nil
}

// memFile is an open file.
type memFile struct {
	fs    *MemFS
	path  string
	node  *inode
	life  int
	at    int
	write bool
}

// begin locks the file system and counts the operation; the caller unlocks.
func (f *memFile) begin(kind string) error {
	f.fs.mu.Lock()
	if f.life != f.fs.life {
		return &fs.PathError{Op: kind, Path: f.path, Err: errStale}
	}
	return f.fs.step(kind, f.path)
}

func (f *memFile) Read(p []byte) (int, error) {
	err := f.begin("read")
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if f.at >= len(f.node.data) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[f.at:])
	f.at += n
	return n, nil
}

func (f *memFile) Write(p []byte) (int, error) {
	err := f.begin("write")
	defer f.fs.mu.Unlock()
	if !f.write {
		return 0, &fs.PathError{Op: "write", Path: f.path, Err: fs.ErrPermission}
	}
	if f.life != f.fs.life {
		return 0, err
	}
	if err != nil {
		p = p[:len(p)/2]
	}
	n := f.node
	if f.at == len(n.data) { // as nearly always
		n.data = append(n.data, p...)
		f.at += len(p)
		return len(p), err
	}
	n.own(f.at)
	if f.at > len(n.data) {
		n.data = append(n.data, make([]byte, f.at-len(n.data))...)
	}
	n.data = append(n.data[:f.at], append(slices.Clone(p), n.data[min(f.at+len(p), len(n.data)):]...)...)
	f.at += len(p)
	return len(p), err
}

func (f *memFile) Seek(offset int64, whence int) (int64, error) {
	err := f.begin("seek")
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	switch whence {
	case io.SeekCurrent:
		offset += int64(f.at)
	case io.SeekEnd:
		offset += int64(len(f.node.data))
	}
	if offset < 0 {
		return 0, &fs.PathError{Op: "seek", Path: f.path, Err: fs.ErrInvalid}
	}
	f.at = int(offset)
	return offset, nil
}

func (f *memFile) Truncate(size int64) error {
	err := f.begin("truncate")
	defer f.fs.mu.Unlock()
	if err != nil {
		return err
	}
	n := f.node
	if int(size) < len(n.data) {
		n.own(int(size))
		n.data = n.data[:size]
		return nil
	}
	n.own(len(n.data))
	n.data = append(n.data, make([]byte, int(size)-len(n.data))...)
	return nil
}

func (f *memFile) Sync() error {
	err := f.begin("sync")
	defer f.fs.mu.Unlock()
	if f.life != f.fs.life {
		return err
	}
	if err != nil {
		f.node.bad = true
		return err
	}
	if !f.node.bad {
		f.node.disk = f.node.data
	}
	return nil
}

func (f *memFile) Size() (int64, error) {
	err := f.begin("size")
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), err
}

// Close ends the use of the file. It never fails and is no operation for the hook.
func (f *memFile) Close() error { return nil }

// DropCache does nothing: reads see what was written.
func (f *memFile) DropCache() {}
