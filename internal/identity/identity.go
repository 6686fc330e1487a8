package identity

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/google/uuid"

	"github.com/raftkv/raftkv/raft"
)

// The classes of errors that end the process; each stands for an exit code.
var (
	// ErrDamaged means that the identity can't be read, or is missing beside data:
	// restore it, or empty the directory and add the node again. Exit code 65.
	ErrDamaged = errors.New("identity is damaged")
	// ErrRefused means that this node must not run as it is configured: its
	// directory is another node's, or the nodes disagree. Exit code 69.
	ErrRefused = errors.New("identity refused")
	// ErrPermission means that the directory can't be used, or others can write to it. Exit code 77.
	ErrPermission = errors.New("permission")
	// ErrInUse means that another process has the directory.
	ErrInUse = errors.New("data directory is in use by another process")
)

// Config says who this node is meant to be.
type Config struct {
	Self   Place   // name, and the addresses that others use
	Voters []Place // the first members, the same ordered list on all of them; with Join: members to ask
	Join   bool    // be added to a running cluster; never found one
}

// validate checks what two nodes would otherwise stumble over much later.
func (c Config) validate() error {
	if err := c.Self.validate(); err != nil {
		return err
	}
	if err := validateList(c.Voters); err != nil {
		return err
	}
	if len(c.Voters) > maxVoters {
		return fmt.Errorf("%d voters, at most %d", len(c.Voters), maxVoters)
	}
	listed := slices.ContainsFunc(c.Voters, func(p Place) bool { return p.Name == c.Self.Name })
	if !c.Join && !listed {
		return fmt.Errorf("node %q is not among the voters; list it there on every node, or set cluster.join: true", c.Self.Name)
	}
	return nil
}

// others are the listed nodes but this one.
func (c Config) others() []Place {
	return slices.DeleteFunc(slices.Clone(c.Voters), func(p Place) bool { return p.Name == c.Self.Name })
}

// founder tells whether this node is the one that gathers the others.
func (c Config) founder() bool {
	return !c.Join && len(c.Voters) > 0 && c.Voters[0].Name == c.Self.Name
}

// Record is what the identity file holds.
type Record struct {
	Node   uuid.UUID `json:"node"`
	Name   string    `json:"name"`
	Birth  *Birth    `json:"birth,omitempty"`  // nil: the node is empty
	Joined bool      `json:"joined,omitempty"` // it was added later: Birth does not name it
}

// check tells whether a node with this record may hold birth.
func (r Record) check(birth *Birth, joined bool) error {
	if err := birth.validate(); err != nil {
		return fmt.Errorf("%w: %w", err, ErrRefused)
	}
	name, named := birth.Names(r.Node)
	switch {
	case named && name != r.Name:
		return fmt.Errorf("cluster %v knows this node as %q, its data directory says %q: %w", birth.Cluster, name, r.Name, ErrRefused)
	case named && joined:
		return fmt.Errorf("cluster %v was born with this node, it can't be added to it: %w", birth.Cluster, ErrRefused)
	case !named && !joined:
		return fmt.Errorf("cluster %v was born without this node: %w", birth.Cluster, ErrRefused)
	case r.Birth != nil && (!r.Birth.equal(birth) || r.Joined != joined):
		return fmt.Errorf("this node belongs to cluster %v already, not to %v: %w", r.Birth.Cluster, birth.Cluster, ErrRefused)
	}
	return nil
}

// Identity is the identity of one data directory while its process runs. Its
// methods may be called from any goroutine.
type Identity struct {
	cfg   Config
	store store
	lock  *os.File

	mu     sync.Mutex
	rec    Record
	failed error     // a write failed: what the disk holds is not known
	first  uuid.UUID // who answered last at the first voter's address
	seen   uuid.UUID // cluster of the members that were asked
	member func(raft.NodeID) bool
	born   chan struct{} // closed once rec.Birth is set
}

// Open takes the data directory, which must be there, and reads its identity or
// draws one. innocent are names that may be in the directory before it has an
// identity; anything else there without one is ErrDamaged. Other errors:
// ErrRefused if it is another node's, ErrPermission, ErrInUse. The directory
// stays locked until Close.
func Open(dir string, cfg Config, innocent ...string) (*Identity, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrRefused)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	id, err := open(fileStore{dir: dir, innocent: innocent}, cfg)
	if err != nil {
		lock.Close()
		return nil, err
	}
	id.lock = lock
	return id, nil
}

func open(s store, cfg Config) (*Identity, error) {
	id := &Identity{cfg: cfg, store: s, born: make(chan struct{})}
	rec, found, err := s.load()
	if err != nil {
		return nil, err
	}
	if !found {
		node, err := uuid.NewRandom()
		if err != nil {
			return nil, fmt.Errorf("draw an identity: %w", err)
		}
		// On the disk before anybody hears of it: it must not be drawn again.
		rec = Record{Node: node, Name: cfg.Self.Name}
		if err := s.save(rec); err != nil {
			return nil, err
		}
	}
	if rec.Name != cfg.Self.Name {
		return nil, fmt.Errorf("%v belongs to node %q, the configuration says %q: set node.data_dir to this node's own directory, "+
			"or node.name to %q: %w", s, rec.Name, cfg.Self.Name, rec.Name, ErrRefused)
	}
	id.rec = rec
	if rec.Birth != nil {
		close(id.born)
	}
	return id, nil
}

// Read returns the identity of a directory without taking it: for offline tools.
// The error wraps fs.ErrNotExist if there is none, ErrDamaged, ErrRefused (a newer format) or ErrPermission.
func Read(dir string) (Record, error) { return readFile(dir) }

// Close gives the directory free.
func (id *Identity) Close() error {
	if id.lock == nil {
		return nil
	}
	return id.lock.Close()
}

// Record returns what is on the disk. Birth must not be changed.
func (id *Identity) Record() Record {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.rec
}

// Node is the UUID of this data directory.
func (id *Identity) Node() uuid.UUID { return id.Record().Node }

// ID is the node's id in the core.
func (id *Identity) ID() raft.NodeID { return NodeIDOf(id.Node()) }

// Birth is the beginning of the cluster, nil while the node is empty.
func (id *Identity) Birth() *Birth { return id.Record().Birth }

// Cluster is the UUID of the cluster, zero while the node is empty.
func (id *Identity) Cluster() uuid.UUID {
	if b := id.Birth(); b != nil {
		return b.Cluster
	}
	return uuid.Nil
}

// CheckCluster refuses data of another cluster: what the log or a snapshot is
// marked with must be what the identity says.
func (id *Identity) CheckCluster(found uuid.UUID) error {
	if own := id.Cluster(); found != own {
		return fmt.Errorf("%v belongs to cluster %v, its data to %v: parts of two directories were mixed; restore one of them whole: %w",
			id.store, own, found, ErrRefused)
	}
	return nil
}

// SetMembers gives Answer a way to tell whether a node is in this node's
// configuration: one that was added, but not told, then learns it by asking.
// member is called on many goroutines.
func (id *Identity) SetMembers(member func(raft.NodeID) bool) {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.member = member
}

// StoreBirth makes birth durable, if this node may hold it. The same one again
// is no error. ErrRefused: it may not. After any other error nobody knows what
// the disk holds: the process must end, and finds out at its next start.
func (id *Identity) StoreBirth(birth *Birth, joined bool) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.failed != nil {
		return id.failed
	}
	if err := id.rec.check(birth, joined); err != nil {
		return err
	}
	if id.rec.Birth != nil {
		return nil
	}
	rec := id.rec
	rec.Birth, rec.Joined = birth, joined
	if err := id.store.save(rec); err != nil {
		id.failed = err
		return err
	}
	id.rec = rec
	close(id.born)
	return nil
}

// lockDir keeps a second process out. It also finds most of what is wrong with a directory.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w: %w: give %s to the user that runs this process", err, ErrPermission, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}
