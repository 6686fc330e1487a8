package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/raftkv/raftkv/raft"
)

// Bounds of a Birth. With them it fits into the 64 KiB of one exchange.
const (
	maxVoters = 32
	maxName   = 128 // bytes
	maxAddr   = 512 // bytes
)

// Place says what a node is called and where it is reached.
type Place struct {
	Name   string `json:"name"`
	Peer   string `json:"peer"`             // host:port for other nodes
	Client string `json:"client,omitempty"` // host:port for clients; a hint
	HTTP   string `json:"http,omitempty"`   // host:port of its HTTP side; a hint
}

func (p Place) validate() error {
	if p.Name == "" || len(p.Name) > maxName || !utf8.ValidString(p.Name) || strings.ContainsFunc(p.Name, unicode.IsControl) {
		return fmt.Errorf("node name %q is empty, longer than %d bytes or not printable", p.Name, maxName)
	}
	if p.Peer == "" {
		return fmt.Errorf("node %q has no peer address", p.Name)
	}
	for _, a := range []string{p.Peer, p.Client, p.HTTP} {
		if len(a) > maxAddr || !utf8.ValidString(a) {
			return fmt.Errorf("node %q: address of %d bytes is longer than %d or not text", p.Name, len(a), maxAddr)
		}
	}
	return nil
}

// Voter is one of the first members of a cluster.
type Voter struct {
	Node uuid.UUID `json:"node"`
	Place
}

// Birth is the beginning of a cluster: who it is and who were its first
// members. It never changes.
type Birth struct {
	Cluster uuid.UUID `json:"cluster"`
	Voters  []Voter   `json:"voters"` // as listed in the configuration of the first
}

// Names tells whether node is one of the voters, and under which name.
func (b *Birth) Names(node uuid.UUID) (name string, ok bool) {
	for _, v := range b.Voters {
		if v.Node == node {
			return v.Name, true
		}
	}
	return "", false
}

// Configuration is the first membership of the cluster, as the core wants it.
func (b *Birth) Configuration() raft.Configuration {
	var c raft.Configuration
	for _, v := range b.Voters {
		c.Members = append(c.Members, raft.Member{ID: NodeIDOf(v.Node), Name: v.Name, Peer: v.Peer, Client: v.Client, HTTP: v.HTTP})
	}
	slices.SortFunc(c.Members, func(x, y raft.Member) int {
		if x.ID < y.ID {
			return -1
		}
		return 1
	})
	return c
}

func (b *Birth) equal(o *Birth) bool {
	return b.Cluster == o.Cluster && slices.Equal(b.Voters, o.Voters)
}

// validate checks a Birth that comes from outside, before anyone looks into it.
func (b *Birth) validate() error {
	if b.Cluster == uuid.Nil {
		return errors.New("birth without a cluster")
	}
	if len(b.Voters) == 0 || len(b.Voters) > maxVoters {
		return fmt.Errorf("birth with %d voters, want 1 to %d", len(b.Voters), maxVoters)
	}
	ids := make(map[raft.NodeID]string)
	for _, v := range b.Voters {
		if v.Node == uuid.Nil {
			return fmt.Errorf("birth names no identity for %q", v.Name)
		}
		if other, ok := ids[NodeIDOf(v.Node)]; ok {
			return fmt.Errorf("birth names %q and %q with one identity", other, v.Name)
		}
		ids[NodeIDOf(v.Node)] = v.Name
	}
	return validateList(b.places())
}

func (b *Birth) places() []Place {
	var ps []Place
	for _, v := range b.Voters {
		ps = append(ps, v.Place)
	}
	return ps
}

// validateList checks each place, and that no name and no peer address stands twice.
func validateList(list []Place) error {
	names, peers := make(map[string]string), make(map[string]string)
	for _, p := range list {
		if err := p.validate(); err != nil {
			return err
		}
		if at, ok := names[p.Name]; ok {
			return fmt.Errorf("two voters are called %q, at %s and at %s", p.Name, at, p.Peer)
		}
		if name, ok := peers[p.Peer]; ok {
			return fmt.Errorf("voters %q and %q have one peer address, %s", name, p.Name, p.Peer)
		}
		names[p.Name], peers[p.Peer] = p.Peer, p.Name
	}
	return nil
}

// listHash is what two nodes compare: the ordered list of names and peer
// addresses. The other addresses are hints; the first voter's list counts for them.
func listHash(list []Place) [sha256.Size]byte {
	var b []byte
	for _, p := range list {
		for _, s := range []string{p.Name, p.Peer} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return sha256.Sum256(b)
}

// NodeIDOf is the id in the core of the node with this UUID: the first 8 bytes of
// its SHA-256, as a big-endian number.
func NodeIDOf(node uuid.UUID) raft.NodeID {
	sum := sha256.Sum256(node[:])
	for at := 0; at < len(sum); at += 8 {
		// raft.None is nobody. The next 8 bytes stand in.
		if id := raft.NodeID(binary.BigEndian.Uint64(sum[at:])); id != raft.None {
			return id
		}
	}
	return 1
}
