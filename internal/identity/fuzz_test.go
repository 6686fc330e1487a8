package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/raftkv/raftkv/internal/fuzztest"
)

// Whatever another node asks, the answer is a reply, and only a right birth is stored.
func FuzzAnswer(f *testing.F) {
	for _, q := range []request{
		{Version: 1, Op: opAsk, Node: uuid.UUID{1}, Name: "n2"},
		{Version: 1, Op: opAdopt, Name: "n1", Birth: &Birth{uuid.UUID{2}, []Voter{{uuid.UUID{3}, place(3)}}}},
	} {
		b, _ := json.Marshal(q)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		node := uuid.UUID{7}
		b, _ := encodeRecord(Record{Node: node, Name: "n1"})
		id, err := open(&memStore{bytes: b}, listed(3)[0])
		if err != nil {
			t.Fatal(err)
		}
		var answer []byte
		fuzztest.Bounded(t, len(body), 256<<10, 1<<10, func() { answer = id.Answer(body) })
		var r reply
		if err := decodeMessage(answer, &r, &r.Version); err != nil {
			t.Errorf("the answer is no reply: %v", err)
		}
		if birth := id.Birth(); birth != nil {
			if _, named := birth.Names(node); named || birth.validate() != nil || !id.Record().Joined {
				t.Errorf("stored %+v", birth)
			}
		}
	})
}

// Whatever another node answers: who asks gets a reply that names a node and holds
// together, or an error.
func FuzzReply(f *testing.F) {
	for _, r := range []reply{
		{Version: 1, Node: uuid.UUID{1}, Self: place(2), List: []Place{place(1), place(2)}, First: uuid.UUID{3}},
		{Version: 1, Node: uuid.UUID{1}, Self: place(2), Member: true, Birth: &Birth{uuid.UUID{2}, []Voter{{uuid.UUID{1}, place(2)}, {uuid.UUID{3}, place(3)}}}},
		{Version: 1, Error: "no", Refused: true},
	} {
		b, _ := json.Marshal(r)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		exchange := func(context.Context, string, []byte) ([]byte, error) { return body, nil }
		rec := Record{Node: uuid.UUID{7}, Name: "n1"}
		var r reply
		var err error
		fuzztest.Bounded(t, len(body), 256<<10, 1<<10, func() { r, err = ask(t.Context(), exchange, rec, "h:1") })
		if err != nil {
			return
		}
		if r.Node == uuid.Nil || r.Self.Name == "" || r.Error != "" || r.Refused || r.Birth != nil && r.Birth.validate() != nil {
			t.Errorf("taken: %+v", r)
		}
	})
}

// Whatever the identity file holds below its checksum: an identity that is written
// again as the same, or an error that says whether it is damage.
func FuzzRecord(f *testing.F) {
	for _, r := range []Record{
		{Node: uuid.UUID{1}, Name: "n1"},
		{Node: uuid.UUID{1}, Name: "n1", Birth: &Birth{uuid.UUID{2}, []Voter{{uuid.UUID{1}, place(1)}, {uuid.UUID{3}, place(3)}}}},
		{Node: uuid.UUID{7}, Name: "n7", Joined: true, Birth: &Birth{uuid.UUID{2}, []Voter{{uuid.UUID{1}, place(1)}}}},
	} {
		b, _ := encodeRecord(r)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		var err error
		fuzztest.Bounded(t, len(b), 64<<10, 1<<10, func() { r, err = decodeRecord(b) })
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrRefused) {
				t.Error(err)
			}
			return
		}
		first, err := encodeRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeRecord(first)
		if err != nil {
			t.Fatalf("%s is read, and written as %s it is not: %v", b, first, err)
		}
		if second, err := encodeRecord(again); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s became %s, %v", first, second, err)
		}
	})
}
