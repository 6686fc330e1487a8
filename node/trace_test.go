package node

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/raft"
)

// traced runs a chaotic cluster whose nodes record, and hands each node's trace to f.
func traced(t *testing.T, seeds int, f func(*Replica, *TraceFile)) {
	t.Helper()
	for seed := range seeds {
		w := newChaos(t, uint64(seed))
		for _, h := range w.hosts {
			h.cfg.TraceEvents, h.cfg.TraceBytes = 50+int(w.rand.Uint64N(2000)), 1<<20
			h.cfg.Name, h.cfg.Version = "n", "test"
			h.start() // nothing has happened yet
		}
		w.run()
		for _, h := range w.hosts {
			b, err := h.r.Trace("test", 5)
			if err != nil {
				t.Fatal(err)
			}
			file, err := ReadTrace(b)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			f(h.r, file)
		}
	}
}

// Whatever happens to a node, its trace plays the same again, and ends in the
// core that the node has.
func TestTraceReplays(t *testing.T) {
	kinds := map[happeningKind]int{}
	windows, outputs := map[int]int{}, 0
	traced(t, 15, func(r *Replica, file *TraceFile) {
		var out bytes.Buffer
		res, err := file.Replay(&out)
		if err != nil || res.Panic != "" {
			t.Fatalf("%v, panic %q\n%s", err, res.Panic, out.Bytes())
		}
		outputs += res.Outputs
		windows[len(file.windows)]++
		newest := file.windows[len(file.windows)-1]
		core, p := newest.start.Clone(), file.player(newest)
		for p.more() {
			if err := p.play(core, io.Discard, &res); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(core.AppendImage(nil), r.core.AppendImage(nil)) {
			t.Fatalf("the replay ends in\n%s, the node in\n%s", summary(core), summary(r.core.Raft))
		}
		for _, w := range file.windows {
			for _, h := range w.events {
				kinds[h.kind]++
			}
		}
		var shown bytes.Buffer
		if err := file.Show(&shown); err != nil || !bytes.Contains(shown.Bytes(), []byte("output, room")) {
			t.Fatalf("show: %v\n%s", err, shown.Bytes())
		}
	})
	t.Logf("%d outputs compared, events by kind %v, traces by windows %v", outputs, kinds, windows)
	for _, k := range []happeningKind{evTick, evReceive, evPropose, evRead, evWrote, evCompact, evApplied, evOutput} {
		if kinds[k] == 0 {
			t.Errorf("no event of kind %d was recorded", k)
		}
	}
	if windows[2] == 0 {
		t.Error("no trace had a second window")
	}
}

// A replay that differs is noticed: an input is missing, an output is another
// one, a window begins with something else.
func TestReplayNoticesDifferences(t *testing.T) {
	noticed := map[string]int{}
	traced(t, 3, func(_ *Replica, file *TraceFile) {
		for name, spoil := range map[string]func(w *window) bool{
			"a write was never confirmed": func(w *window) bool {
				for i := range w.events {
					if w.events[i].kind == evWrote {
						w.events[i].kind = evUnreachable
						return true
					}
				}
				return false
			},
			"another output": func(w *window) bool { w.events[len(w.events)-1] = happening{kind: evOutput, b: 1}; return true },
			"another start": func(w *window) bool {
				w.start.Tick()
				return len(file.windows) > 1
			},
		} {
			b := file.encode()
			spoiled, err := ReadTrace(b)
			if err != nil {
				t.Fatal(err)
			}
			if !spoil(spoiled.windows[len(spoiled.windows)-1]) {
				continue
			}
			if _, err := spoiled.Replay(io.Discard); err == nil {
				t.Errorf("%s: not noticed", name)
			}
			noticed[name]++
		}
	})
	if len(noticed) < 3 {
		t.Errorf("only %v was tried", noticed)
	}
}

// What ended the core ends the replay as well, and only then that is no fault.
func TestReplayOfAPanic(t *testing.T) {
	c := newCore(core1(t), 100, 1<<20)
	c.Tick()
	func() {
		defer func() {
			if recover() == nil {
				t.Fatal("the core took a confirmation of a write that it never made")
			}
		}()
		c.Wrote(99)
	}()
	r := &Replica{core: c}
	b, err := r.Trace("panic", 1)
	if err != nil {
		t.Fatal(err)
	}
	file, err := ReadTrace(b)
	if err != nil {
		t.Fatal(err)
	}
	res, err := file.Replay(io.Discard)
	if err != nil || !strings.Contains(res.Panic, "write 99 confirmed") {
		t.Errorf("panic %q, %v", res.Panic, err)
	}
	w := file.windows[0]
	w.events = append(w.events, happening{kind: evTick})
	if _, err := file.Replay(io.Discard); err == nil || !strings.Contains(err.Error(), "did not then") {
		t.Errorf("a panic in the middle: %v", err)
	}
}

func core1(t testing.TB) *raft.Raft {
	t.Helper()
	cfg := raft.DefaultConfig()
	cfg.ID, cfg.Boot = 1, 1
	r, err := raft.New(cfg, raft.Durable{Snapshot: raft.SnapshotMeta{Config: raft.Configuration{Members: []raft.Member{{ID: 1}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Windows are bounded in events and in bytes.
func TestWindowsAreBounded(t *testing.T) {
	c := newCore(core1(t), 100, 10_000)
	big := raft.Message{Kind: raft.MsgAppend, Entries: []raft.Entry{{Data: make([]byte, 3000)}}}
	for i := range 1000 {
		if i%7 == 0 {
			c.Receive(big)
		} else {
			c.Tick()
		}
		for _, w := range []*window{c.rec.older, c.rec.now} {
			if len(w.events) > 100 || w.bytes > 10_000+4000 {
				t.Fatalf("a window of %d events, %d bytes", len(w.events), w.bytes)
			}
		}
	}
	if c.rec.older.start == nil {
		t.Error("no window was ever full")
	}
}

// A trace is written while the core goes on, and is of one moment: the race
// detector looks on.
func TestTraceBesideARunningCore(t *testing.T) {
	c := newCore(core1(t), 200, 1<<20)
	done := make(chan struct{})
	// Owns the core. Ends with done.
	go func() {
		defer close(done)
		for i := range 3000 {
			if c.Tick(); i%3 == 0 {
				_, _ = c.Propose([]byte("x"), raft.Time(i))
			}
			out := c.Output(raft.Room{Write: true, Apply: 1 << 20})
			if out.Write != nil {
				c.Wrote(out.Write.Seq)
			}
		}
	}()
	traces := 0
	for running := true; running; traces++ {
		select {
		case <-done:
			running = false
		default:
		}
		b := (&TraceFile{windows: c.rec.windows()}).encode()
		file, err := ReadTrace(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Replay(io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if c.Commit() == 0 || c.rec.older.start == nil {
		t.Error("nothing was committed, or no window was full")
	}
	t.Logf("%d traces", traces)
}

// What an Output is asked with decides what it says: all of it is recorded.
func TestAllOfARoomIsRecorded(t *testing.T) {
	rooms := reflect.TypeFor[raft.Room]()
	for i := range rooms.NumField() {
		var room raft.Room
		switch f := reflect.ValueOf(&room).Elem().Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		default:
			f.SetInt(7)
		}
		c := newCore(core1(t), 10, 1<<20)
		c.Output(room)
		if got := c.rec.now.events[0].room(); got != room {
			t.Errorf("asked with %+v, recorded as %+v", room, got)
		}
	}
}

// A method of the core that changes it and is not recorded would spoil every
// replay: each must be known here, as recorded or as one that only looks.
func TestEveryInputIsRecorded(t *testing.T) {
	recorded := "Tick Receive Propose ChangeMember Read Transfer Wrote Compact Installed Fetching Unreachable SetFull SetLow SetFence Applied Output"
	looks := "AbsurdTerm AppendImage AppendState AppendSummary AppendText CheckChange Clone Commit Expire Hash LastTime Leader Log LowSpace Role Status Term Verify Within" // Expire is for model checkers
	outer, inner := reflect.TypeFor[*core](), reflect.TypeFor[*raft.Raft]()
	for i := range inner.NumMethod() {
		name := inner.Method(i).Name
		m, _ := outer.MethodByName(name)
		_, promoted := reflect.TypeFor[struct{ *raft.Raft }]().MethodByName(name)
		if !promoted {
			t.Fatalf("%s isn't promoted", name)
		}
		switch in := " " + name + " "; {
		case strings.Contains(" "+looks+" ", in):
		case strings.Contains(" "+recorded+" ", in):
			c := newCore(core1(t), 10, 1<<20)
			args := []reflect.Value{reflect.ValueOf(&c)}
			for k := 1; k < m.Type.NumIn(); k++ {
				args = append(args, reflect.Zero(m.Type.In(k)))
			}
			m.Func.Call(args)
			if len(c.rec.now.events) != 1 {
				t.Errorf("%s is not recorded", name)
			}
		default:
			t.Errorf("%s is new: record it in node/trace.go, or list it here as one that only looks", name)
		}
	}
}

// Commands in a trace are zeros of the same length. To show it costs nothing for them,
// however many the log of a node has.
func TestShowLeavesTheLogOut(t *testing.T) {
	core := core1(t)
	for core.Role() != raft.Leader {
		core.Tick()
		if out := core.Output(raft.Room{Write: true}); out.Write != nil {
			core.Wrote(out.Write.Seq)
		}
	}
	if _, err := core.Propose(make([]byte, 16<<20), 1); err != nil {
		t.Fatal(err)
	}
	b, err := (&Replica{core: newCore(core, 20, 1<<20)}).Trace("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	file, err := ReadTrace(b)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	fuzztest.Bounded(t, len(b), 1<<20, 64, func() {
		if err := file.Show(&out); err != nil {
			t.Fatal(err)
		}
	})
	if !strings.Contains(out.String(), "role leader") || strings.Contains(out.String(), `\x00`) {
		t.Errorf("%s", out.Bytes()[:min(out.Len(), 2000)])
	}
}

// What a trace claims of proposals costs their memory once, and not for each.
func TestReplayOfLargeProposals(t *testing.T) {
	c := newCore(core1(t), 100, 1<<20)
	for range 50 {
		c.note(happening{kind: evPropose, a: 16 << 20})
	}
	b, err := (&Replica{core: c}).Trace("claims", 1)
	if err != nil {
		t.Fatal(err)
	}
	file, err := ReadTrace(b)
	if err != nil {
		t.Fatal(err)
	}
	fuzztest.Bounded(t, 16<<20, 1<<20, 4, func() {
		if res, err := file.Replay(io.Discard); err != nil || res.Events != 50 {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// Whatever the bytes are, only errors come back, and what is read is written alike.
func FuzzReadTrace(f *testing.F) {
	c := newCore(core1(f), 20, 1<<20)
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		c.Tick()
		c.Receive(raft.Message{Kind: raft.MsgVote, From: 2, To: 1, Term: raft.Term(rnd.Uint64N(3))})
		c.Output(raft.Room{Write: true})
	}
	_, _ = c.ChangeMember(2, &raft.Member{ID: 2, Name: "x"})
	c.Installed(raft.SnapshotMeta{})
	b, err := (&Replica{core: c}).Trace("fuzz", 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:len(b)-4])
	f.Fuzz(func(t *testing.T, body []byte) {
		sealed := seal(body) // else nothing would get past the checksum
		var file *TraceFile
		var err error
		// Zeros stand for the data of commands: up to the GiB that one entry may claim, and fewer before.
		fuzztest.Bounded(t, len(sealed), 2<<30+256<<10, 1<<10, func() { file, err = ReadTrace(sealed) })
		if err != nil {
			if !errors.Is(err, ErrTrace) {
				t.Fatalf("%v is not ErrTrace", err)
			}
			return
		}
		again, err := ReadTrace(file.encode())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.encode(), file.encode()) {
			t.Fatal("it is written in two ways")
		}
		if err := file.Show(io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}
