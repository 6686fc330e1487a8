package raftlog_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
)

// PL-05, PL-06: the power goes between any two calls of the kernel, and of what no sync
// has covered the disk has any part: whole writes in any order, sectors of them, or a
// page that ends in its middle. Names change in their order, as a journal keeps them. What is left opens
// and is every confirmed write, or the next one too; the fence goes up only where a
// meta page is torn.
func TestAnySubsetOfUnsyncedWrites(t *testing.T) {
	t.Parallel()
	dir, seed, calls := recordCalls(t, 70)
	s := sweepSubsets(t, dir, seed, calls, honest)
	t.Logf("seed %d: %d calls, %d images, %d of them with the next write, %d with a torn meta page, %d fenced",
		seed, len(calls), s.images, s.further, s.torn, s.fenced)
	for i, err := range s.faults {
		if i == 5 {
			t.Fatalf("%d images in all", len(s.faults))
		}
		t.Error(err)
	}
	next := slices.ContainsFunc(calls, func(c kernelCall) bool { return filepath.Base(c.to) == "log-0000000000000002.db" })
	if !next || s.images < 1000 || s.further == 0 || s.torn == 0 || s.fenced == 0 {
		t.Error("too little was tried")
	}
}

// The sweep can go red: a disk that only says that it synced, and one that writes a meta
// page before what it points to.
func TestSubsetsFindMissingSyncs(t *testing.T) {
	t.Parallel()
	dir, seed, calls := recordCalls(t, 24)
	for name, lie := range map[string]syncLie{
		"no sync": func(*onDisk) bool { return true },
		"no sync before the meta page": func(f *onDisk) bool {
			return !slices.ContainsFunc(f.pending, func(c change) bool { return c.at < 2*4096 })
		},
	} {
		if s := sweepSubsets(t, dir, seed, calls, lie); len(s.faults) == 0 {
			t.Errorf("%s: %d images, nothing was found", name, s.images)
		} else {
			t.Logf("%s: found in %d of %d images, first: %v", name, len(s.faults), s.images, s.faults[0])
		}
	}
}

// kernelCall is one call of a child that changes what the disk has.
type kernelCall struct {
	name     string // write, truncate, link, rename, unlink, sync or ok
	path, to string
	at       int64
	data     []byte
	began    int    // index of the first call that ended after this one began: a sync covers what is before
	seq      uint64 // of ok: the write that was confirmed
}

// recordCalls runs a child from its birth on and returns what it did, by strace.
func recordCalls(t *testing.T, writes int) (dir string, seed uint64, calls []kernelCall) {
	t.Helper()
	testenv.FullOnly(t)
	testenv.Need(t, "strace")
	dir, log, seed := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "calls"), rand.Uint64()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	e := runChild(t, seed, writes, dir, []string{"strace", "-f", "-qq", "-y", "-xx", "-s", "100000000", "-e", "signal=none", "-o", log,
		"-e", "trace=openat,pwrite64,write,pwritev,writev,fsync,fdatasync,sync_file_range,msync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,truncate,fallocate,link,linkat"}, -1, nil)
	if !e.finished {
		t.Fatalf("child: %+v", e)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	type begun struct {
		text string
		at   int
	}
	started, position := map[string]begun{}, map[string]int64{}
	for line := range strings.Lines(string(b)) {
		pid, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		text, began := strings.TrimLeft(text, " "), len(calls)
		if begin, ok := strings.CutSuffix(text, " <unfinished ...>"); ok {
			started[pid] = begun{begin, len(calls)}
			continue
		}
		if _, end, ok := strings.Cut(text, " resumed>"); ok {
			text, began = started[pid].text+end, started[pid].at
		}
		name, args, _ := strings.Cut(text, "(")
		if strings.Contains(args, ") = -1 ") {
			continue
		}
		c := kernelCall{began: began}
		quoted := quotedIn(t, args)
		if name == "write" && strings.HasPrefix(args, "1<") {
			if confirmed, ok := strings.CutPrefix(string(quoted[0]), "ok "); ok {
				c.name = "ok"
				if c.seq, err = strconv.ParseUint(strings.TrimSpace(confirmed), 10, 64); err != nil {
					t.Fatal(err)
				}
				calls = append(calls, c)
			}
			continue
		}
		if strings.HasSuffix(name, "at") { // the first path of these is that of a directory
			c.path = string(quoted[0])
		} else {
			c.path = fdPath(t, args)
		}
		if c.path != dir && filepath.Dir(c.path) != dir {
			continue
		}
		switch name {
		case "openat":
			position[c.path] = 0
			if strings.Contains(args, "O_CREAT") {
				c.name = "link"
				calls = append(calls, c)
			}
			if strings.Contains(args, "O_TRUNC") {
				c.name = "truncate"
				calls = append(calls, c)
			}
			continue
		case "write":
			c.name, c.data, c.at = "write", quoted[0], position[c.path]
			position[c.path] += int64(len(c.data))
		case "pwrite64":
			c.name, c.data = "write", quoted[0]
			c.at = lastNumber(t, args)
		case "ftruncate":
			c.name, c.at = "truncate", lastNumber(t, args)
		case "fsync", "fdatasync":
			c.name = "sync"
		case "sync_file_range":
			continue // promises nothing: what it writes may be in a cache of the disk, and no size comes with it
		case "renameat":
			c.name, c.to = "rename", string(quoted[1])
		case "unlinkat":
			c.name = "unlink"
		default:
			t.Fatalf("this test does not know what %s does to a disk", name)
		}
		calls = append(calls, c)
	}
	return dir, seed, calls
}

// quotedIn decodes the strings of a call, which strace prints in hexadecimal.
func quotedIn(t *testing.T, args string) (out [][]byte) {
	t.Helper()
	for {
		_, rest, ok := strings.Cut(args, `"`)
		if !ok {
			return out
		}
		text, rest, _ := strings.Cut(rest, `"`)
		out, args = append(out, unhex(t, text)), rest
	}
}

// fdPath is where the descriptor points to that comes first.
func fdPath(t *testing.T, args string) string {
	t.Helper()
	_, rest, _ := strings.Cut(args, "<")
	text, _, _ := strings.Cut(rest, ">")
	return string(unhex(t, text))
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// lastNumber is the last argument of a call.
func lastNumber(t *testing.T, args string) int64 {
	t.Helper()
	args = args[:strings.LastIndex(args, ")")]
	n, err := strconv.ParseInt(strings.TrimSpace(args[strings.LastIndex(args, ",")+1:]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// change is a write, or a truncation to at where data is nil, that no sync has covered.
type change struct {
	call int
	at   int64
	data []byte
}

// isMeta tells whether it is of one of bbolt's two meta pages, in a segment that is in use.
func (c change) isMeta() bool { return len(c.data) == 4096 && c.at < 2*4096 }

func (c change) apply(b []byte) []byte {
	if c.data == nil {
		return append(b[:min(int64(len(b)), c.at)], make([]byte, max(0, c.at-int64(len(b))))...)
	}
	b = append(b, make([]byte, max(0, c.at+int64(len(c.data))-int64(len(b))))...)
	copy(b[c.at:], c.data)
	return b
}

// onDisk is one file: what the disk surely has, and what it may have.
type onDisk struct {
	synced  []byte
	pending []change
}

// renaming is a change of names: what stands under each of these then; nil is nothing.
type renaming struct {
	call  int
	names map[string]*onDisk
}

// powerFS is a directory as the power may leave it.
type powerFS struct {
	names   map[string]*onDisk // as processes see them
	synced  map[string]*onDisk
	pending []renaming
}

// syncLie tells whether a sync of a file does nothing.
type syncLie func(*onDisk) bool

func honest(*onDisk) bool { return false }

func (p *powerFS) do(dir string, i int, c kernelCall, lie syncLie) {
	f := p.names[c.path]
	rename := func(names map[string]*onDisk) {
		maps.Copy(p.names, names)
		p.pending = append(p.pending, renaming{i, names})
	}
	switch c.name {
	case "link":
		if f == nil {
			rename(map[string]*onDisk{c.path: {}})
		}
	case "rename":
		rename(map[string]*onDisk{c.path: nil, c.to: f})
	case "unlink":
		rename(map[string]*onDisk{c.path: nil})
	case "write", "truncate":
		if f != nil { // or it has no name any more
			f.pending = append(f.pending, change{i, c.at, c.data})
		}
	case "sync":
		if c.path == dir {
			for len(p.pending) > 0 && p.pending[0].call < c.began {
				maps.Copy(p.synced, p.pending[0].names)
				p.pending = p.pending[1:]
			}
		} else if f != nil && !lie(f) {
			for len(f.pending) > 0 && f.pending[0].call < c.began {
				f.synced = f.pending[0].apply(f.synced)
				f.pending = f.pending[1:]
			}
		}
	}
}

// keep chooses what of a file's unsynced writes the disk has.
type keep func(rng *rand.Rand, c change) []change

const sector = 512

// The ways in which a disk loses its cache.
var keeps = []keep{
	func(*rand.Rand, change) []change { return nil },
	func(_ *rand.Rand, c change) []change { return []change{c} },
	anyWrite,
	func(rng *rand.Rand, c change) (out []change) { // any sectors
		for at := 0; at < len(c.data); at += sector {
			out = append(out, anyWrite(rng, change{c.call, c.at + int64(at), c.data[at:min(at+sector, len(c.data))]})...)
		}
		return out
	},
	func(rng *rand.Rand, c change) []change { // up to any byte
		n := rng.IntN(len(c.data) + 1)
		if c.isMeta() {
			n = 16 + rng.IntN(64) // what follows the fields of bbolt is never read
		}
		return []change{{c.call, c.at, c.data[:n]}}
	},
}

func anyWrite(rng *rand.Rand, c change) []change {
	if rng.IntN(2) == 0 {
		return nil
	}
	return []change{c}
}

// image writes what the disk has to a new directory, and tells whether a meta page is torn.
func (p *powerFS) image(t *testing.T, to string, rng *rand.Rand, k keep) (torn bool) {
	t.Helper()
	names := maps.Clone(p.synced)
	for _, r := range p.pending[:rng.IntN(len(p.pending)+1)] {
		maps.Copy(names, r.names)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) { // in order: chance must not depend on the map
		f := names[name]
		if f == nil {
			continue
		}
		b := bytes.Clone(f.synced)
		for _, c := range f.pending {
			if c.data == nil {
				b = c.apply(b)
				continue
			}
			parts := k(rng, c)
			size := 0
			for _, part := range parts {
				b, size = part.apply(b), size+len(part.data)
			}
			torn = torn || c.isMeta() && size > 0 && size < len(c.data)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(name)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return torn
}

// subsets is what a sweep saw.
type subsets struct {
	images, further, torn, fenced int
	faults                        []error
}

// sweepSubsets cuts the power after each call, in some of the ways.
func sweepSubsets(t *testing.T, dir string, seed uint64, calls []kernelCall, lie syncLie) (s subsets) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	p := &powerFS{names: map[string]*onDisk{}, synced: map[string]*onDisk{}}
	confirmed, scratch := uint64(0), testenv.MemoryDir(t)
	for i, c := range calls {
		p.do(dir, i, c, lie)
		if c.name == "ok" {
			confirmed = c.seq
		}
		if c.name == "sync" {
			continue // what it may leave is what the calls around it may leave
		}
		for _, way := range rng.Perm(len(keeps))[:3] {
			k, to := keeps[way], filepath.Join(scratch, fmt.Sprint(i, "-", way))
			torn := p.image(t, to, rng, k)
			found, fenced, err := examine(t, to, seed, confirmed)
			if err == nil && fenced && !torn {
				err = fmt.Errorf("fenced, though no meta page is torn")
			}
			if err != nil {
				s.faults = append(s.faults, fmt.Errorf("power cut after call %d of %d (%s %s), way %d, seed %d: %w", i, len(calls), c.name, c.path, way, seed, err))
			}
			s.images++
			if found > confirmed {
				s.further++
			}
			if torn {
				s.torn++
			}
			if fenced {
				s.fenced++
			}
			if err := os.RemoveAll(to); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}
