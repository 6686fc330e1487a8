package feed

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// What the feed costs the applier for one write. The subscribers run beside it and
// take processor time of their own, which a machine with few cores shows as well.
func BenchmarkObserve(b *testing.B) {
	for _, subscribers := range []int{0, 1, 100} {
		for _, match := range []string{"all", "none"} {
			if subscribers == 0 && match == "none" {
				continue
			}
			b.Run(fmt.Sprintf("subscribers=%d/match=%s", subscribers, match), func(b *testing.B) {
				h := New(Config{}, 0)
				var all sync.WaitGroup
				for range subscribers {
					s, err := h.Subscribe(Options{Now: true, Match: func(*Event) bool { return match == "all" }})
					if err != nil {
						b.Fatal(err)
					}
					// Reads until the hub closes; awaited below. One that was cut off goes on where the feed is.
					all.Go(func() {
						for {
							if _, err := s.Next(b.Context(), nil); err != nil {
								s.Close()
								if errors.Is(err, ErrClosed) {
									return
								}
								if s, err = h.Subscribe(Options{Now: true, Match: s.match}); err != nil {
									return
								}
							}
						}
					})
				}
				c := set(0, "some-key")
				b.ReportAllocs()
				i := raft.Index(0)
				for b.Loop() {
					i++
					c.Index = i
					h.Observe(c)
				}
				b.StopTimer()
				b.ReportMetric(float64(h.Stats().Cut)/float64(b.N), "cuts/op")
				h.Close()
				all.Wait()
			})
		}
	}
}
