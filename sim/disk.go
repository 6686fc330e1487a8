package sim

import (
	"errors"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/snapshot"
)

// drive is how the disk of a host behaves. Its content is host.disk and host.fs.
type drive struct {
	slowest  time.Duration // of a write
	slow     time.Duration // until then writes take up to 400 ms
	hung     time.Duration // until then it does nothing
	held     bool          // nor does it until release
	fails    bool          // the next write fails
	damaged  bool          // stored bytes of the log are not what was written
	ghost    bool          // it was made to forget, and is fenced or on its way to be
	amnesiac bool          // it was wiped under its old identity
	lostFile bool          // its newest snapshot was damaged, or set aside
	rotting  bool          // the next value of a key "rot-" will not be what was written
	rotten   bool          // and is not: its state is wrong, which only a comparison shows
	wrong    bool          // so is its newest snapshot, which outlives a state that has become right again

	since   time.Duration // start of the write under way
	landing bool
	waiting bool // held, and the write under way would be done
}

// reset is what a start of the process changes.
func (d *drive) reset() { d.landing, d.fails, d.held, d.waiting = false, false, false, false }

var errDisk = errors.New("input/output error")

// WriteLog implements node.Driver.
func (h *host) WriteLog(x *raft.Write) {
	w := h.w
	if h.drive.fails {
		h.drive.fails = false
		w.count.Seen["disk-error"]++
		h.disk.Fail(errDisk)
	}
	h.asked = x.Seq
	if n := len(x.Entries); n > 0 {
		h.given = x.Entries[n-1].Index
	}
	w.rules.write(h, x)
	if err := h.disk.Submit(x); err != nil {
		h.Fatal(errors.Join(node.ErrStore, err))
		return
	}
	if w.perMille(w.plan.aimPromise) && !w.calm && h.promises(x) {
		w.count.Faults["crash-unsaved-promise"]++
		h.after(w.upTo(2*milli), func() {
			h.crash(pick(w, killed, powered))
			h.restartSoon()
		})
	}
	h.land()
}

// promises tells whether a write holds a term or vote that the disk doesn't have yet.
func (h *host) promises(x *raft.Write) bool {
	s, _ := h.disk.State()
	return x.State.Term != s.Term || x.State.Vote != s.Vote
}

// land begins the oldest write under way.
func (h *host) land() {
	w, d := h.w, &h.drive
	if d.landing {
		return
	}
	d.landing, d.since = true, w.now
	h.kernel(h.diskTime(), h.often.landed)
}

func (h *host) landed() {
	w, d := h.w, &h.drive
	if w.now < d.hung {
		h.kernel(d.hung-w.now, h.often.landed)
		return
	}
	if d.held {
		d.waiting = true
		return
	}
	seqs := h.disk.Flight()
	h.disk.Confirm(1)
	w.rules.stored(h)
	seq, took := seqs[0], w.now-d.since
	d.landing = false
	if len(seqs) > 1 {
		h.land()
	}
	// The process may hear of it later, and of several at once.
	ack := time.Duration(0)
	if w.plan.ackDelay > 0 && w.chance(4) {
		ack = w.upTo(w.plan.ackDelay)
	}
	h.after(ack, func() {
		h.input(func() {
			h.toldOf = max(h.toldOf, seq)
			h.loop.Wrote(seq, took)
		})
	})
}

// release lets a disk go on that was held.
func (h *host) release() {
	d := &h.drive
	d.held = false
	if d.waiting {
		d.waiting = false
		h.kernel(0, h.often.landed)
	}
}

// diskTime is how long one write takes: mostly near the least, sometimes near the most.
func (h *host) diskTime() time.Duration {
	w, p := h.w, &h.w.plan
	if w.calm {
		return w.between(100*micro, 2*milli)
	}
	if w.now < h.drive.slow {
		return w.upTo(400 * milli)
	}
	if w.perMille(p.diskSpikes) {
		w.count.Faults["disk-spike"]++
		return w.upTo(2 * time.Second)
	}
	d := p.diskMin
	for d < p.diskMax && w.chance(2) {
		d *= 2
	}
	return d/2 + w.upTo(d)
}

// crashDisk decides the fate of what was under way.
func (h *host) crashDisk(how ending) {
	w := h.w
	flight := len(h.disk.Flight())
	keep := 0
	for keep < flight && w.chance(2) {
		keep++
	}
	if keep < flight {
		w.count.Seen["lost-write"] += flight - keep
	}
	if keep > 0 {
		w.count.Seen["unheard-write"] += keep
	}
	h.disk.Crash(keep)
	if how == powered {
		h.fs.Crash(pick(w, snapshot.CrashLose, snapshot.CrashTear, snapshot.CrashKeep), w.rand)
	} else {
		h.fs.Crash(snapshot.CrashKeep, w.rand)
	}
	h.drive.reset()
	w.rules.stored(h)
}
