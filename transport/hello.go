package transport

import (
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// The versions of the peer protocol that this binary speaks.
const (
	minProtocol = 1
	maxProtocol = 1
)

// Hello is who a node is. It is fixed from Start on.
type Hello struct {
	Cluster  [16]byte    // UUID of the cluster
	Node     [16]byte    // UUID of the data directory
	ID       raft.NodeID // incarnation, drawn from Node
	Name     string      // for people, at most 256 bytes
	Boot     uint64      // new at each start of the process, ascending, not zero
	MinLevel uint32      // levels of commands that this binary knows
	MaxLevel uint32
}

const maxNameBytes = 256

func (h Hello) validate() error {
	switch {
	case h.Cluster == [16]byte{} || h.Node == [16]byte{}:
		return errors.New("transport: Hello without the UUID of cluster or node")
	case h.ID == raft.None || h.Boot == 0:
		return errors.New("transport: Hello without ID or Boot")
	case len(h.Name) > maxNameBytes:
		return fmt.Errorf("transport: name of %d bytes, limit is %d", len(h.Name), maxNameBytes)
	case h.MinLevel > h.MaxLevel:
		return fmt.Errorf("transport: levels %d to %d", h.MinLevel, h.MaxLevel)
	}
	return nil
}

// purpose says what a connection is for. The numbers are on the wire.
type purpose uint8

const (
	purposeRaft     purpose = 1
	purposeFetch    purpose = 2
	purposeExchange purpose = 3
)

const helloMagic = "raftkv"

// wireHello opens a connection in both directions: first the dialler's, then the
// other's. In an exchange everything about identity is empty.
type wireHello struct {
	//lint:ignore U1000 the codec reads its tag by reflection
	_struct bool `codec:",toarray"`

	Magic      string
	MinVersion uint8
	MaxVersion uint8
	Version    uint8 // the answer: the version that is spoken
	Purpose    uint8
	To         uint64 // whom the dialler wants
	Cluster    []byte
	Node       []byte
	ID         uint64
	Name       string
	Addr       string // where this node says it is reached; for people
	Boot       uint64
	MinLevel   uint32
	MaxLevel   uint32
	MaxFrame   uint32
	Heard      uint64 // highest Message.Seq ever heard from the other
	DeadBoot   uint64 // the other's process and the latest of its epochs
	DeadEpoch  uint64 // that the dialler knows to be over, see peer.go
	Epoch      uint64 // the answer of the lower id: this connection stands under this number
}

// wireGo tells that the connection stands (lower id, dialler).
type wireGo struct {
	//lint:ignore U1000 the codec reads its tag by reflection
	_struct bool `codec:",toarray"`
	Epoch   uint64
}

func (w *wireHello) hello() Hello {
	return Hello{
		Cluster: uuid(w.Cluster), Node: uuid(w.Node), ID: raft.NodeID(w.ID),
		Name: w.Name, Boot: w.Boot, MinLevel: w.MinLevel, MaxLevel: w.MaxLevel,
	}
}

// uuid is b if that has 16 bytes, else zero, which no node has.
func uuid(b []byte) [16]byte {
	if len(b) != 16 {
		return [16]byte{}
	}
	return [16]byte(b)
}

// decodeHello reads a hello and checks what holds for every one.
func decodeHello(d *decoder, body []byte) (wireHello, error) {
	var w wireHello
	if err := d.value(body, &w); err != nil {
		return wireHello{}, err
	}
	switch {
	case w.Magic != helloMagic:
		return wireHello{}, fmt.Errorf("hello of another protocol: %w", errFrame)
	case len(w.Name) > maxNameBytes || len(w.Addr) > maxNameBytes:
		return wireHello{}, fmt.Errorf("hello with a name of %d and an address of %d bytes, limit is %d: %w",
			len(w.Name), len(w.Addr), maxNameBytes, errMessage)
	}
	return w, nil
}

// commonVersion is the highest version that both speak, 0 if there is none.
func commonVersion(w *wireHello) uint8 {
	v := min(w.MaxVersion, maxProtocol)
	if v < w.MinVersion || v < minProtocol {
		return 0
	}
	return v
}

// Code says why a connection was refused. The numbers are on the wire.
type Code uint8

// The refusals.
const (
	RefusedVersion   Code = 1  // no common protocol version
	RefusedCluster   Code = 2  // of another cluster
	RefusedSelf      Code = 3  // a node reached itself
	RefusedRemoved   Code = 4  // the id was removed from the cluster
	RefusedTwin      Code = 5  // another process speaks under the same identity
	RefusedAuth      Code = 6  // not authenticated
	RefusedNotReady  Code = 7  // the node has no identity yet
	RefusedDuplicate Code = 8  // a connection stands already; not a fault
	RefusedTarget    Code = 9  // the dialler wanted another node
	RefusedSnapshot  Code = 10 // that snapshot is not here (any more)
	RefusedBusy      Code = 11 // a limit is reached
	RefusedBytes     Code = 12 // malformed or unexpected bytes
	RefusedSource    Code = 13 // the snapshot could not be read
)

// RefusedError is a refusal, by the other side or by this one. Advice is one
// sentence for people.
type RefusedError struct {
	Code   Code
	Advice string
	theirs bool // the other side said it
	// RefusedDuplicate: the process that refuses, and its connection that stands.
	boot, epoch uint64
}

func (e *RefusedError) Error() string { return "refused: " + e.Advice }

// Is makes errors.Is(err, ErrNoSnapshot) work on the refusal of a fetch.
func (e *RefusedError) Is(target error) bool {
	return target == ErrNoSnapshot && e.Code == RefusedSnapshot
}

// ErrNoSnapshot tells that the source of a Fetch hasn't that snapshot: wait for a newer offer.
var ErrNoSnapshot = errors.New("the source has not that snapshot")

type wireRefusal struct {
	//lint:ignore U1000 the codec reads its tag by reflection
	_struct bool `codec:",toarray"`
	Code    uint8
	Advice  string
	Boot    uint64
	Epoch   uint64
}

func (w *wireRefusal) error() *RefusedError {
	return &RefusedError{Code: Code(w.Code), Advice: w.Advice[:min(len(w.Advice), 512)], theirs: true, boot: w.Boot, epoch: w.Epoch}
}

func refuse(code Code, format string, args ...any) *RefusedError {
	return &RefusedError{Code: code, Advice: fmt.Sprintf(format, args...)}
}

// check says why the owner of w may not talk to self for a purpose other than
// exchange; nil if it may. It holds for both sides. want is the id that was
// dialled or None.
func (t *Transport) check(self Hello, w *wireHello, want raft.NodeID) *RefusedError {
	h := w.hello()
	id := raft.NodeID(w.ID)
	switch {
	case h.validate() != nil:
		return refuse(RefusedBytes, "the hello has no valid identity; check that both sides run raftkv")
	case h.Cluster != self.Cluster:
		return refuse(RefusedCluster, "node %q belongs to cluster %x, node %q to %x; check the peer addresses of both",
			h.Name, h.Cluster, self.Name, self.Cluster)
	case (h.Node == self.Node || h.ID == self.ID) && h.Boot == self.Boot:
		return refuse(RefusedSelf, "node %q reached itself; check its peer addresses", self.Name)
	case h.Node == self.Node || h.ID == self.ID:
		return refuse(RefusedTwin, "two processes run with the identity of node %q (%v); stop the one whose data directory is a copy", self.Name, self.ID)
	case want != raft.None && h.ID != want:
		return refuse(RefusedTarget, "this address leads to node %q (%v) and not to %v; check the peer addresses", h.Name, id, want)
	case t.cfg.Removed != nil && t.cfg.Removed(id):
		return refuse(RefusedRemoved, "node %q (%v) was removed from the cluster; give it an empty data directory and add it again", h.Name, id)
	}
	return nil
}
