package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// recorder is a source that notes where it was asked to start.
type recorder struct {
	src     opener
	offsets []uint64
}

func (r *recorder) open(ctx context.Context, offset uint64) (io.ReadCloser, error) {
	r.offsets = append(r.offsets, offset)
	return r.src(ctx, offset)
}

// broken serves file up to the byte end, then fails like a lost connection.
func broken(file []byte, end int, err error) opener {
	return func(_ context.Context, offset uint64) (io.ReadCloser, error) {
		from := min(offset, uint64(end))
		return io.NopCloser(io.MultiReader(bytes.NewReader(file[from:end]), failing{err})), nil
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

var errCut = errors.New("connection reset")

func TestReceiveFromAnotherDir(t *testing.T) {
	onBoth(t, func(t *testing.T, fsys FS, path string) {
		parts := partsOf(20, 0, 40)
		source := mustOpenDir(t, NewMemFS(), "/snap", tiny)
		mustSave(t, source, 20, parts)
		d := mustOpenDir(t, fsys, path, tiny)
		var told []uint64
		err := d.Receive(t.Context(), metaAt(20), func(_ context.Context, offset uint64) (io.ReadCloser, error) {
			r, _, err := source.Source(metaAt(20).Last, offset)
			return r, err
		}, func(n uint64) { told = append(told, n) })
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, d, 20, parts)
		wantNames(t, fsys, path, snapName(20))
		size, _ := source.Size()
		if !slices.IsSorted(told) || told[0] != 0 || told[len(told)-1] != size {
			t.Errorf("progress %v, want 0 to %d", told, size)
		}
	})
}

func TestCutTransferGoesOnWhereItWas(t *testing.T) {
	parts := partsOf(20, 0, 10)
	file := bytesOf(t, 20, parts)
	const frameMax = blockHead + 60
	for cut := range file {
		fsys := NewMemFS()
		d := mustOpenDir(t, fsys, "/snap", tiny)
		if err := d.Receive(t.Context(), metaAt(20), broken(file, cut, errCut), noProgress); !errors.Is(err, errCut) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if _, err := d.Newest(); !errors.Is(err, ErrNotFound) {
			t.Fatalf("cut at %d: newest: %v", cut, err)
		}
		if cut%2 == 0 {
			d = mustOpenDir(t, fsys, "/snap", tiny) // the process was started anew
		}
		rec := &recorder{src: serve(file)}
		if err := d.Receive(t.Context(), metaAt(20), rec.open, noProgress); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		wantContent(t, d, 20, parts)
		if len(rec.offsets) != 1 || int(rec.offsets[0]) > cut || rec.offsets[0] > 0 && int(rec.offsets[0]) < cut-frameMax {
			t.Errorf("cut at %d: went on at %v", cut, rec.offsets)
		}
		if cut > 400 && rec.offsets[0] == 0 {
			t.Errorf("cut at %d: started over", cut)
		}
	}
}

func TestWholeTransferWithoutItsRenameIsNotFetchedAgain(t *testing.T) {
	file := bytesOf(t, 20, partsOf(20, 0, 5))
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", tiny)
	if err := fsys.WriteFile("/snap/"+snapName(20)+partSuffix, file); err != nil {
		t.Fatal(err)
	}
	never := func(context.Context, uint64) (io.ReadCloser, error) { return nil, errors.New("asked") }
	for range 2 { // the second time the file has its name
		if err := d.Receive(t.Context(), metaAt(20), never, noProgress); err != nil {
			t.Error(err)
		}
		wantContent(t, d, 20, partsOf(20, 0, 5))
	}
}

// A new leader's file of the same snapshot may have other bytes, and be shorter.
func TestChangedSourceIsNoticed(t *testing.T) {
	for name, parts := range map[string][][]byte{
		"other bytes":         partsOf(20, 1, 12),
		"other parts":         {bytes.Join(partsOf(20, 0, 12), nil)},
		"shorter than we are": {[]byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := NewMemFS()
			d := mustOpenDir(t, fsys, "/snap", tiny)
			old := bytesOf(t, 20, partsOf(20, 0, 12))
			if err := d.Receive(t.Context(), metaAt(20), broken(old, len(old)-100, errCut), noProgress); !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			rec := &recorder{src: serve(bytesOf(t, 20, parts))}
			if err := d.Receive(t.Context(), metaAt(20), rec.open, noProgress); err != nil {
				t.Fatal(err)
			}
			if len(rec.offsets) != 3 || rec.offsets[0] == 0 || rec.offsets[2] != 0 {
				t.Errorf("asked from %v, want twice where it was, then from 0", rec.offsets)
			}
			wantContent(t, d, 20, parts)
		})
	}
}

// package transport refuses an offset beyond the end.
func TestSourceThatRefusesTheOffsetIsAnotherFile(t *testing.T) {
	d := mustOpenDir(t, NewMemFS(), "/snap", tiny)
	old := bytesOf(t, 20, partsOf(20, 0, 12))
	if err := d.Receive(t.Context(), metaAt(20), broken(old, len(old)-100, errCut), noProgress); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	file := bytesOf(t, 20, [][]byte{[]byte("x")})
	beyond := errors.New("offset is beyond the end")
	err := d.Receive(t.Context(), metaAt(20), func(ctx context.Context, offset uint64) (io.ReadCloser, error) {
		if offset > uint64(len(file)) {
			return nil, beyond
		}
		return serve(file)(ctx, offset)
	}, noProgress)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, 20, [][]byte{[]byte("x")})
}

// A source that is away, or lost again at once, says nothing about its file.
func TestUnreachableSourceCostsNothing(t *testing.T) {
	file := bytesOf(t, 20, partsOf(20, 0, 12))
	away := func(context.Context, uint64) (io.ReadCloser, error) { return nil, errCut }
	for name, bad := range map[string]opener{
		"away":         away,
		"lost at once": broken(file, len(file)-100, errCut),
		// This is how package transport tells of a lost connection.
		"lost as an end": broken(file, len(file)-100, fmt.Errorf("source closed the connection: %w", io.ErrUnexpectedEOF)),
		"bare end":       broken(file, len(file)-100, io.ErrUnexpectedEOF),
	} {
		d := mustOpenDir(t, NewMemFS(), "/snap", tiny)
		if err := d.Receive(t.Context(), metaAt(20), broken(file, len(file)-100, errCut), noProgress); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		for range 3 {
			if err := d.Receive(t.Context(), metaAt(20), bad, noProgress); err == nil || errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %v", name, err)
			}
		}
		rec := &recorder{src: serve(file)}
		if err := d.Receive(t.Context(), metaAt(20), rec.open, noProgress); err != nil {
			t.Fatal(err)
		}
		if len(rec.offsets) != 1 || rec.offsets[0] == 0 {
			t.Errorf("%s: asked from %v", name, rec.offsets)
		}
		wantContent(t, d, 20, partsOf(20, 0, 12))
	}
}

// One damaged byte on the way costs the block it is in, not the transfer.
func TestDamagedTransferIsTriedAgain(t *testing.T) {
	parts := partsOf(20, 0, 10)
	file := bytesOf(t, 20, parts)
	for i := range file {
		fsys := NewMemFS()
		d := mustOpenDir(t, fsys, "/snap", tiny)
		bad := bytes.Clone(file)
		bad[i] ^= 4
		if err := d.Receive(t.Context(), metaAt(20), serve(bad), noProgress); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if _, err := d.Newest(); !errors.Is(err, ErrNotFound) {
			t.Fatalf("byte %d: newest: %v", i, err)
		}
		rec := &recorder{src: serve(file)}
		if err := d.Receive(t.Context(), metaAt(20), rec.open, noProgress); err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		if len(rec.offsets) != 1 || i > 400 && rec.offsets[0] == 0 {
			t.Errorf("byte %d: asked from %v", i, rec.offsets)
		}
		wantContent(t, d, 20, parts)
	}
}

func TestDamageInTheFirstBytesAfterResumingKeepsWhatIsHere(t *testing.T) {
	parts := partsOf(20, 0, 10)
	file := bytesOf(t, 20, parts)
	d := mustOpenDir(t, NewMemFS(), "/snap", tiny)
	if err := d.Receive(t.Context(), metaAt(20), broken(file, len(file)-100, errCut), noProgress); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	bad := bytes.Clone(file)
	for i := len(bad) - 200; i < len(bad); i++ {
		bad[i] ^= 0xff
	}
	var rec *recorder
	rec = &recorder{src: func(ctx context.Context, offset uint64) (io.ReadCloser, error) {
		if len(rec.offsets) == 1 {
			return serve(bad)(ctx, offset)
		}
		return serve(file)(ctx, offset)
	}}
	if err := d.Receive(t.Context(), metaAt(20), rec.open, noProgress); err != nil {
		t.Fatal(err)
	}
	if len(rec.offsets) != 2 || rec.offsets[1] == 0 {
		t.Errorf("asked from %v", rec.offsets)
	}
	wantContent(t, d, 20, parts)
}

func TestWrongSnapshotFromTheSourceIsRefused(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", tiny)
	if err := d.Receive(t.Context(), metaAt(21), serve(bytesOf(t, 20, nil)), noProgress); !errors.Is(err, ErrMismatch) {
		t.Errorf("other index: %v", err)
	}
	meta := metaAt(20)
	meta.Hash[0]++
	if err := d.Receive(t.Context(), meta, serve(bytesOf(t, 20, nil)), noProgress); !errors.Is(err, ErrMismatch) {
		t.Errorf("other state: %v", err)
	}
	wantNames(t, fsys, "/snap")
}

// A partial file of the same entry, but another state (its node had diverged), is dropped.
func TestPartOfAnotherStateIsNotContinued(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", tiny)
	meta := metaAt(20)
	meta.Hash[0]++
	other := NewMemFS()
	if err := mustOpenDir(t, other, "/snap", tiny).Save(meta, chunks([]byte("wrong"))); err != nil {
		t.Fatal(err)
	}
	b, _ := other.ReadFile("/snap/" + snapName(20))
	if err := fsys.WriteFile("/snap/"+snapName(20)+partSuffix, b); err != nil {
		t.Fatal(err)
	}
	rec := &recorder{src: serve(bytesOf(t, 20, [][]byte{[]byte("right")}))}
	if err := d.Receive(t.Context(), metaAt(20), rec.open, noProgress); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(rec.offsets, []uint64{0}) {
		t.Errorf("asked from %v", rec.offsets)
	}
	wantContent(t, d, 20, [][]byte{[]byte("right")})
}

func TestEndlessSourceIsCutOff(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", Options{MaxBytes: 3000})
	c := newChain()
	b, err := c.appendHeader(nil, metaAt(20))
	if err != nil {
		t.Fatal(err)
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	taken := 0
	go func() { // ends when Receive closes the pipe
		defer close(done)
		for err == nil {
			var n int
			n, err = pw.Write(b)
			taken += n
			b = c.appendBlock(b[:0], make([]byte, 100))
		}
	}()
	err2 := d.Receive(t.Context(), metaAt(20), func(context.Context, uint64) (io.ReadCloser, error) { return pr, nil }, noProgress)
	if !errors.Is(err2, ErrTooLarge) {
		t.Errorf("err = %v", err2)
	}
	<-done
	if taken > 3000+2*fillStep {
		t.Errorf("%d bytes were taken, at most 3000 are wanted", taken)
	}
	wantNames(t, fsys, "/snap")
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	file := bytesOf(t, 20, partsOf(20, 0, 10))
	d := mustOpenDir(t, NewMemFS(), "/snap", tiny)
	ctx, cancel := context.WithCancel(t.Context())
	err := d.Receive(ctx, metaAt(20), func(ctx context.Context, offset uint64) (io.ReadCloser, error) {
		cancel()
		return serve(file)(ctx, offset)
	}, noProgress)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestOneTransferIsHeldAtATime(t *testing.T) {
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", tiny)
	for _, index := range []raft.Index{20, 30} {
		file := bytesOf(t, index, partsOf(index, 0, 10))
		if err := d.Receive(t.Context(), metaAt(index), broken(file, 500, errCut), noProgress); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
	}
	wantNames(t, fsys, "/snap", snapName(30)+partSuffix)
	var inner error
	err := d.Receive(t.Context(), metaAt(30), func(ctx context.Context, _ uint64) (io.ReadCloser, error) {
		inner = d.Receive(ctx, metaAt(40), serve(nil), noProgress)
		return nil, errCut
	}, noProgress)
	if !errors.Is(err, errCut) || inner == nil {
		t.Errorf("outer %v, inner %v", err, inner)
	}
}

func TestSourceBeyondItsEndIsEmpty(t *testing.T) {
	d := mustOpenDir(t, NewMemFS(), "/snap", tiny)
	mustSave(t, d, 20, nil)
	for _, offset := range []uint64{1 << 40, 1 << 63, ^uint64(0)} {
		r, size, err := d.Source(metaAt(20).Last, offset)
		if err != nil || size == 0 {
			t.Fatalf("%d: size %d, %v", offset, size, err)
		}
		if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
			t.Errorf("%d: %d bytes, %v", offset, len(b), err)
		}
		r.Close()
	}
}

func TestErrorsNameTheSnapshot(t *testing.T) {
	d := mustOpenDir(t, NewMemFS(), "/snap", tiny)
	err := d.Receive(t.Context(), metaAt(20), broken(nil, 0, errCut), noProgress)
	if err == nil || !strings.Contains(err.Error(), "3/20") {
		t.Errorf("err = %v", err)
	}
}

// Each frame fits its crc and the whole does not: then no byte of it is trusted for the next try.
func TestWrongSumOfTheWholeStartsOver(t *testing.T) {
	file := bytesOf(t, 20, partsOf(20, 0, 10))
	c := newChain()
	s := newScanner(bytes.NewReader(file))
	for !s.done {
		c = s.chain // as it was before the footer
		if _, err := s.next(); err != nil {
			t.Fatal(err)
		}
	}
	forged := bytes.Clone(file)
	foot := forged[len(file)-footSize:]
	foot[4+8+8] ^= 1
	binary.LittleEndian.PutUint32(foot[footSize-crcSize:], c.extend(foot[:footSize-crcSize]))
	fsys := NewMemFS()
	d := mustOpenDir(t, fsys, "/snap", tiny)
	if err := d.Receive(t.Context(), metaAt(20), serve(forged), noProgress); !errors.Is(err, ErrDamaged) {
		t.Fatalf("err = %v", err)
	}
	rec := &recorder{src: serve(file)}
	if err := d.Receive(t.Context(), metaAt(20), rec.open, noProgress); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(rec.offsets, []uint64{0}) {
		t.Errorf("asked from %v", rec.offsets)
	}
}
