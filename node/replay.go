package node

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// String says in a line whose trace it is and why it was written.
func (t *TraceFile) String() string {
	events := 0
	for _, w := range t.windows {
		events += len(w.events)
	}
	return fmt.Sprintf("node %s, %s, %s: %s; %d events in %d windows",
		t.Name, time.Unix(0, int64(t.Time)).UTC().Format(time.RFC3339Nano), t.Version, t.Reason, events, len(t.windows))
}

// Show writes what was recorded, an event a line, and runs nothing.
func (t *TraceFile) Show(out io.Writer) error {
	for i, w := range t.windows {
		if _, err := fmt.Fprintf(out, "window %d of %d, begins with\n%s", i+1, len(t.windows), summary(w.start)); err != nil {
			return err
		}
		p := t.player(w)
		for p.more() {
			_, in := p.next()
			if _, err := fmt.Fprintf(out, "%d %s\n", p.at, in.text); err != nil {
				return err
			}
		}
	}
	return nil
}

// summary is the state of a core without its log.
func summary(r *raft.Raft) []byte {
	var b []byte
	for line := range bytes.Lines(r.AppendSummary(nil)) {
		if !bytes.HasPrefix(line, []byte(" ")) { // a part of what stands before
			b = append(append(b, "  "...), line...)
		}
	}
	return b
}

// Replayed is what came of a replay.
type Replayed struct {
	Events  int
	Outputs int    // compared with what was recorded
	Panic   string // with which the core ended at the last event; empty: it didn't
}

// Replay runs the recorded inputs through the core of this program, writes them
// to out with what comes out of them, and checks that this is what came out
// then, and that each window ends where the next one begins. The error says where
// they part. A panic at the very last event, whose result wasn't recorded, is what
// the trace was written for: it is told in Replayed.
func (t *TraceFile) Replay(out io.Writer) (Replayed, error) {
	var res Replayed
	for i, w := range t.windows {
		if _, err := fmt.Fprintf(out, "window %d of %d, begins with\n%s", i+1, len(t.windows), summary(w.start)); err != nil {
			return res, err
		}
		last := i == len(t.windows)-1
		core := w.start.Clone()
		p := t.player(w)
		for p.more() {
			res.Events++
			if err := p.play(core, out, &res); err != nil {
				return res, fmt.Errorf("window %d, event %d: %w", i+1, p.at, err)
			}
			if res.Panic != "" && (!last || p.more()) {
				return res, fmt.Errorf("window %d, event %d: the core panics, and did not then: %s", i+1, p.at, res.Panic)
			}
		}
		if last {
			break
		}
		if next := t.windows[i+1].start; !bytes.Equal(core.AppendImage(nil), next.AppendImage(nil)) {
			return res, fmt.Errorf("window %d ends with\n%s, and the next one begins with\n%s", i+1, summary(core), summary(next))
		}
	}
	return res, nil
}

// player goes through a window.
type player struct {
	w                        *window
	images                   *raft.ImageReader // its zeros stand for what was proposed
	at                       int               // events that were taken
	messages, metas, members int               // of them
}

func (t *TraceFile) player(w *window) player { return player{w: w, images: &t.images} }

func (p *player) more() bool { return p.at < len(p.w.events) }

// input is an event as a function of the core, and in words.
type input struct {
	text string
	do   func(*raft.Raft) string // what it answers, in words
}

// told makes words of what an input answers.
func told(v any, err error) string {
	if err != nil {
		return " -> " + err.Error()
	}
	return fmt.Sprintf(" -> %v", v)
}

func (p *player) next() (happening, input) {
	h := p.w.events[p.at]
	p.at++
	quiet := func(do func(*raft.Raft)) func(*raft.Raft) string {
		return func(r *raft.Raft) string { do(r); return "" }
	}
	switch h.kind {
	case evTick:
		return h, input{"tick", quiet((*raft.Raft).Tick)}
	case evReceive:
		m := p.w.messages[p.messages]
		p.messages++
		return h, input{"receive " + m.String(), quiet(func(r *raft.Raft) { r.Receive(m) })}
	case evPropose:
		return h, input{fmt.Sprintf("propose %d bytes at %d", h.a, h.b), func(r *raft.Raft) string {
			return told(r.Propose(p.images.Zeros(int(h.a)), raft.Time(h.b)))
		}}
	case evChangeMember:
		id := raft.NodeID(h.a)
		if !h.flag {
			return h, input{fmt.Sprintf("remove member %v", id), func(r *raft.Raft) string { return told(r.ChangeMember(id, nil)) }}
		}
		m := p.w.members[p.members]
		p.members++
		return h, input{fmt.Sprintf("change member %v to %+v", id, m), func(r *raft.Raft) string { return told(r.ChangeMember(id, &m)) }}
	case evRead:
		return h, input{fmt.Sprintf("read %d", h.a), func(r *raft.Raft) string { return told(r.Read(h.a)) }}
	case evTransfer:
		return h, input{fmt.Sprintf("transfer to %v", raft.NodeID(h.a)), func(r *raft.Raft) string { return told("ok", r.Transfer(raft.NodeID(h.a))) }}
	case evWrote:
		return h, input{fmt.Sprintf("wrote %d", h.a), quiet(func(r *raft.Raft) { r.Wrote(h.a) })}
	case evCompact:
		s := p.w.metas[p.metas]
		p.metas++
		return h, input{fmt.Sprintf("compact %v, keep from %d", s.Last, h.a), quiet(func(r *raft.Raft) { r.Compact(s, raft.Index(h.a)) })}
	case evInstalled:
		s := p.w.metas[p.metas]
		p.metas++
		return h, input{fmt.Sprintf("installed %v", s.Last), func(r *raft.Raft) string { return told(r.Installed(s), nil) }}
	case evFetching:
		id := raft.EntryID{Term: raft.Term(h.a), Index: raft.Index(h.b)}
		return h, input{fmt.Sprintf("fetching %v, %d bytes", id, h.c), quiet(func(r *raft.Raft) { r.Fetching(id, h.c) })}
	case evUnreachable:
		return h, input{fmt.Sprintf("unreachable %v", raft.NodeID(h.a)), quiet(func(r *raft.Raft) { r.Unreachable(raft.NodeID(h.a)) })}
	case evFull:
		return h, input{fmt.Sprintf("full %v", h.flag), quiet(func(r *raft.Raft) { r.SetFull(h.flag) })}
	case evLow:
		return h, input{fmt.Sprintf("low %v", h.flag), quiet(func(r *raft.Raft) { r.SetLow(h.flag) })}
	case evFence:
		return h, input{fmt.Sprintf("fence %d", h.a), quiet(func(r *raft.Raft) { r.SetFence(raft.Fence(h.a)) })}
	case evApplied:
		return h, input{fmt.Sprintf("applied %d", h.a), quiet(func(r *raft.Raft) { r.Applied(raft.Index(h.a)) })}
	}
	room := h.room()
	return h, input{fmt.Sprintf("output, room %+v", room), nil}
}

// play runs the next event, and tells it and what it leads to.
func (p *player) play(core *raft.Raft, out io.Writer, res *Replayed) (err error) {
	h, in := p.next()
	text := in.text
	defer func() {
		if v := recover(); v != nil {
			res.Panic = fmt.Sprint(v)
			text += "\n    panic: " + res.Panic
		}
		if _, werr := fmt.Fprintf(out, "%d %s\n", p.at, text); err == nil {
			err = werr
		}
	}()
	if h.kind != evOutput {
		text += in.do(core)
		return nil
	}
	o := core.Output(h.room())
	for line := range bytes.Lines([]byte(o.String())) {
		text += "\n    " + string(bytes.TrimRight(line, "\n"))
	}
	if h.b == 0 {
		return nil // it was under way when the trace was written
	}
	res.Outputs++
	if got := digest(&o); got != h.b {
		return fmt.Errorf("the output has digest %x, then it had %x", got, h.b)
	}
	return nil
}
