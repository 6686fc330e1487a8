package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
)

// machine is a Machine whose state is the list of commands that were applied.
// A query answers that list. "due N" sets a deadline, which the time entry clears.
type machine struct {
	list    []string
	applied raft.EntryID
	now     raft.Time
	due     raft.Time
	frozen  []byte
	poison  string
	level   uint32
	twist   string // a command that this machine applies wrongly
}

func (m *machine) Apply(e raft.Entry, dst []byte) []byte {
	m.applied, m.now = e.EntryID, e.Time
	if m.due > 0 && m.now >= m.due {
		m.due = 0
	}
	if e.Type != raft.EntryCommand {
		return dst
	}
	cmd := string(e.Data)
	if m.poison != "" && cmd == m.poison {
		panic("poison")
	}
	if cmd == "tick" || cmd == "verify" {
		return dst
	}
	if m.twist != "" && cmd == m.twist {
		cmd += " wrongly"
	}
	fmt.Sscanf(cmd, "due %d", &m.due)
	fmt.Sscanf(cmd, "level %d", &m.level)
	m.list = append(m.list, cmd)
	return append(append(dst, "ok "...), cmd...)
}

func (m *machine) Query(_, dst []byte) []byte    { return append(dst, strings.Join(m.list, ",")...) }
func (m *machine) Applied() raft.EntryID         { return m.applied }
func (m *machine) Now() raft.Time                { return m.now }
func (m *machine) Deadline() (raft.Time, bool)   { return m.due, m.due > 0 }
func (m *machine) TickCommand(dst []byte) []byte { return append(dst, "tick"...) }
func (m *machine) Hash() [16]byte {
	h := fnv.New128a()
	h.Write([]byte(strings.Join(m.list, ",")))
	return [16]byte(h.Sum(nil))
}
func (m *machine) Level() uint32 { return max(m.level, 1) }

func (m *machine) Freeze() error {
	m.frozen = []byte(strings.Join(m.list, ","))
	return nil
}

func (m *machine) Step(dst []byte, max int) ([]byte, bool, error) {
	n := min(max, len(m.frozen))
	dst = append(dst, m.frozen[:n]...)
	m.frozen = m.frozen[n:]
	return dst, len(m.frozen) == 0, nil
}

func (m *machine) Thaw() { m.frozen = nil }

func (m *machine) Restore(meta raft.SnapshotMeta, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.list = nil
	if len(b) > 0 {
		m.list = strings.Split(string(b), ",")
	}
	m.applied, m.now = meta.Last, meta.Time
	return nil
}

// disk is what survives a restart.
type disk struct {
	raft.Durable
	files map[raft.EntryID]file
}

type file struct {
	meta raft.SnapshotMeta
	b    []byte
}

func (d *disk) Write(w *raft.Write) error {
	d.Seq, d.State, d.Fence = w.Seq, w.State, w.Fence
	if w.Reset {
		d.Entries, d.Base = nil, w.Base
	}
	if len(w.Entries) > 0 {
		from := int(w.Entries[0].Index - d.Base.Index - 1)
		d.Entries = append(slices.Clone(d.Entries[:from]), w.Entries...)
	}
	if w.Base.Index > d.Base.Index {
		d.Entries = slices.Clone(d.Entries[w.Base.Index-d.Base.Index:])
		d.Base = w.Base
	}
	return nil
}

func (d *disk) keep(meta raft.SnapshotMeta, b []byte) {
	d.files[meta.Last] = file{meta, b}
	if meta.Last.Index > d.Snapshot.Last.Index {
		d.Snapshot = meta
	}
}

func (d *disk) Open(last raft.EntryID) (raft.SnapshotMeta, io.ReadCloser, error) {
	f, ok := d.files[last]
	if !ok {
		return raft.SnapshotMeta{}, nil, fmt.Errorf("no snapshot %v", last)
	}
	return f.meta, io.NopCloser(bytes.NewReader(f.b)), nil
}

func (d *disk) Save(meta raft.SnapshotMeta, next func() ([]byte, error)) error {
	var all []byte
	for {
		b, err := next()
		if err == io.EOF {
			d.keep(meta, all)
			return nil
		}
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
}

func (d *disk) Receive(ctx context.Context, meta raft.SnapshotMeta,
	open func(ctx context.Context, offset uint64) (io.ReadCloser, error), progress func(uint64)) error {
	r, err := open(ctx, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	progress(uint64(len(b)))
	d.keep(meta, b)
	return nil
}

// host is a Replica with ports that the test moves by hand. It is the Driver and
// the Saver of its node.
type host struct {
	t       testing.TB
	c       *cluster
	id      raft.NodeID
	cfg     Config
	disk    *disk
	m       *machine
	a       *Applier
	r       *Replica
	metrics *Metrics

	writes  []*raft.Write
	jobs    []*Job
	fetch   *raft.Install
	saving  *raft.SnapshotMeta
	saved   []byte
	events  []Event
	members raft.Configuration
	fatal   error

	hungDisk, hungApplier, badSave, down bool

	twist   string     // of its machines
	refetch raft.Index // its own state is not to be used
}

// packet is on its way; conn numbers are pairs of nodes.
type packet struct {
	from, to raft.NodeID
	b        []byte
}

// cluster is some hosts in one goroutine.
type cluster struct {
	t       testing.TB
	hosts   []*host
	msgs    []raft.Message
	packets []packet
	wall    raft.Time

	cut      func(from, to raft.NodeID) bool // messages and packets that get lost
	refuse   func(from, to raft.NodeID) bool // SendPacket says so
	standing raft.NodeID                     // if set, only it asks for votes
	hold     bool                            // packets stay under way
}

func testConfig(id raft.NodeID) Config {
	cfg := DefaultConfig()
	cfg.Raft.ID, cfg.Raft.Boot, cfg.Raft.Seed = id, uint64(id)*100+1, uint64(id)
	cfg.Raft.ElectionTicks, cfg.Raft.HeartbeatTicks = 10, 1
	cfg.RequestTicks = 100
	cfg.SnapshotEntries, cfg.SnapshotBytes, cfg.TrailingEntries, cfg.MaxTrailingEntries = 0, 0, 0, 1<<20
	cfg.SnapshotRetryTicks = 10
	return cfg
}

func birth(n int) raft.SnapshotMeta {
	var c raft.Configuration
	for i := range n {
		id := raft.NodeID(i + 1)
		c.Members = append(c.Members, raft.Member{ID: id, Name: fmt.Sprintf("n%d", id), Peer: fmt.Sprintf("h%d:1", id)})
	}
	return raft.SnapshotMeta{Config: c}
}

func newCluster(t testing.TB, n int, change func(*Config)) *cluster {
	c := &cluster{t: t, wall: 1_000_000_000_000}
	for i := range n {
		h := &host{t: t, c: c, id: raft.NodeID(i + 1), cfg: testConfig(raft.NodeID(i + 1))}
		if change != nil {
			change(&h.cfg)
		}
		h.disk = &disk{files: map[raft.EntryID]file{}}
		h.disk.Snapshot = birth(n)
		c.hosts = append(c.hosts, h)
		h.start()
	}
	return c
}

func (h *host) start() {
	h.m, h.metrics = &machine{twist: h.twist}, &Metrics{}
	d := h.disk.Durable
	if h.refetch > 0 {
		d.Snapshot, d.Refetch = birth(len(h.c.hosts)), h.refetch
	}
	if d.Snapshot.Last.Index > 0 {
		if err := restore(h.m, d.Snapshot, h.disk.Open); err != nil {
			h.t.Fatal(err)
		}
	}
	h.a = NewApplier(h.m, d.Snapshot, h, h.metrics, h.disk.Open)
	r, err := NewReplica(h.cfg, d, h, h.metrics, []byte("tick"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.r = r
}

// restart kills the host and starts it from its disk.
func (h *host) restart() {
	h.writes, h.jobs, h.fetch, h.saving, h.saved, h.events = nil, nil, nil, nil, nil, nil
	h.cfg.Raft.Boot++
	h.start()
}

func (h *host) WriteLog(w *raft.Write)                   { h.writes = append(h.writes, w) }
func (h *host) Apply(j *Job)                             { h.jobs = append(h.jobs, j) }
func (h *host) Fetch(f raft.NodeID, m raft.SnapshotMeta) { h.fetch = &raft.Install{From: f, Meta: m} }
func (h *host) StopFetch()                               {}
func (h *host) Fatal(err error)                          { h.fatal = err }
func (h *host) SetMembers(c raft.Configuration)          { h.members = c }
func (h *host) Send(ms []raft.Message)                   { h.c.msgs = append(h.c.msgs, ms...) }
func (h *host) Begin(m raft.SnapshotMeta)                { h.saving, h.saved = &m, nil }
func (h *host) Room() bool                               { return !h.badSave }
func (h *host) Part(max int) []byte                      { return make([]byte, 0, max) }
func (h *host) Abort(err error) {
	if h.saving != nil {
		h.events = append(h.events, Saved{Meta: *h.saving, Err: err})
		h.saving = nil
	}
}

func (h *host) Put(b []byte, last bool) {
	h.saved = append(h.saved, b...)
	if last {
		h.disk.keep(*h.saving, h.saved)
		h.events = append(h.events, Saved{Meta: *h.saving, Bytes: uint64(len(h.saved))})
		h.saving = nil
	}
}

func (h *host) SendPacket(to raft.NodeID, _ uint64, b []byte) (uint64, error) {
	if h.c.refuse != nil && h.c.refuse(h.id, to) {
		return 0, errors.New("no connection")
	}
	h.c.packets = append(h.c.packets, packet{h.id, to, b})
	return connOf(h.id, to), nil
}

func connOf(a, b raft.NodeID) uint64 { return uint64(min(a, b))*1000 + uint64(max(a, b)) }

func (c *cluster) host(id raft.NodeID) *host { return c.hosts[id-1] }

// settle moves everything until nothing is left to do.
func (c *cluster) settle() {
	c.t.Helper()
	for range 10_000 {
		if !c.step() {
			return
		}
	}
	c.t.Fatal("the cluster does not come to rest")
}

func (c *cluster) step() bool {
	some := false
	msgs := c.msgs
	c.msgs = nil
	for _, m := range msgs {
		if (m.Kind == raft.MsgVote || m.Kind == raft.MsgPreVote) && c.standing != raft.None && m.From != c.standing {
			continue
		}
		if h := c.host(m.To); !h.down && !c.host(m.From).down && (c.cut == nil || !c.cut(m.From, m.To)) {
			h.r.Handle(Received{Messages: []raft.Message{m}})
			some = true
		}
	}
	if !c.hold {
		packets := c.packets
		c.packets = nil
		for _, p := range packets {
			c.deliver(p)
			some = true
		}
	}
	for _, h := range c.hosts {
		if !h.down {
			some = h.step() || some
			h.r.Flush()
			some = some || !h.hungDisk && len(h.writes) > 0 || !h.hungApplier && len(h.jobs) > 0 || len(h.events) > 0
		}
	}
	return some || len(c.msgs) > 0 || len(c.packets) > 0 && !c.hold
}

func (c *cluster) deliver(p packet) {
	if h := c.host(p.to); !h.down && (c.cut == nil || !c.cut(p.from, p.to)) {
		h.r.Handle(Packet{From: p.from, Conn: connOf(p.from, p.to), Bytes: p.b})
	}
}

func (h *host) step() bool {
	some := false
	if !h.hungDisk && len(h.writes) > 0 {
		w := h.writes[0]
		h.writes = h.writes[1:]
		_ = h.disk.Write(w)
		h.r.Handle(Wrote{Seq: w.Seq, Took: time.Millisecond})
		some = true
	}
	if !h.hungApplier && len(h.jobs) > 0 {
		j := h.jobs[0]
		h.jobs = h.jobs[1:]
		h.a.Do(j)
		h.r.Handle(JobDone{Job: j})
		some = true
	}
	if !h.hungApplier && h.a.Step(3) {
		some = true
	}
	events := h.events
	h.events = nil
	for _, ev := range events {
		h.r.Handle(ev)
		some = true
	}
	if f := h.fetch; f != nil {
		h.fetch = nil
		some = true
		src, ok := h.c.host(f.From).disk.files[f.Meta.Last]
		if !ok {
			h.r.Handle(Fetched{Meta: f.Meta, Err: errors.New("no such file")})
		} else {
			h.r.Handle(FetchProgress{Last: f.Meta.Last, Bytes: 1})
			h.disk.keep(src.meta, src.b)
			h.r.Handle(Fetched{Meta: f.Meta})
		}
	}
	return some
}

// tick lets n ticks of 10 ms pass everywhere, with everything settled between.
func (c *cluster) tick(n int) {
	c.t.Helper()
	for range n {
		c.wall += raft.Time(10 * time.Millisecond)
		for _, h := range c.hosts {
			if !h.down {
				h.r.Handle(Tick{Elapsed: 10 * time.Millisecond, Wall: c.wall})
			}
		}
		c.settle()
	}
}

// elect makes a host the leader: of those that stand, it alone is heard. An
// older leader's time stands still, so that it may go on believing.
func (c *cluster) elect(id raft.NodeID) *host {
	c.t.Helper()
	h := c.host(id)
	c.standing = id
	defer func() { c.standing = raft.None }()
	for range 200 {
		if h.r.leads() {
			c.tick(2) // followers hear of it
			return h
		}
		for _, o := range c.hosts {
			if !o.r.leads() && !o.down {
				o.r.Handle(Tick{Elapsed: 10 * time.Millisecond, Wall: c.wall})
			}
		}
		c.settle()
	}
	c.t.Fatalf("node %v is not elected", id)
	return nil
}

// client is a connection that records its replies.
type client struct {
	t       testing.TB
	h       *host
	conn    *Conn
	next    uint64
	replies map[uint64]Reply
	order   []uint64
	calls   int
}

func (k *client) Deliver(replies []Reply) {
	k.calls++
	for _, p := range replies {
		if old, twice := k.replies[p.Slot]; twice {
			k.t.Errorf("slot %d answered twice: %v, then %v", p.Slot, old, p)
		}
		k.replies[p.Slot] = p
		k.order = append(k.order, p.Slot)
	}
}

func (h *host) client() *client {
	k := &client{t: h.t, h: h, replies: map[uint64]Reply{}}
	k.conn = NewConn(k)
	return k
}

// submit sends one pipeline: "r" is a read, "s" a stale read, all else a write.
func (k *client) submit(cmds ...string) {
	var q []Request
	for _, cmd := range cmds {
		k.next++
		kind := Write
		switch cmd {
		case "r":
			kind = Read
		case "s":
			kind = StaleRead
		}
		q = append(q, Request{Kind: kind, Data: []byte(cmd), Slot: k.next})
	}
	k.h.r.Handle(&Submitted{Conn: k.conn, Requests: q})
	clear(q) // the slice is the caller's again
}

// want checks all replies so far, as "1:ok a 2:not applied(no leader...)".
func (k *client) want(want string) {
	k.t.Helper()
	var parts []string
	for slot := uint64(1); slot <= k.next; slot++ {
		p, ok := k.replies[slot]
		switch {
		case !ok:
			parts = append(parts, "-")
		case p.Outcome == Applied:
			parts = append(parts, string(p.Result))
		default:
			parts = append(parts, p.Outcome.String())
		}
	}
	if got := strings.Join(parts, "|"); got != want {
		k.t.Errorf("replies %q, want %q", got, want)
		for slot, p := range k.replies {
			if p.Err != nil {
				k.t.Logf("slot %d: %v", slot, p.Err)
			}
		}
	}
}

func (k *client) err(slot uint64) error { return k.replies[slot].Err }

// wantAll checks the state of every host that is up.
func (c *cluster) wantAll(want string) {
	c.t.Helper()
	for _, h := range c.hosts {
		if got := strings.Join(h.m.list, ","); !h.down && got != want {
			c.t.Errorf("node %v holds %q, want %q", h.id, got, want)
		}
	}
}
