package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/raft"
)

var update = flag.Bool("update", false, "rewrite golden files")

// two is tiny where an older snapshot shall be there.
var two = Options{SyncBytes: 100, Keep: 2}

func TestEveryFlippedBitIsFound(t *testing.T) {
	file := bytesOf(t, 20, partsOf(20, 0, 3))
	for bit := range 8 * len(file) {
		b := bytes.Clone(file)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := Verify(bytes.NewReader(b)); !errors.Is(err, ErrDamaged) {
			t.Errorf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
	}
}

func TestEveryTruncationIsFound(t *testing.T) {
	file := bytesOf(t, 20, partsOf(20, 0, 3))
	for n := range file {
		if _, err := Verify(bytes.NewReader(file[:n])); !errors.Is(err, ErrDamaged) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
	if _, err := Verify(bytes.NewReader(append(bytes.Clone(file), 0))); !errors.Is(err, ErrDamaged) {
		t.Errorf("one byte more: %v", err)
	}
}

// Blocks that are whole, each with its right checksum, but in the wrong place.
func TestBlocksOutOfPlaceAreFound(t *testing.T) {
	same := bytes.Repeat([]byte("x"), 50)
	block := blockHead + len(same)
	file := bytesOf(t, 20, [][]byte{same, same, same})
	first := len(file) - footSize - 3*block
	at := func(i int) []byte { return file[first+i*block : first+(i+1)*block] }
	head, foot := file[:first], file[len(file)-footSize:]
	for name, b := range map[string][]byte{
		"swapped":  bytes.Join([][]byte{head, at(1), at(0), at(2), foot}, nil),
		"repeated": bytes.Join([][]byte{head, at(0), at(0), at(2), foot}, nil),
		"left out": bytes.Join([][]byte{head, at(0), at(2), foot}, nil),
		"last out": bytes.Join([][]byte{head, at(0), at(1), foot}, nil),
	} {
		if _, err := Verify(bytes.NewReader(b)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := bytesOf(t, 21, [][]byte{same, same, same})
	if _, err := Verify(bytes.NewReader(append(bytes.Clone(head), other[first:]...))); !errors.Is(err, ErrDamaged) {
		t.Errorf("blocks of another snapshot: %v", err)
	}
}

// What Open hands out before it finds damage is right as far as it goes, and
// the end is never reported.
func TestOpenHandsOutOnlyVerifiedBlocks(t *testing.T) {
	parts := partsOf(20, 0, 4)
	want := bytes.Join(parts, nil)
	file := bytesOf(t, 20, parts)
	for i := range file {
		fsys := NewMemFS()
		d := mustOpenDir(t, fsys, "/snap", tiny)
		b := bytes.Clone(file)
		b[i] ^= 0x10
		if err := fsys.WriteFile("/snap/"+snapName(20), b); err != nil {
			t.Fatal(err)
		}
		_, got, err := readAll(d, metaAt(20).Last)
		if !errors.Is(err, ErrDamaged) || !bytes.HasPrefix(want, got) {
			t.Errorf("byte %d: %d bytes, %v", i, len(got), err)
		}
	}
}

func TestNewestPassesOverDamagedOnes(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"cut":     func(b []byte) []byte { return b[:len(b)-1] },
		"empty":   func(b []byte) []byte { return nil },
		"renamed": func([]byte) []byte { return bytesOf(t, 19, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			fsys := NewMemFS()
			d := mustOpenDir(t, fsys, "/snap", two)
			mustSave(t, d, 10, partsOf(10, 0, 5))
			mustSave(t, d, 20, partsOf(20, 0, 5))
			path := "/snap/" + snapName(20)
			b, err := fsys.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := fsys.WriteFile(path, damage(b)); err != nil {
				t.Fatal(err)
			}
			meta, err := d.Newest()
			if err != nil || meta.Last.Index != 10 {
				t.Fatalf("newest: %v, %v", meta.Last, err)
			}
			faults := d.Faults()
			if len(faults) != 1 || !errors.Is(faults[0], ErrDamaged) || !strings.Contains(faults[0].Error(), snapName(20)) {
				t.Errorf("faults: %v", faults)
			}
			if d.Faults() != nil {
				t.Error("faults are told twice")
			}
			wantNames(t, fsys, "/snap", snapName(10), snapName(20)+damagedSuffix)
			// It stays for a look until all that stay are newer.
			mustSave(t, d, 30, nil)
			wantNames(t, fsys, "/snap", snapName(10), snapName(30), snapName(20)+damagedSuffix)
			mustSave(t, d, 40, nil)
			wantNames(t, fsys, "/snap", snapName(30), snapName(40))
		})
	}
}

// What is restored is read once: damage shows only after most of it was handed
// over, and the snapshot before gets its turn then.
func TestRestoreGoesOnWithTheOneBefore(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", two)
	old := partsOf(10, 0, 5)
	mustSave(t, d, 10, old)
	mustSave(t, d, 20, partsOf(20, 0, 5))
	b, err := fsys.ReadFile("/snap/" + snapName(20))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-footSize-1] ^= 1 // the last byte of content
	if err := fsys.WriteFile("/snap/"+snapName(20), b); err != nil {
		t.Fatal(err)
	}
	var got []byte
	var tried []raft.Index
	load := func(meta raft.SnapshotMeta, r io.Reader) (err error) {
		tried = append(tried, meta.Last.Index)
		got, err = io.ReadAll(r)
		return err
	}
	meta, err := d.Restore(load)
	if err != nil || !sameMeta(meta, metaAt(10)) || !bytes.Equal(got, bytes.Join(old, nil)) {
		t.Errorf("restored %v, %d bytes, %v", meta.Last, len(got), err)
	}
	if !slices.Equal(tried, []raft.Index{20, 10}) {
		t.Errorf("tried %v", tried)
	}
	wantNames(t, fsys, "/snap", snapName(10), snapName(20)+damagedSuffix)
}

// A file that is whole is not set aside because of what the caller makes of it;
// and one that was not read to its end was not verified.
func TestRestoreReturnsTheCallersError(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", two)
	mustSave(t, d, 10, partsOf(10, 0, 5))
	mustSave(t, d, 20, partsOf(20, 0, 5))
	own := errors.New("of a level that is not known here")
	for name, load := range map[string]func(raft.SnapshotMeta, io.Reader) error{
		"at once": func(raft.SnapshotMeta, io.Reader) error { return own },
		"at the end": func(_ raft.SnapshotMeta, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return errors.Join(own, err)
		},
	} {
		if _, err := d.RestoreOr(raft.Configuration{}, load); !errors.Is(err, own) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := d.RestoreOr(raft.Configuration{}, func(_ raft.SnapshotMeta, r io.Reader) error {
		_, err := io.CopyN(io.Discard, r, 3)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "not read to its end") {
		t.Errorf("three bytes read: %v", err)
	}
	if faults := d.Faults(); faults != nil {
		t.Errorf("faults: %v", faults)
	}
	wantNames(t, fsys, "/snap", snapName(10), snapName(20))
}

func TestOnlyDamagedOnesIsNotNone(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", tiny)
	mustSave(t, d, 10, nil)
	if err := fsys.WriteFile("/snap/"+snapName(10), []byte("RKVSNAP\n")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is set aside already
		if _, err := d.Newest(); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) {
			t.Errorf("newest: %v", err)
		}
	}
	// Another node's copy of the same snapshot takes its place.
	if err := d.Receive(t.Context(), metaAt(10), serve(bytesOf(t, 10, nil)), noProgress); err != nil {
		t.Fatal(err)
	}
	if meta, err := d.Newest(); err != nil || meta.Last.Index != 10 {
		t.Errorf("newest: %v, %v", meta.Last, err)
	}
}

// A state that the cluster outvoted is whole and yet wrong.
func TestSetAsideTakesOutOfUse(t *testing.T) {
	d := mustOpenDir(t, NewMemFS(), "/snap", tiny)
	mustSave(t, d, 10, nil)
	if err := d.SetAside(metaAt(10).Last); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Open(metaAt(10).Last); !errors.Is(err, ErrNotFound) {
		t.Errorf("open: %v", err)
	}
	if _, err := d.Newest(); !errors.Is(err, ErrDamaged) {
		t.Errorf("newest: %v", err)
	}
	if err := d.SetAside(metaAt(10).Last); err == nil {
		t.Error("set aside twice")
	}
}

func TestUnreadableFileIsPassedOverAndStays(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", two)
	mustSave(t, d, 10, nil)
	mustSave(t, d, 20, nil)
	fsys.Inject(func(op Op) error {
		if op.Kind == "read" && strings.Contains(op.Path, snapName(20)) {
			return syscall.EIO
		}
		return nil
	})
	meta, err := d.Newest()
	if err != nil || meta.Last.Index != 10 {
		t.Errorf("newest: %v, %v", meta.Last, err)
	}
	if faults := d.Faults(); len(faults) != 1 || !errors.Is(faults[0], syscall.EIO) {
		t.Errorf("faults: %v", faults)
	}
	wantNames(t, fsys, "/snap", snapName(10), snapName(20))
}

// What keeps a file from being opened must be set right: neither an older snapshot nor
// the state of another node stands in for one that may be whole.
func TestUnopenedFileIsNoDamage(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EACCES, syscall.EMFILE, syscall.EIO} {
		fsys := NewMemFS()
		d := mustOpenDir(t, fsys, "/snap", tiny)
		mustSave(t, d, 10, nil)
		fsys.Inject(func(op Op) error {
			if op.Kind == "open" {
				return errno
			}
			return nil
		})
		if _, err := d.RestoreOr(raft.Configuration{}, verify); !errors.Is(err, errno) || errors.Is(err, ErrDamaged) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

// A file of a later release stays, whatever happens.
func TestNewerFormatIsLeftAlone(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", two)
	mustSave(t, d, 10, nil)
	newer := bytesOf(t, 20, nil)
	binary.LittleEndian.PutUint32(newer[len(headMagic):], formatVersion+1)
	binary.LittleEndian.PutUint32(newer[headFixed-crcSize:], crc32.Checksum(newer[:headFixed-crcSize], castagnoli))
	if err := fsys.WriteFile("/snap/"+snapName(20), newer); err != nil {
		t.Fatal(err)
	}
	meta, err := d.Newest()
	if err != nil || meta.Last.Index != 10 {
		t.Errorf("newest: %v, %v", meta.Last, err)
	}
	if faults := d.Faults(); len(faults) != 1 || !errors.Is(faults[0], ErrVersion) {
		t.Errorf("faults: %v", faults)
	}
	if b, err := fsys.ReadFile("/snap/" + snapName(20)); err != nil || !bytes.Equal(b, newer) {
		t.Errorf("the newer file changed: %v", err)
	}
}

// The bytes of a release must be read by every later one.
func TestGoldenFile(t *testing.T) {
	path := filepath.Join("testdata", "v1.snap")
	file := bytesOf(t, 20, [][]byte{[]byte("first block"), []byte("second")})
	if *update {
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, golden) {
		t.Errorf("the format changed: %d bytes, golden file %d", len(file), len(golden))
	}
	info, err := Verify(bytes.NewReader(golden))
	if err != nil || !sameMeta(info.Meta, metaAt(20)) || info.Content != 17 || info.Blocks != 2 || info.Bytes != uint64(len(golden)) {
		t.Errorf("%+v, %v", info, err)
	}
}

// Whatever the bytes are: no panic, and what verifies is exactly what writer makes of it.
func FuzzOpen(f *testing.F) {
	file := bytesOf(f, 20, partsOf(20, 0, 3))
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add(bytesOf(f, 20, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := NewMemFS()
		d := mustOpenDir(t, fsys, "/snap", tiny)
		if err := fsys.WriteFile("/snap/"+snapName(20), b); err != nil {
			t.Fatal(err)
		}
		meta, content, err := readAll(d, metaAt(20).Last)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Errorf("err = %v", err)
			}
			return
		}
		var info Info
		fuzztest.Bounded(t, len(b), 2<<20, 16, func() { info, err = Verify(bytes.NewReader(b)) })
		if err != nil || info.Content != uint64(len(content)) || !sameMeta(info.Meta, meta) {
			t.Errorf("%+v, %v; content %d bytes", info, err, len(content))
		}
	})
}

// Whatever a crash left and whatever the source sends: the snapshot is the right one, or an error.
func FuzzReceive(f *testing.F) {
	file := bytesOf(f, 20, partsOf(20, 0, 3))
	f.Add([]byte{}, file)
	f.Add(file[:200], file)
	f.Add(file, []byte{})
	f.Add(file[:len(file)-9], file[:len(file)-9])
	f.Fuzz(func(t *testing.T, part, sent []byte) {
		fsys := NewMemFS()
		d := mustOpenDir(t, fsys, "/snap", tiny)
		if err := fsys.WriteFile("/snap/"+snapName(20)+partSuffix, part); err != nil {
			t.Fatal(err)
		}
		for _, src := range []opener{serve(sent), serve(file)} {
			opened := 0
			var err error
			fuzztest.Bounded(t, len(part)+len(sent), 4<<20, 64, func() {
				err = d.Receive(t.Context(), metaAt(20), func(ctx context.Context, offset uint64) (io.ReadCloser, error) {
					opened++
					return src(ctx, offset)
				}, noProgress)
			})
			if opened > 3 {
				t.Errorf("opened %d times", opened)
			}
			if err == nil {
				if meta, err := d.Newest(); err != nil || !sameMeta(meta, metaAt(20)) {
					t.Errorf("received, but newest: %v, %v", meta.Last, err)
				}
			}
		}
		if _, err := d.Newest(); err != nil {
			t.Errorf("a right source did not help: %v", err)
		}
	})
}
