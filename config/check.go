package config

import (
	"fmt"
	"net"
	"strings"
	"time"
)

// Validate reports every fault at once, as Faults. It changes nothing. Load has
// already checked, and names better places.
func (c Config) Validate() error {
	c.resolve()
	return c.check(map[string]bool{}).err()
}

// checker collects faults. A key that already has one draws no conclusions.
type checker struct {
	c      *Config
	bad    map[string]bool
	faults Faults
}

func (k *checker) fault(key string, value any, what, want string) {
	k.bad[key] = true
	text := ""
	if value != nil {
		text = fmt.Sprint(value)
	}
	k.faults = append(k.faults, Fault{Key: key, Value: text, What: what, Want: want})
}

// sound tells whether none of the keys has a fault.
func (k *checker) sound(keys ...string) bool {
	for _, key := range keys {
		if k.bad[key] {
			return false
		}
	}
	return true
}

// check looks at every value by itself, then at values that must fit together.
// bad names keys that are known to be wrong; it grows.
func (c Config) check(bad map[string]bool) Faults {
	k := &checker{c: &c, bad: bad}
	for _, f := range schema() {
		if !k.sound(f.key) || f.isList() {
			continue
		}
		v := f.get(&c)
		if what := f.bounds(v); what != "" {
			k.fault(f.key, plain(v), what, f.allowed())
		}
	}
	k.voters()
	k.self()
	k.ports()
	k.timers()
	k.sizes()
	k.tls()
	k.events()
	return k.faults
}

// plain is a value as a user would write it; an empty text is none.
func plain(v any) any {
	switch v := v.(type) {
	case string:
		if v == "" {
			return nil
		}
	case time.Duration:
		return shortDuration(v)
	}
	return v
}

// voters checks the elements of the list, each by itself and among each other.
func (k *checker) voters() {
	const list = "cluster.voters"
	vs := k.c.Cluster.Voters
	if len(vs) == 0 {
		if k.sound(list) {
			k.fault(list, nil, "missing", "a list of name, peer, client and http; a node that joins lists members to ask")
		}
		return
	}
	if len(vs) > maxVoters {
		k.fault(list, len(vs), "too many", fmt.Sprintf("1 to %d", maxVoters))
		return
	}
	names, addrs := map[string]string{}, map[string]string{}
	for i := range vs {
		at := fmt.Sprintf("%s[%d]", list, i)
		if !k.sound(at) {
			continue
		}
		for _, f := range voterSchema() {
			value := f.get(&vs[i]).(string)
			key := at + "." + f.key
			if !k.sound(key) {
				continue
			}
			if what := f.bounds(value); what != "" {
				k.fault(key, plain(value), what, f.allowed())
				k.bad[list] = true
				continue
			}
			// "n1" and "N1" would be told apart by the program, but not by people.
			seen, what := addrs, "address stands twice"
			if f.key == "name" {
				seen, what = names, "name stands twice"
			}
			folded := strings.ToLower(value)
			if before, ok := seen[folded]; ok {
				k.fault(key, value, what+", first as "+before, "each once")
				k.bad[list] = true
				continue
			}
			seen[folded] = key
		}
	}
}

// maxVoters is far above what is useful: every write waits for a majority.
const maxVoters = 15

// self checks that the node finds itself, or somebody to join.
func (k *checker) self() {
	if !k.sound("cluster.voters", "node.name", "cluster.join") {
		return
	}
	var names []string
	others := 0
	for _, v := range k.c.Cluster.Voters {
		names = append(names, v.Name)
		if v.Name != k.c.Node.Name {
			others++
		}
	}
	switch {
	case k.c.Cluster.Join && others == 0:
		k.fault("cluster.join", true, "no other node in cluster.voters to ask", "at least one member of the running cluster in cluster.voters")
	case !k.c.Cluster.Join && others == len(names):
		k.fault("node.name", k.c.Node.Name, "not in cluster.voters", strings.Join(names, ", ")+"; or cluster.join: true for a node that was added later")
	}
	self, ok := k.c.Voter(k.c.Node.Name)
	if !ok || k.c.Cluster.Join {
		return
	}
	for _, a := range []struct{ key, value, own string }{
		{"redis.advertise", k.c.Redis.Advertise, self.Client},
		{"peer.advertise", k.c.Peer.Advertise, self.Peer},
		{"http.advertise", k.c.HTTP.Advertise, self.HTTP},
	} {
		if k.sound(a.key) && !strings.EqualFold(a.value, a.own) {
			k.fault(a.key, a.value, "not the own address in cluster.voters", a.own+", or nothing")
		}
	}
}

// ports checks that the three sides can listen side by side.
func (k *checker) ports() {
	sides := []struct{ key, addr string }{
		{"redis.listen", k.c.Redis.Listen}, {"peer.listen", k.c.Peer.Listen}, {"http.listen", k.c.HTTP.Listen},
	}
	for i, a := range sides {
		for _, b := range sides[:i] {
			if k.sound(a.key, b.key, "cluster.voters") && clash(a.addr, b.addr) {
				k.fault(a.key, a.addr, "same port as "+b.key, "a port of its own")
			}
		}
	}
}

// clash tells whether two addresses can't be listened on at once.
func clash(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	return portA == portB && (strings.EqualFold(hostA, hostB) || anyHost(hostA) || anyHost(hostB))
}

func anyHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

func (k *checker) timers() {
	r := k.c.Raft
	if k.sound("raft.election_ticks", "raft.heartbeat_ticks") && r.ElectionTicks < 3*r.HeartbeatTicks {
		k.fault("raft.election_ticks", r.ElectionTicks, fmt.Sprintf("below 3 heartbeats of %d ticks", r.HeartbeatTicks),
			fmt.Sprintf("at least %d", 3*r.HeartbeatTicks))
	}
	if !k.sound("raft.tick", "raft.election_ticks") {
		return
	}
	e := r.ElectionTimeout()
	k.atLeast("service.watchdog_timeout", k.c.Service.WatchdogTimeout, 2*e, "2 election timeouts")
	k.atLeast("disk.hang_timeout", k.c.Disk.HangTimeout, 2*e, "2 election timeouts")
}

func (k *checker) atLeast(key string, d, least time.Duration, what string) {
	if k.sound(key) && d < least {
		k.fault(key, shortDuration(d), "below "+what, "at least "+shortDuration(least))
	}
}

// frameOverhead is what a frame may need beside a command or an append: headers of entries and of the message.
const frameOverhead = 64 << 10

func (k *checker) sizes() {
	c := k.c
	for _, r := range []struct {
		key   string
		have  Bytes
		least Bytes
		what  string
		of    []string
	}{
		{"limits.command_bytes", c.Limits.CommandBytes, c.Limits.KeyBytes + c.Limits.ValueBytes + 1024, "a key and a value", []string{"limits.key_bytes", "limits.value_bytes"}},
		{"redis.output_bytes", c.Redis.OutputBytes, c.Limits.ValueBytes, "limits.value_bytes", []string{"limits.value_bytes"}},
		{"raft.inflight_bytes", c.Raft.InflightBytes, c.Raft.AppendBytes, "raft.append_bytes", []string{"raft.append_bytes"}},
		{"raft.uncommitted_bytes", c.Raft.UncommittedBytes, c.Limits.CommandBytes, "limits.command_bytes", []string{"limits.command_bytes"}},
		{"raft.retained_bytes", c.Raft.RetainedBytes, max(c.Raft.UncommittedBytes, 2*c.Snapshot.LogBytes), "raft.uncommitted_bytes and twice snapshot.log_bytes", []string{"raft.uncommitted_bytes", "snapshot.log_bytes"}},
		{"peer.frame_bytes", c.Peer.FrameBytes, max(c.Limits.CommandBytes, c.Raft.AppendBytes) + frameOverhead, "limits.command_bytes and raft.append_bytes with 64KiB for headers", []string{"limits.command_bytes", "raft.append_bytes"}},
		{"peer.queue_bytes", c.Peer.QueueBytes, c.Peer.FrameBytes, "peer.frame_bytes", []string{"peer.frame_bytes"}},
	} {
		if k.sound(append(r.of, r.key)...) && r.have < r.least {
			k.fault(r.key, r.have, "too small for "+r.what, "at least "+r.least.String())
		}
	}
	if d := c.Disk; k.sound("disk.low_space_bytes", "disk.reserve_bytes") && d.LowSpaceBytes <= d.ReserveBytes {
		k.fault("disk.low_space_bytes", d.LowSpaceBytes, "not above disk.reserve_bytes", "more than "+d.ReserveBytes.String())
	}
	if f := c.Feed; k.sound("feed.events", "feed.lag") && f.Lag > f.Events {
		k.fault("feed.lag", f.Lag, "above feed.events", fmt.Sprintf("at most %d", f.Events))
	}
	s := c.Snapshot
	if k.sound("snapshot.log_entries", "snapshot.keep_entries") && s.LogEntries <= s.KeepEntries {
		k.fault("snapshot.log_entries", s.LogEntries, "not above snapshot.keep_entries", fmt.Sprintf("more than %d", s.KeepEntries))
	}
}

func (k *checker) tls() {
	p := k.c.TLS.Peer
	keys := [][2]string{{"tls.peer.cert", p.Cert}, {"tls.peer.key", p.Key}, {"tls.peer.ca", p.CA}}
	some := p.Cert != "" || p.Key != "" || p.CA != ""
	for _, kv := range keys {
		if some && kv[1] == "" && k.sound(kv[0]) {
			k.fault(kv[0], nil, "missing", "cert, key and ca together, or none")
		}
	}
	c := k.c.TLS.Client
	for _, kv := range [][3]string{
		{"tls.client.cert", c.Cert, c.Key + c.CA}, {"tls.client.key", c.Key, c.Cert + c.CA},
	} {
		if kv[1] == "" && kv[2] != "" && k.sound(kv[0]) {
			k.fault(kv[0], nil, "missing", "cert and key together, or neither")
		}
	}
	if c.RequireCert && c.CA == "" && k.sound("tls.client.ca", "tls.client.require_cert") {
		k.fault("tls.client.ca", nil, "missing", "the file to check certificates against, or require_cert: false")
	}
}

// eventClasses are the letters of notify-keyspace-events.
const eventClasses = "KEg$lshzxetdmnA"

func (k *checker) events() {
	const key = "redis.notify_keyspace_events"
	for _, r := range k.c.Redis.NotifyKeyspaceEvents {
		if k.sound(key) && !strings.ContainsRune(eventClasses, r) {
			k.fault(key, k.c.Redis.NotifyKeyspaceEvents, fmt.Sprintf("%q is no class", r), "letters of "+eventClasses)
		}
	}
}

// warnings are what is allowed, but probably not meant.
func (c Config) warnings() []string {
	var ws []string
	public := func(addr string) bool {
		host, _, _ := net.SplitHostPort(addr)
		return !loopback(host)
	}
	if c.TLS.Peer.Cert == "" && public(c.Peer.Listen) {
		ws = append(ws, fmt.Sprintf("peer.listen = %s is open to others and not encrypted; set tls.peer, or keep it behind a firewall", c.Peer.Listen))
	}
	for _, a := range []struct{ side, listen string }{{"redis", c.Redis.Listen}, {"http", c.HTTP.Listen}} {
		if !public(a.listen) {
			continue
		}
		if c.Redis.PasswordFile == "" && !c.TLS.Client.RequireCert {
			ws = append(ws, fmt.Sprintf("%s.listen = %s is open to others, and unless the log has users everybody who reaches it can read and write; set redis.password_file, or keep it behind a firewall", a.side, a.listen))
		}
		if c.TLS.Client.Cert == "" {
			ws = append(ws, fmt.Sprintf("%s.listen = %s is open to others and not encrypted; set tls.client, or keep it behind a firewall", a.side, a.listen))
		}
	}
	for _, a := range []struct{ side, listen, advertise string }{
		{"redis", c.Redis.Listen, c.Redis.Advertise}, {"peer", c.Peer.Listen, c.Peer.Advertise}, {"http", c.HTTP.Listen, c.HTTP.Advertise},
	} {
		listen, _, _ := net.SplitHostPort(a.listen)
		advertise, _, _ := net.SplitHostPort(a.advertise)
		if ip := net.ParseIP(advertise); loopback(listen) && ip != nil && !ip.IsLoopback() {
			ws = append(ws, fmt.Sprintf("%s.listen = %s is reached from this machine only, but others are told %s", a.side, a.listen, a.advertise))
		}
	}
	if n := len(c.Cluster.Voters); n%2 == 0 && !c.Cluster.Join {
		ws = append(ws, fmt.Sprintf("cluster.voters has %d nodes: it survives no more losses than %d would", n, n-1))
	}
	return ws
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
