package identity

import (
	"fmt"
	"os"

	"github.com/google/uuid"
)

// Offline is the identity of a data directory whose node is stopped, for tools
// that change what is in it. No daemon can start on it until Close.
type Offline struct {
	dir  string
	lock *os.File
	rec  Record
}

// Take takes a data directory. Errors: as Open, ErrInUse while its node runs among
// them, and one that wraps fs.ErrNotExist if there is no identity.
func Take(dir string) (*Offline, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	rec, err := Read(dir)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &Offline{dir: dir, lock: lock, rec: rec}, nil
}

// Record is what the identity file holds.
func (o *Offline) Record() Record { return o.rec }

// Refound makes this node the only first voter of a new cluster and returns that
// cluster's UUID. It is durable when Refound returns: the members of the old cluster refuse this
// node from now on, and it refuses them. self has the name that the identity has.
func (o *Offline) Refound(self Place) (uuid.UUID, error) {
	cluster, err := uuid.NewRandom()
	if err != nil {
		return uuid.Nil, fmt.Errorf("draw a cluster: %w", err)
	}
	rec := Record{Node: o.rec.Node, Name: o.rec.Name}
	birth := &Birth{Cluster: cluster, Voters: []Voter{{Node: rec.Node, Place: self}}}
	if err := rec.check(birth, false); err != nil {
		return uuid.Nil, err
	}
	rec.Birth = birth
	if err := (fileStore{dir: o.dir}).save(rec); err != nil {
		return uuid.Nil, err
	}
	o.rec = rec
	return cluster, nil
}

// Close gives the directory free.
func (o *Offline) Close() error { return o.lock.Close() }
