package feed

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

// What a write costs the applier without a feed, and with one that 0 or 100
// subscribers read. What these need for themselves shows too, on a machine with few cores.
func BenchmarkApply(b *testing.B) {
	for _, subscribers := range []int{-1, 0, 100} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			m := statemachine.New(statemachine.DefaultLimits())
			var all sync.WaitGroup
			if subscribers >= 0 {
				h := New(Config{}, 0)
				m.Observe(h.Observe)
				defer all.Wait()
				defer h.Close()
				for range subscribers {
					all.Go(func() { follow(b, h) })
				}
			}
			var cmds [][]byte
			for i := range 1 << 12 {
				cmds = append(cmds, statemachine.AppendCommand(nil, statemachine.Command{
					Op: statemachine.OpSet, Args: [][]byte{fmt.Appendf(nil, "key:%012d", i), make([]byte, 256)}}))
			}
			e := raft.Entry{EntryID: raft.EntryID{Term: 1}, Type: raft.EntryCommand, Time: 1}
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				e.Index++
				e.Data = cmds[int(e.Index)%len(cmds)]
				out = m.Apply(e, out[:0])
			}
			b.StopTimer()
		})
	}
}

// follow reads a prefix that nothing has until the hub closes, from where the feed is whenever it is cut off.
func follow(b *testing.B, h *Hub) {
	for {
		s, err := h.Subscribe(Options{Now: true, Match: func(e *Event) bool { return len(e.Key) > 0 && e.Key[0] == 'x' }})
		if err != nil {
			return
		}
		for err == nil {
			_, err = s.Next(b.Context(), nil)
		}
		s.Close()
		if errors.Is(err, ErrClosed) {
			return
		}
	}
}

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
