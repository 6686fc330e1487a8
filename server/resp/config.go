package resp

import (
	"context"
	"log/slog"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/feed"
)

// Config bounds and names a Server. A zero field stands for its default.
type Config struct {
	Clients       int           // connections at a time; default 10,000
	Pipeline      int           // commands of one connection that wait for replies; default 4,096
	OutputBytes   int           // of requests and replies that one connection holds; default 64 MiB
	KeyBytes      int           // longest key; default 64 KiB
	ValueBytes    int           // longest value in a request; default 8 MiB
	CommandBytes  int           // longest request; default 16 MiB
	WriteTimeout  time.Duration // a client that takes no byte of a reply for so long is closed; default 30 s
	IdleTimeout   time.Duration // a connection without a request for so long is closed; default 0: never
	SubmitTimeout time.Duration // a batch that the node has no room for so long is refused as busy; default 100 ms
	AdminTimeout  time.Duration // for a membership change or a transfer; default 30 s
	AuthTimeout   time.Duration // a connection that must authenticate and doesn't for so long is closed; default 10 s
	Access        *access.Store // the users; default: everybody may do everything
	Feed          *feed.Hub     // the applied changes, for messages; default: there are none
	Events        string        // notify-keyspace-events at the start, as config checks it; default: none
	Moved         bool          // a node that doesn't lead answers MOVED instead of forwarding
	Encrypted     bool          // the listener speaks TLS
	Stop          func()        // ends the node in order, at once or soon; default: SHUTDOWN is refused
	Version       string        // of this program, for INFO
	Log           *slog.Logger  // default: nowhere
}

func (c Config) withDefaults() Config {
	def(&c.Clients, 10_000)
	def(&c.Pipeline, 4096)
	def(&c.OutputBytes, 64<<20)
	def(&c.KeyBytes, 64<<10)
	def(&c.ValueBytes, 8<<20)
	def(&c.CommandBytes, 16<<20)
	def(&c.WriteTimeout, 30*time.Second)
	def(&c.SubmitTimeout, 100*time.Millisecond)
	def(&c.AdminTimeout, 30*time.Second)
	def(&c.AuthTimeout, 10*time.Second)
	if c.Version == "" {
		c.Version = "0.0.0"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Feed == nil {
		c.Feed = feed.New(feed.Config{Events: 1}, 0)
	}
	if c.Access == nil {
		c.Access = access.NewStore(Catalog(), "", c.Log)
	}
	return c
}

func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Backend is the node behind a Server. Its methods may be called from any goroutine.
type Backend interface {
	// Connect opens the way of one connection's commands.
	Connect(s node.Sink) Submitter
	// Status is the node as it is now, or was a moment ago. It must not block for
	// long, even if the node hangs: PING, INFO and HELLO must be answered then, too.
	Status() node.Status
}

// Submitter takes the commands of one connection, from one goroutine.
type Submitter interface {
	// Submit takes a batch, or none of it and an error. It blocks while there is
	// no room, until ctx ends. The replies come to the Sink, perhaps before Submit
	// returns. The slice is used again afterwards, the data isn't.
	Submit(ctx context.Context, reqs []node.Request) error
	// Close ends the connection. Replies that are still due may come or not.
	Close()
}

// Admin changes the cluster. Each method waits for the outcome and returns a
// sentence for people; with dryRun it only says what would happen or why not.
type Admin interface {
	AddMember(ctx context.Context, name, peer string, dryRun bool) (string, error)
	Promote(ctx context.Context, name string, dryRun bool) (string, error)
	Remove(ctx context.Context, name string, dryRun bool) (string, error)
	// Transfer hands leadership to the named node, or to the best one if name is empty.
	Transfer(ctx context.Context, name string) (string, error)
	// Snapshot writes a snapshot now.
	Snapshot(ctx context.Context) (string, error)
}
