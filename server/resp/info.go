package resp

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/raftkv/raftkv/node"
	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

// section is a part of INFO.
type section struct {
	name  string
	title string
	write func(s *Server, st *node.Status, keys int64, add func(key string, value any))
}

func sections() []section {
	return []section{
		{"server", "Server", infoServer},
		{"clients", "Clients", infoClients},
		{"memory", "Memory", infoMemory},
		{"persistence", "Persistence", infoPersistence},
		{"stats", "Stats", infoStats},
		{"replication", "Replication", infoReplication},
		{"cpu", "CPU", infoCPU},
		{"cluster", "Cluster", infoCluster},
		{"raft", "Raft", infoRaft},
		{"keyspace", "Keyspace", infoKeyspace},
	}
}

func sectionNames() []string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}

// sectionMask has a bit for each section that the arguments of INFO name.
func sectionMask(args [][]byte) uint64 {
	all := uint64(1)<<len(sections()) - 1
	if len(args) == 0 {
		return all
	}
	var mask uint64
	for _, arg := range args {
		if is(arg, "all") || is(arg, "default") || is(arg, "everything") {
			return all
		}
		for i, s := range sections() {
			if is(arg, s.name) {
				mask |= 1 << i
			}
		}
	}
	return mask
}

// tellInfo writes INFO. A node that can't tell the number of its keys (it is
// starting) leaves that section empty.
func tellInfo(s *Server, w *wire.Writer, res statemachine.Result, sl *slot) {
	keys := int64(-1)
	if res.Kind == statemachine.ResultInt {
		keys = res.Int
	}
	st := s.backend.Status()
	var b strings.Builder
	for i, sec := range sections() {
		if sl.aux>>i&1 == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", sec.title)
		sec.write(s, &st, keys, func(key string, value any) { fmt.Fprintf(&b, "%s:%v\r\n", key, value) })
	}
	w.Verbatim(b.String())
}

func infoServer(s *Server, st *node.Status, _ int64, add func(string, any)) {
	add("redis_version", redisVersion)
	add("redis_mode", s.mode())
	add("raftkv_version", s.cfg.Version)
	add("os", runtime.GOOS+" "+runtime.GOARCH)
	add("arch_bits", 32<<(^uint(0)>>63))
	add("go_version", runtime.Version())
	add("process_id", os.Getpid())
	add("run_id", st.ID)
	if a, ok := s.addr(); ok {
		_, port := splitAddr(a)
		add("tcp_port", port)
	}
	add("server_time_usec", time.Now().UnixMicro())
	add("uptime_in_seconds", int64(st.UptimeSeconds))
	add("uptime_in_days", int64(st.UptimeSeconds)/86400)
}

func infoClients(s *Server, _ *node.Status, _ int64, add func(string, any)) {
	add("connected_clients", s.Connections())
	add("maxclients", s.cfg.Clients)
	add("blocked_clients", 0)
}

func infoMemory(_ *Server, _ *node.Status, _ int64, add func(string, any)) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	add("used_memory", m.HeapAlloc)
	add("used_memory_human", fmt.Sprintf("%.2fM", float64(m.HeapAlloc)/(1<<20)))
	add("used_memory_rss", m.Sys-m.HeapReleased)
	add("maxmemory", 0)
	add("maxmemory_policy", "noeviction")
}

func infoPersistence(s *Server, st *node.Status, _ int64, add func(string, any)) {
	loading := 1
	if st.Ready {
		loading = 0
	}
	// Clients wait while loading is 1. A node without a leader still answers them.
	if st.Cluster != "" && st.AppliedIndex > 0 {
		loading = 0
	}
	add("loading", loading)
	saving := 0
	if s.saving.Load() {
		saving = 1
	}
	add("rdb_bgsave_in_progress", saving)
	add("rdb_last_save_time", st.SnapshotTime)
	add("aof_enabled", 1)
	add("log_bytes", st.LogBytes)
	add("snapshot_index", st.SnapshotIndex)
	add("snapshot_bytes", st.SnapshotBytes)
}

func infoStats(s *Server, _ *node.Status, _ int64, add func(string, any)) {
	now, since := s.Stats(), s.since.Load()
	channels, patterns := s.hub.size()
	add("total_connections_received", now.Accepted-since.Accepted)
	add("total_commands_processed", now.Commands-since.Commands)
	add("rejected_connections", now.Refused-since.Refused)
	add("protocol_errors", now.ProtocolErrors-since.ProtocolErrors)
	add("slow_clients_closed", now.Slow-since.Slow)
	add("pubsub_channels", channels)
	add("pubsub_patterns", patterns)
}

func infoReplication(_ *Server, st *node.Status, _ int64, add func(string, any)) {
	if st.Role == "leader" {
		add("role", "master")
		n := 0
		for _, m := range st.Members {
			if m.ID != st.ID {
				n++
			}
		}
		add("connected_slaves", n)
		n = 0
		for _, m := range st.Members {
			if m.ID == st.ID {
				continue
			}
			host, port := splitAddr(m.Client)
			state := "online"
			if !m.Active {
				state = "offline"
			}
			add(fmt.Sprintf("slave%d", n), fmt.Sprintf("ip=%s,port=%s,state=%s,offset=%d,lag=%d", host, port, state, m.Match, st.LastIndex-min(m.Match, st.LastIndex)))
			n++
		}
	} else {
		add("role", "slave")
		host, port, link := "", "0", "down"
		if m, ok := leaderOf(st); ok {
			host, port = splitAddr(m.Client)
			link = "up"
		}
		add("master_host", host)
		add("master_port", port)
		add("master_link_status", link)
		add("slave_repl_offset", st.AppliedIndex)
		add("slave_read_only", 0) // writes are forwarded to the leader
		add("connected_slaves", 0)
	}
	add("master_replid", st.Cluster)
	add("master_repl_offset", st.CommitIndex)
}

func infoCPU(_ *Server, _ *node.Status, _ int64, add func(string, any)) {
	system, user := cpuSeconds()
	add("used_cpu_sys", fmt.Sprintf("%.6f", system))
	add("used_cpu_user", fmt.Sprintf("%.6f", user))
}

// infoCluster says what decides whether a client takes this for a cluster.
func infoCluster(s *Server, _ *node.Status, _ int64, add func(string, any)) {
	enabled := 0
	if s.cfg.Moved {
		enabled = 1
	}
	add("cluster_enabled", enabled)
}

// mode is what clients are told in HELLO and INFO.
func (s *Server) mode() string {
	if s.cfg.Moved {
		return "cluster"
	}
	return "standalone"
}

func infoRaft(_ *Server, st *node.Status, _ int64, add func(string, any)) {
	add("raft_node", st.Name)
	add("raft_role", st.Role)
	add("raft_leader", st.LeaderName)
	add("raft_term", st.Term)
	add("raft_last_index", st.LastIndex)
	add("raft_commit_index", st.CommitIndex)
	add("raft_applied_index", st.AppliedIndex)
	add("raft_lag", st.Lag)
	add("raft_members", len(st.Members))
}

func infoKeyspace(_ *Server, _ *node.Status, keys int64, add func(string, any)) {
	if keys > 0 {
		add("db0", fmt.Sprintf("keys=%d,expires=0,avg_ttl=0", keys))
	}
}

func splitAddr(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, "0"
	}
	return host, port
}
