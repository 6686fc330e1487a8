package config

import "time"

// Config is everything that one node is told. One struct a consumer.
//
// The tags: key is the name in YAML; default, min and max are written as in
// YAML, bounds are inclusive; one lists the allowed words; is names the form of
// a text. A text without default may be empty, unless it is required.
type Config struct {
	// Node says which node this is and where its data lies.
	Node Node `key:"node"`
	// Cluster says who the other nodes are.
	Cluster Cluster `key:"cluster"`
	// Redis is the side of clients: the Redis protocol.
	Redis Redis `key:"redis"`
	// Peer is the side of the other nodes.
	Peer Peer `key:"peer"`
	// HTTP is the side of monitors (/livez /readyz /status /metrics) and of clients that speak no Redis protocol (/v1).
	HTTP HTTP `key:"http"`
	// Raft times and bounds the protocol. Same values on all nodes are best, others are safe.
	Raft Raft `key:"raft"`
	// Snapshot says when the log is replaced by a snapshot.
	Snapshot Snapshot `key:"snapshot"`
	// Limits bound single requests and the queues that they wait in.
	Limits Limits `key:"limits"`
	// Feed bounds what is kept for those who watch changes.
	Feed Feed `key:"feed"`
	// Disk says how space and a slow or held disk are handled.
	Disk Disk `key:"disk"`
	// TLS secures connections. An empty cert leaves them in clear text.
	TLS TLS `key:"tls"`
	// Log says what the daemon writes to its standard error.
	Log Log `key:"log"`
	// Service is for whoever supervises the process.
	Service Service `key:"service"`
}

// Node says which node this is and where its data lies.
type Node struct {
	// Name is this node's name, for people: unique in the cluster, the same at every start.
	Name string `key:"name" is:"name" required:"true"`
	// DataDir is the directory of the log, the snapshots and the identity. It is
	// made if it is missing; only one process may use it. A relative
	// path in the file starts at the file, in the environment or a flag at the working directory.
	DataDir string `key:"data_dir" is:"path" required:"true"`
}

// Cluster says who the other nodes are.
type Cluster struct {
	// Voters are the first members, the same list on every node. It is used once,
	// when all of them are empty; later the membership lives in the log. A peer
	// address here still wins over the one in the log. A node that joins asks these.
	Voters []Voter `key:"voters"`
	// Join says that a node with an empty data directory joins a running cluster as
	// the learner that was added there, instead of forming a new cluster.
	Join bool `key:"join" default:"false"`
}

// Voter is one of the first members.
type Voter struct {
	// Name is its node.name.
	Name string `key:"name" is:"name" required:"true"`
	// Peer is where the other nodes reach it.
	Peer string `key:"peer" is:"advertise" required:"true"`
	// Client is where clients reach it.
	Client string `key:"client" is:"advertise" required:"true"`
	// HTTP is where its HTTP side is reached.
	HTTP string `key:"http" is:"advertise" required:"true"`
}

// Redis is the side of clients.
type Redis struct {
	// Listen is the address to listen on. Empty: the own client address in cluster.voters, else 127.0.0.1:6479.
	Listen string `key:"listen" is:"listen"`
	// Advertise is the address that clients are told. Empty: the own client address in cluster.voters, else listen.
	Advertise string `key:"advertise" is:"advertise"`
	// Clients is how many connections are served at a time; one more is refused. Fewer, with a warning, if the
	// process may open too few files for them and for itself.
	Clients int `key:"clients" default:"10000" min:"1" max:"1000000"`
	// Pipeline is how many commands of one connection may wait for their replies; then it isn't read.
	Pipeline int `key:"pipeline" default:"4096" min:"1" max:"1048576"`
	// OutputBytes is how many bytes of replies one connection may leave unread; then
	// it isn't read itself, and closed if that lasts for write_timeout. At least limits.value_bytes.
	OutputBytes Bytes `key:"output_bytes" default:"64MiB" min:"64KiB" max:"4GiB"`
	// WriteTimeout is how long a client may take no byte of a reply before it is closed.
	WriteTimeout time.Duration `key:"write_timeout" default:"30s" min:"100ms" max:"1h"`
	// PasswordFile is a file with the password of the user default on its first line, until that user
	// is set in the log with ACL SETUSER. Empty: it needs none. The same on all nodes.
	PasswordFile string `key:"password_file" is:"path"`
	// Follower says what a node that doesn't lead does with a command on keys: forward it to the
	// leader, or answer MOVED with the leader's address, as Redis Cluster does.
	Follower string `key:"follower" default:"forward" one:"forward moved"`
	// NotifyKeyspaceEvents are the classes of keyspace notifications that this node sends at its start, in
	// Redis's letters (KEA: all). CONFIG SET changes them. Empty: none.
	NotifyKeyspaceEvents string `key:"notify_keyspace_events"`
}

// Peer is the side of the other nodes.
type Peer struct {
	// Listen is the address to listen on. Empty: the own peer address in cluster.voters, else 127.0.0.1:6480.
	Listen string `key:"listen" is:"listen"`
	// Advertise is the address that other nodes are told. Empty: the own peer address in cluster.voters, else listen.
	Advertise string `key:"advertise" is:"advertise"`
	// HandshakeTimeout bounds the handshake; a connection that says nothing for so long is closed.
	HandshakeTimeout time.Duration `key:"handshake_timeout" default:"3s" min:"100ms" max:"1m"`
	// BackoffMax is the longest pause before dialling again; the first is 20ms or this.
	BackoffMax time.Duration `key:"backoff_max" default:"1s" min:"1ms" max:"1m"`
	// QueueBytes is how much may wait for one peer; more is dropped, and Raft repairs it. At least frame_bytes.
	QueueBytes Bytes `key:"queue_bytes" default:"64MiB" min:"1MiB" max:"4GiB"`
	// FrameBytes is the longest frame that is sent or taken. It must hold a command and an append.
	FrameBytes Bytes `key:"frame_bytes" default:"32MiB" min:"1MiB" max:"1GiB"`
}

// HTTP is the side of monitors, and of clients that speak no Redis protocol.
type HTTP struct {
	// Listen is the address to listen on. Empty: the own http address in cluster.voters, else 127.0.0.1:6481.
	Listen string `key:"listen" is:"listen"`
	// Advertise is the address that others are told. Empty: the own http address in cluster.voters, else listen.
	Advertise string `key:"advertise" is:"advertise"`
	// Debug serves /debug/pprof and /debug/trace, without a password. On a loopback address they are always served.
	Debug bool `key:"debug" default:"false"`
	// Hosts are the names, separated by blanks, that requests may be addressed to beside IP addresses, localhost and
	// the http addresses of members. Others are refused: a web page may have led a browser here.
	Hosts string `key:"hosts"`
	// Connections is how many are served at a time; one more is closed. Fewer, as with redis.clients, if too few files may be open.
	Connections int `key:"connections" default:"10000" min:"1" max:"1000000"`
	// Requests is how many requests of /v1 may be under way at a time, watchers apart; more are refused as busy.
	Requests int `key:"requests" default:"1024" min:"1" max:"1048576"`
	// BodyBytes is how much the bodies of requests under way may take together; more are refused as busy.
	BodyBytes Bytes `key:"body_bytes" default:"256MiB" min:"1MiB" max:"64GiB"`
	// WriteTimeout is how long a client may take no byte of a list or a watch before it is cut off.
	WriteTimeout time.Duration `key:"write_timeout" default:"30s" min:"100ms" max:"1h"`
}

// Raft times and bounds the protocol.
type Raft struct {
	// Tick is the unit of all timers here.
	Tick time.Duration `key:"tick" default:"10ms" min:"1ms" max:"1s"`
	// ElectionTicks is how long a follower waits for a leader before it stands
	// itself, in ticks, before jitter of as much again. At least 3 heartbeats.
	ElectionTicks int `key:"election_ticks" default:"50" min:"3" max:"100000"`
	// HeartbeatTicks is the pause between heartbeats, in ticks.
	HeartbeatTicks int `key:"heartbeat_ticks" default:"5" min:"1" max:"10000"`
	// AppendBytes is how much of the log goes into one message, but at least one entry.
	AppendBytes Bytes `key:"append_bytes" default:"1MiB" min:"1KiB" max:"256MiB"`
	// InflightMessages is how many messages may be under way to one follower.
	InflightMessages int `key:"inflight_messages" default:"64" min:"1" max:"65536"`
	// InflightBytes is how many bytes may be under way to one follower. At least append_bytes.
	InflightBytes Bytes `key:"inflight_bytes" default:"16MiB" min:"1KiB" max:"4GiB"`
	// WriteBytes is how much of the log goes into one transaction on disk, but at least one entry.
	WriteBytes Bytes `key:"write_bytes" default:"8MiB" min:"1KiB" max:"1GiB"`
	// UncommittedBytes is how much may wait for a majority; above it writes are
	// refused as busy. At least limits.command_bytes.
	UncommittedBytes Bytes `key:"uncommitted_bytes" default:"64MiB" min:"64KiB" max:"16GiB"`
	// RetainedBytes is the most memory that the log takes. At it a leader refuses
	// writes as busy and a follower takes no entries. At least uncommitted_bytes and twice snapshot.log_bytes.
	RetainedBytes Bytes `key:"retained_bytes" default:"1GiB" min:"1MiB" max:"256GiB"`
}

// Snapshot says when the log is replaced by a snapshot. What comes first counts.
type Snapshot struct {
	// LogBytes is how much log makes a snapshot due; half of the last snapshot if that is
	// more, but not more than half of raft.retained_bytes.
	LogBytes Bytes `key:"log_bytes" default:"128MiB" min:"64KiB" max:"64GiB"`
	// LogEntries is how many entries make a snapshot due. Above keep_entries.
	LogEntries int `key:"log_entries" default:"1000000" min:"10" max:"1000000000"`
	// KeepEntries is how many entries before the snapshot stay, at most a quarter of log_bytes, so that a follower
	// that is a little behind needs no snapshot.
	KeepEntries int `key:"keep_entries" default:"10000" min:"0" max:"100000000"`
	// StepBytes is about how much is encoded at a time, between applying. Small is smooth, large is fast.
	StepBytes Bytes `key:"step_bytes" default:"256KiB" min:"4KiB" max:"64MiB"`
	// OverlayBytes is how much may be written while a snapshot is made before it is given up.
	OverlayBytes Bytes `key:"overlay_bytes" default:"512MiB" min:"1MiB" max:"64GiB"`
	// FreezeTimeout is how long a snapshot may take before it is given up.
	FreezeTimeout time.Duration `key:"freeze_timeout" default:"10m" min:"1s" max:"24h"`
}

// Limits bound single requests and the queues that they wait in.
type Limits struct {
	// KeyBytes is the longest key. What may be stored at all is the cluster's setting key-bytes, 1MiB.
	KeyBytes Bytes `key:"key_bytes" default:"64KiB" min:"16" max:"1MiB"`
	// ValueBytes is the longest value that a request may carry. What may be stored at all is the
	// cluster's setting value-bytes, 8MiB.
	ValueBytes Bytes `key:"value_bytes" default:"8MiB" min:"1KiB" max:"8MiB"`
	// CommandBytes is the longest whole command, all its arguments together. It must hold one key and one value.
	CommandBytes Bytes `key:"command_bytes" default:"16MiB" min:"4KiB" max:"512MiB"`
	// RequestTimeout is how long a request may take before its client is told that it timed out.
	RequestTimeout time.Duration `key:"request_timeout" default:"5s" min:"10ms" max:"10m"`
	// InboxRequests is how many requests of clients may wait for the node's loop; more are refused as busy.
	InboxRequests int `key:"inbox_requests" default:"16384" min:"1" max:"1048576"`
	// InboxMessages is how many messages of peers may wait for the node's loop; more are dropped.
	InboxMessages int `key:"inbox_messages" default:"4096" min:"16" max:"1048576"`
	// ApplyBytes is how much committed log may wait to be applied.
	ApplyBytes Bytes `key:"apply_bytes" default:"16MiB" min:"64KiB" max:"4GiB"`
}

// Feed bounds what is kept for those who watch changes. All of it is in memory.
type Feed struct {
	// Events is how many recent changes are kept, for watchers that come back or are
	// slow. It is rounded up to a power of two.
	Events int `key:"events" default:"65536" min:"16" max:"16777216"`
	// Bytes is how much their keys and values may take together.
	Bytes Bytes `key:"bytes" default:"64MiB" min:"64KiB" max:"64GiB"`
	// Lag is how many changes a watcher may fall behind before it is cut off and told
	// where to go on. At most events; below it, its place is still there when it comes back.
	Lag int `key:"lag" default:"32768" min:"1" max:"16777216"`
	// Watchers is how many there may be at a time; one more is refused.
	Watchers int `key:"watchers" default:"10000" min:"1" max:"1000000"`
}

// Disk says how space and a slow or held disk are handled.
type Disk struct {
	// LowSpaceBytes is the free space below which growth is refused with a clear
	// error, while reads and deletes go on. It clears itself. Above reserve_bytes.
	LowSpaceBytes Bytes `key:"low_space_bytes" default:"256MiB" min:"1MiB" max:"1TiB"`
	// ReserveBytes is the floor: below it only what keeps the node in the cluster is written.
	ReserveBytes Bytes `key:"reserve_bytes" default:"64MiB" min:"256KiB" max:"1TiB"`
	// OpenTimeout is how long to wait for a data directory that another process holds.
	OpenTimeout time.Duration `key:"open_timeout" default:"1s" min:"10ms" max:"1m"`
	// HangTimeout is how long one write may hang, while another node leads, before the process ends.
	HangTimeout time.Duration `key:"hang_timeout" default:"1m" min:"1s" max:"1h"`
}

// TLS secures connections.
type TLS struct {
	// Peer is for connections between nodes: mutual, both ends show a certificate.
	Peer PeerTLS `key:"peer"`
	// Client is for connections of clients: redis.listen and http.listen.
	Client ClientTLS `key:"client"`
}

// PeerTLS is for connections between nodes. All three files or none.
type PeerTLS struct {
	// Cert is the file of this node's certificate, PEM.
	Cert string `key:"cert" is:"path"`
	// Key is the file of its private key, PEM.
	Key string `key:"key" is:"path"`
	// CA is the file of the certificates that peers are checked against, PEM.
	CA string `key:"ca" is:"path"`
}

// ClientTLS is for connections of clients. Cert and key, or neither. All files are read again when they change.
type ClientTLS struct {
	// Cert is the file of this node's certificate, PEM.
	Cert string `key:"cert" is:"path"`
	// Key is the file of its private key, PEM.
	Key string `key:"key" is:"path"`
	// CA is the file of the certificates that those of clients are checked against, PEM. Empty: clients are asked for none.
	CA string `key:"ca" is:"path"`
	// RequireCert refuses clients without a certificate. It needs ca.
	RequireCert bool `key:"require_cert" default:"false"`
}

// Log says what the daemon writes to its standard error.
type Log struct {
	// Level is the least level that is written.
	Level string `key:"level" default:"info" one:"debug info warn error"`
	// Format is text for people or json for machines; auto is text on a terminal and json elsewhere.
	Format string `key:"format" default:"auto" one:"auto text json"`
}

// Service is for whoever supervises the process.
type Service struct {
	// StopTimeout bounds an orderly stop: handing leadership over, finishing what is open, syncing.
	StopTimeout time.Duration `key:"stop_timeout" default:"20s" min:"100ms" max:"10m"`
	// WatchdogTimeout is how long the node's loop may stand still before the process
	// ends with a dump of its goroutines. Above an election timeout.
	WatchdogTimeout time.Duration `key:"watchdog_timeout" default:"30s" min:"1s" max:"1h"`
	// VerifyInterval is the pause between two comparisons of the states of all nodes, if anything
	// was written since. A node whose state differs from that of a majority stops, and fetches it
	// anew at its next start. 0s: this node asks for none while it leads.
	VerifyInterval time.Duration `key:"verify_interval" default:"30s" min:"0s" max:"24h"`
}

// The ports of an unconfigured node, on loopback.
const (
	defaultRedis = "127.0.0.1:6479"
	defaultPeer  = "127.0.0.1:6480"
	defaultHTTP  = "127.0.0.1:6481"
)

// Default has the default of every key that has one.
func Default() Config {
	var c Config
	for _, f := range schema() {
		if f.def == "" {
			continue
		}
		v, what := f.parse(f.def)
		if what != "" {
			panic("default of " + f.key + ": " + what)
		}
		f.set(&c, v)
	}
	return c
}

// Example is a whole configuration that is valid: Default, and a cluster of one
// node on the default ports.
func Example() Config {
	c := Default()
	c.Node = Node{Name: "n1", DataDir: "raftkv-data"}
	c.Cluster.Voters = []Voter{{Name: "n1", Peer: defaultPeer, Client: defaultRedis, HTTP: defaultHTTP}}
	return c
}

// Voter returns the entry of this name in cluster.voters.
func (c *Config) Voter(name string) (Voter, bool) {
	for _, v := range c.Cluster.Voters {
		if v.Name == name {
			return v, true
		}
	}
	return Voter{}, false
}

// ElectionTimeout is the least time that a follower waits for a leader.
func (r Raft) ElectionTimeout() time.Duration { return r.Tick * time.Duration(r.ElectionTicks) }

// Heartbeat is the pause between heartbeats.
func (r Raft) Heartbeat() time.Duration { return r.Tick * time.Duration(r.HeartbeatTicks) }

// resolve fills the addresses that follow from others.
func (c *Config) resolve() {
	self, _ := c.Voter(c.Node.Name)
	fill := func(listen, advertise *string, own, def string) {
		*listen = first(*listen, own, def)
		*advertise = first(*advertise, own, *listen)
	}
	fill(&c.Redis.Listen, &c.Redis.Advertise, self.Client, defaultRedis)
	fill(&c.Peer.Listen, &c.Peer.Advertise, self.Peer, defaultPeer)
	fill(&c.HTTP.Listen, &c.HTTP.Advertise, self.HTTP, defaultHTTP)
}

func first(s ...string) string {
	for _, s := range s {
		if s != "" {
			return s
		}
	}
	return ""
}
