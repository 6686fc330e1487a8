package snapshot

import (
	"io"
	"testing"
)

func benchmark(b *testing.B, run func(b *testing.B, d *Dir, total int, next func() func() ([]byte, error))) {
	const total = 64 << 20
	chunk := partsOf(1, 1, 8000)
	var flat []byte
	for _, c := range chunk {
		flat = append(flat, c...)
	}
	for len(flat) < blockMax {
		flat = append(flat, flat...)
	}
	flat = flat[:blockMax]
	next := func() func() ([]byte, error) {
		left := total
		return func() ([]byte, error) {
			if left == 0 {
				return nil, io.EOF
			}
			left -= len(flat)
			return flat, nil
		}
	}
	b.SetBytes(total)
	run(b, mustOpenDir(b, OS(), b.TempDir()+"/snap", Options{}), total, next)
}

// BenchmarkSave includes the syncs of a real file system.
func BenchmarkSave(b *testing.B) {
	benchmark(b, func(b *testing.B, d *Dir, _ int, next func() func() ([]byte, error)) {
		for b.Loop() {
			if err := d.Save(metaAt(5), next()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpen reads from the page cache: it measures the verification.
func BenchmarkOpen(b *testing.B) {
	benchmark(b, func(b *testing.B, d *Dir, total int, next func() func() ([]byte, error)) {
		if err := d.Save(metaAt(5), next()); err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 64<<10)
		for b.Loop() {
			_, r, err := d.Open(metaAt(5).Last)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for err == nil {
				var k int
				k, err = r.Read(buf)
				n += k
			}
			r.Close()
			if err != io.EOF || n != total {
				b.Fatal(n, err)
			}
		}
	})
}
