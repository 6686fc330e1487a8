package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/raftkv/raftkv/raft"
)

const (
	messageVersion = 1
	messageMax     = 64 << 10 // bytes of a request or reply
)

// The operations of a request.
const (
	opAsk   = "ask"   // who are you, and what do you know?
	opAdopt = "adopt" // you were added to this cluster
)

// request is what one node sends to another. Node and Name are the sender's
// with ask, the receiver's with adopt.
type request struct {
	Version int       `json:"version"`
	Op      string    `json:"op"`
	Node    uuid.UUID `json:"node"`
	Name    string    `json:"name"`
	Birth   *Birth    `json:"birth,omitempty"`
}

// reply answers a request.
type reply struct {
	Version int    `json:"version"`
	Error   string `json:"error,omitempty"`
	Refused bool   `json:"refused,omitempty"` // the error will not go away by itself

	// To ask.
	Node   uuid.UUID `json:"node"`
	Self   Place     `json:"self"`
	Join   bool      `json:"join,omitempty"`   // it waits to be added, founds nothing
	List   []Place   `json:"list,omitempty"`   // the configured voters, names and peer addresses only; not while Join
	First  uuid.UUID `json:"first"`            // who answered it at the first voter's address
	Birth  *Birth    `json:"birth,omitempty"`  // nil: it is empty
	Member bool      `json:"member,omitempty"` // the one who asks is in its configuration
}

// errMessage means that bytes are no message of this version.
var errMessage = errors.New("not a message that this binary knows")

func encodeMessage(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err == nil && len(b) > messageMax {
		err = fmt.Errorf("%d bytes, at most %d", len(b), messageMax)
	}
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return b, nil
}

// decodeMessage leaves unknown fields alone: a later release may add some.
func decodeMessage(b []byte, v any, version *int) error {
	if len(b) > messageMax {
		return fmt.Errorf("%d bytes, at most %d: %w", len(b), messageMax, errMessage)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", err, errMessage)
	}
	if *version != messageVersion {
		return fmt.Errorf("version %d, this binary speaks %d; upgrade the older node: %w", *version, messageVersion, errMessage)
	}
	return nil
}

// Answer serves a request of another node; it returns a message in any case.
// Every node serves it, before and after it has a Birth, on any goroutines.
func (id *Identity) Answer(body []byte) []byte {
	var q request
	var r reply
	err := decodeMessage(body, &q, &q.Version)
	if err == nil {
		r, err = id.answer(q)
	}
	if err != nil {
		r = reply{Error: err.Error(), Refused: errors.Is(err, ErrRefused)}
	}
	r.Version = messageVersion
	b, err := encodeMessage(r)
	if err != nil {
		// The bounds of names and addresses keep a reply below its limit.
		b, _ = encodeMessage(reply{Version: messageVersion, Error: err.Error()})
	}
	return b
}

func (id *Identity) answer(q request) (reply, error) {
	switch q.Op {
	case opAsk:
		return id.describe(q)
	case opAdopt:
		return reply{}, id.adopt(q)
	}
	return reply{}, fmt.Errorf("operation %q: %w", q.Op, errMessage)
}

// describe answers ask.
func (id *Identity) describe(q request) (reply, error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.failed != nil {
		return reply{}, fmt.Errorf("this node's disk fails: %w", id.failed)
	}
	r := reply{Node: id.rec.Node, Self: id.cfg.Self, Join: id.cfg.Join, First: id.first, Birth: id.rec.Birth}
	if !id.cfg.Join && r.Birth == nil {
		for _, p := range id.cfg.Voters {
			r.List = append(r.List, Place{Name: p.Name, Peer: p.Peer})
		}
	}
	if id.member != nil && r.Birth != nil && q.Node != uuid.Nil {
		r.Member = id.member(NodeIDOf(q.Node))
	}
	return r, nil
}

// adopt takes the word of a member that this node was added.
func (id *Identity) adopt(q request) error {
	if q.Birth == nil {
		return fmt.Errorf("adopt without a birth: %w", errMessage)
	}
	rec := id.Record()
	if q.Node != rec.Node || q.Name != rec.Name {
		return fmt.Errorf("this is node %q with identity %v, not %q with %v: add it again: %w", rec.Name, rec.Node, q.Name, q.Node, ErrRefused)
	}
	id.mu.Lock()
	seen := id.seen
	id.mu.Unlock()
	if rec.Birth == nil && seen != uuid.Nil && seen != q.Birth.Cluster {
		return fmt.Errorf("the nodes in cluster.voters of node %q belong to cluster %v, not to %v: %w", rec.Name, seen, q.Birth.Cluster, ErrRefused)
	}
	return id.StoreBirth(q.Birth, true)
}

// Info is what a node says about itself.
type Info struct {
	Node    uuid.UUID
	ID      raft.NodeID
	Place             // as it is configured there
	Empty   bool      // it has no cluster yet
	Cluster uuid.UUID // zero if Empty
}

// Ask asks the node at a peer address who it is: for adding it to the cluster. id is the asker's.
func Ask(ctx context.Context, exchange Exchanger, id *Identity, addr string) (Info, error) {
	rec := id.Record()
	r, err := ask(ctx, exchange, rec, addr)
	if err != nil {
		return Info{}, fmt.Errorf("ask the node at %s: %w", addr, err)
	}
	info := Info{Node: r.Node, ID: NodeIDOf(r.Node), Place: r.Self, Empty: r.Birth == nil}
	if r.Birth != nil {
		info.Cluster = r.Birth.Cluster
	}
	return info, nil
}

// Adopt tells the node at a peer address that it, with this UUID and name, was
// added to the cluster of id. Telling it again does no harm. The error wraps
// ErrRefused if the node there is another one or belongs to another cluster.
func Adopt(ctx context.Context, exchange Exchanger, id *Identity, addr string, node uuid.UUID, name string) error {
	_, err := send(ctx, exchange, addr, request{Op: opAdopt, Node: node, Name: name, Birth: id.Birth()})
	if err != nil {
		return fmt.Errorf("tell node %q at %s that it was added: %w", name, addr, err)
	}
	return nil
}

func ask(ctx context.Context, exchange Exchanger, rec Record, addr string) (reply, error) {
	r, err := send(ctx, exchange, addr, request{Op: opAsk, Node: rec.Node, Name: rec.Name})
	if err != nil {
		return reply{}, err
	}
	if r.Node == uuid.Nil || r.Self.Name == "" {
		return reply{}, fmt.Errorf("reply names no node: %w", errMessage)
	}
	if r.Birth != nil {
		if err := r.Birth.validate(); err != nil {
			return reply{}, fmt.Errorf("reply: %w", err)
		}
	}
	return r, nil
}

// send carries one request. The other node's error is an error here too.
func send(ctx context.Context, exchange Exchanger, addr string, q request) (reply, error) {
	q.Version = messageVersion
	b, err := encodeMessage(q)
	if err != nil {
		return reply{}, err
	}
	b, err = exchange(ctx, addr, b)
	if err != nil {
		return reply{}, err
	}
	var r reply
	if err := decodeMessage(b, &r, &r.Version); err != nil {
		return reply{}, fmt.Errorf("reply: %w", err)
	}
	switch {
	case r.Refused:
		return reply{}, fmt.Errorf("it says: %s: %w", r.Error, ErrRefused)
	case r.Error != "":
		return reply{}, fmt.Errorf("it says: %s", r.Error)
	}
	return r, nil
}
