package raft_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/fuzztest"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/rafttest"
)

// blank makes the data of commands zeros, as they come back from a state.
func blank(es []raft.Entry) []raft.Entry {
	var out []raft.Entry
	for _, e := range es {
		if e.Type != raft.EntryConfig && len(e.Data) > 0 {
			e.Data = make([]byte, len(e.Data))
		}
		out = append(out, e)
	}
	return out
}

// A core that was written and read is the same core: it has the same text, but
// for users' data, and does the same for ever.
func TestImageIsWhole(t *testing.T) {
	fields := map[string]bool{}
	busy(t, 600, func(c *rafttest.Cluster, n *rafttest.Node, rnd *rand.Rand) {
		b := n.Core.AppendImage(nil)
		got, err := new(raft.ImageReader).Core(b)
		if err != nil {
			t.Fatal(err)
		}
		if again := got.AppendImage(nil); !bytes.Equal(b, again) {
			t.Fatalf("the bytes changed on the way:\n%x\n%x", b, again)
		}
		// A second way round compares the texts: the data is zeros on both sides then.
		want, err := new(raft.ImageReader).Core(got.AppendImage(nil))
		if err != nil {
			t.Fatal(err)
		}
		if x, y := text(n.Core), text(got); x != y {
			t.Fatalf("the core changed on the way:\n%s\n%s", x, y)
		}
		seed := rnd.Uint64()
		for _, r := range []*raft.Raft{got, want} {
			mutate(r, c, n, rand.New(rand.NewPCG(seed, 1)))
		}
		live := n.Core.Clone()
		mutate(live, c, n, rand.New(rand.NewPCG(seed, 1)))
		if x, y := text(live), text(got); x != y {
			t.Fatalf("the core goes on in another way:\n%s\n%s", x, y)
		}
		leaves(reflect.ValueOf(n.Core.Clone()).Elem(), "Raft", func(path string, _ func()) { fields[path] = true })
	})
	if len(fields) < 80 {
		t.Errorf("only %d fields had something in them", len(fields))
	}
}

// Every field of a core shows in its image, but for the data of commands.
func TestImageCoversEveryField(t *testing.T) {
	missed, seen := map[string]bool{}, map[string]bool{}
	busy(t, 400, func(c *rafttest.Cluster, n *rafttest.Node, rnd *rand.Rand) {
		if rnd.IntN(20) > 0 {
			return
		}
		r := n.Core.Clone()
		before := r.AppendImage(nil)
		leaves(reflect.ValueOf(r).Elem(), "Raft", func(path string, flip func()) {
			flip()
			if seen[path] = true; bytes.Equal(before, r.AppendImage(nil)) && !strings.HasSuffix(path, ".Data[]") {
				missed[path] = true
			}
			flip()
		})
	})
	for path := range missed {
		t.Errorf("AppendImage leaves out %s", path)
	}
	if len(seen) < 80 {
		t.Errorf("only %d fields were looked at", len(seen))
	}
}

// logLine is a line of AppendText that shows a no-op or a command; the data is the last part.
var logLine = regexp.MustCompile(`(?m)^( \d+/\d+ [12] \d+) ".*"$`)

// text is a core's text without the data of commands.
func text(r *raft.Raft) string { return logLine.ReplaceAllString(string(r.AppendText(nil)), "$1") }

// claimed is what a reader of images may allocate whatever it reads: the zeros that
// stand for data, up to the GiB that an entry may claim, and the smaller ones before.
const claimed = 2 << 30

// Whatever the bytes are, only errors come back.
func FuzzReadImage(f *testing.F) {
	c := rafttest.New(3)
	f.Add(c.Nodes[0].Core.AppendImage(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r *raft.Raft
		var err error
		fuzztest.Bounded(t, len(b), claimed+64<<10, 512, func() { r, err = new(raft.ImageReader).Core(b) })
		if err != nil {
			if !errors.Is(err, raft.ErrMalformed) {
				t.Fatalf("%v is not ErrMalformed", err)
			}
			return
		}
		if again := r.AppendImage(nil); len(again) > len(b) {
			t.Fatalf("%d bytes became %d", len(b), len(again))
		}
	})
}

// The length of a command's data is all that a trace keeps of it. Many entries that
// claim much cost what the largest claims: they share zeros.
func TestClaimedDataIsShared(t *testing.T) {
	const size = 16 << 20
	data := make([]byte, size+100)
	var bs [][]byte
	for k := range 10 {
		m := raft.Message{Kind: raft.MsgAppend, Term: 1}
		for i := range 10 {
			m.Entries = append(m.Entries, raft.Entry{Type: raft.EntryCommand, Data: data[:size+10*k+i]})
		}
		bs = append(bs, raft.AppendTraceMessage(nil, &m))
	}
	var reader raft.ImageReader
	fuzztest.Bounded(t, 0, 4*size, 0, func() {
		for k, b := range bs {
			if m, err := reader.Message(b); err != nil || len(m.Entries[9].Data) != size+10*k+9 {
				t.Fatalf("message %d: %d entries, %v", k, len(m.Entries), err)
			}
		}
	})
}

func TestTraceMessages(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	meta := raft.SnapshotMeta{Last: raft.EntryID{Term: 3, Index: 9}, Config: raft.Configuration{Members: []raft.Member{{ID: 1, Name: "a"}}}}
	for range 200 {
		var m raft.Message
		v := reflect.ValueOf(&m).Elem()
		for i := range v.NumField() {
			fill(v.Field(i), rnd)
		}
		if m.Snapshot != nil {
			m.Snapshot = &meta
		}
		for i := range m.Entries {
			m.Entries[i].Type = raft.EntryType(1 + rnd.IntN(3))
		}
		got, err := new(raft.ImageReader).Message(raft.AppendTraceMessage(nil, &m))
		if err != nil {
			t.Fatal(err)
		}
		m.Entries = blank(m.Entries)
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("got %+v\nwant %+v", got, m)
		}
	}
}

// fill puts something into a field of a message.
func fill(v reflect.Value, rnd *rand.Rand) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), rnd)
		}
	case reflect.Pointer:
		if rnd.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
		}
	case reflect.Slice:
		n := rnd.IntN(4)
		if n == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), rnd)
		}
	case reflect.Bool:
		v.SetBool(rnd.IntN(2) == 0)
	case reflect.Uint8:
		v.SetUint(rnd.Uint64N(200))
	case reflect.Uint64:
		v.SetUint(rnd.Uint64() >> rnd.IntN(64))
	case reflect.Int64:
		v.SetInt(rnd.Int64())
	default:
		panic("cannot fill a " + v.Kind().String())
	}
}
