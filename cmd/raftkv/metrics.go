package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/resp"
)

// metrics makes the registry behind /metrics. Values are read when they are asked for.
func (d *daemon) metrics() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsGC, collectors.MetricsMemory)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	counter := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "raftkv", Name: name, Help: help}, d.ifRunning(f)))
	}
	gauge := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "raftkv", Name: name, Help: help}, d.ifRunning(f)))
	}
	status := func(f func(node.Status) float64) func() float64 {
		return func() float64 { return f(d.node.Status()) }
	}
	m := func(f func(*node.Metrics) uint64) func() float64 {
		return func() float64 { return float64(f(d.node.Metrics())) }
	}
	clients := func(f func(resp.Stats) uint64) func() float64 {
		return func() float64 { return float64(f(d.clients.Stats())) }
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}

	gauge("is_leader", "1 while this node leads.", status(func(s node.Status) float64 { return flag(s.Role == "leader") }))
	gauge("ready", "1 while this node can serve linearizable reads.", status(func(s node.Status) float64 { return flag(s.Ready) }))
	gauge("term", "Current term.", status(func(s node.Status) float64 { return float64(s.Term) }))
	gauge("last_index", "Last index of the log.", status(func(s node.Status) float64 { return float64(s.LastIndex) }))
	gauge("commit_index", "Highest index known to be committed.", status(func(s node.Status) float64 { return float64(s.CommitIndex) }))
	gauge("applied_index", "Highest index applied.", status(func(s node.Status) float64 { return float64(s.AppliedIndex) }))
	gauge("snapshot_index", "Last index of the newest snapshot.", status(func(s node.Status) float64 { return float64(s.SnapshotIndex) }))
	gauge("log_bytes", "Bytes of the retained log in memory.", status(func(s node.Status) float64 { return float64(s.LogBytes) }))
	gauge("low_space", "1 while writes are refused because the disk is nearly full.", status(func(s node.Status) float64 { return flag(s.LowSpace) }))
	gauge("differing_members", "Members whose state differed from this node's when they were compared last.", func() float64 { return float64(d.node.Metrics().Differ.Load()) })
	gauge("agreed_index", "Newest entry at which a majority of the voters had this node's state.", status(func(s node.Status) float64 { return float64(s.AgreedIndex) }))
	gauge("open_requests", "Requests under way.", func() float64 { return float64(d.node.Metrics().Open.Load()) })
	gauge("waiting_requests", "Requests that wait for a leader or for an earlier one of their connection.", func() float64 { return float64(d.node.Metrics().Waiting.Load()) })
	gauge("clients", "Client connections.", func() float64 { return float64(d.clients.Connections()) })

	gauge("feed_watchers", "Subscribers to changes of keys.", func() float64 { return float64(d.feed.Stats().Subscribers) })
	gauge("feed_events_kept", "Recent changes that are kept for them.", func() float64 { return float64(d.feed.Stats().Kept) })

	counter("feed_events_total", "Changes observed.", func() float64 { return float64(d.feed.Stats().Events) })
	counter("feed_cut_total", "Watchers that were too slow and were cut off.", func() float64 { return float64(d.feed.Stats().Cut) })
	counter("proposals_total", "Commands appended as leader.", m(func(m *node.Metrics) uint64 { return m.Proposals.Load() }))
	counter("applied_total", "Entries applied.", m(func(m *node.Metrics) uint64 { return m.Applied.Load() }))
	counter("apply_batches_total", "Turns of the applier that had entries.", m(func(m *node.Metrics) uint64 { return m.Batches.Load() }))
	counter("reads_total", "Linearizable reads.", m(func(m *node.Metrics) uint64 { return m.Reads.Load() }))
	counter("read_rounds_total", "Confirmations of leadership that reads shared.", m(func(m *node.Metrics) uint64 { return m.ReadRounds.Load() }))
	counter("log_writes_total", "Writes handed to the log.", m(func(m *node.Metrics) uint64 { return m.Writes.Load() }))
	counter("log_write_entries_total", "Entries in them.", m(func(m *node.Metrics) uint64 { return m.WriteEntries.Load() }))
	counter("log_write_bytes_total", "Bytes of data in them.", m(func(m *node.Metrics) uint64 { return m.WriteBytes.Load() }))
	counter("log_write_seconds_total", "Time that they took.", func() float64 { return float64(d.node.Metrics().WriteNanos.Load()) / 1e9 })
	counter("bolt_transactions_total", "Transactions of bbolt.", func() float64 { return float64(d.store.Transactions()) })
	counter("messages_sent_total", "Messages handed to the network.", m(func(m *node.Metrics) uint64 { return m.Messages.Load() }))
	counter("messages_received_total", "Messages of peers.", m(func(m *node.Metrics) uint64 { return m.Received.Load() }))
	counter("messages_dropped_total", "Messages of peers that found no room.", m(func(m *node.Metrics) uint64 { return m.Dropped.Load() }))
	counter("forwarded_total", "Commands sent on to a leader.", m(func(m *node.Metrics) uint64 { return m.Forwarded.Load() }))
	counter("refused_total", "Requests that were surely not applied.", m(func(m *node.Metrics) uint64 { return m.Refused.Load() }))
	counter("unknown_total", "Requests whose outcome is unknown.", m(func(m *node.Metrics) uint64 { return m.Unknown.Load() }))
	counter("busy_total", "Requests refused for want of room.", m(func(m *node.Metrics) uint64 { return m.Busy.Load() }))
	counter("snapshots_total", "Snapshots saved.", m(func(m *node.Metrics) uint64 { return m.Snapshots.Load() }))
	counter("snapshot_errors_total", "Snapshots that could not be saved.", m(func(m *node.Metrics) uint64 { return m.SnapshotErrors.Load() }))
	counter("fetches_total", "Snapshots fetched from another node.", m(func(m *node.Metrics) uint64 { return m.Fetches.Load() }))
	counter("divergences_total", "Times that another node's state was found to differ from this one's.", m(func(m *node.Metrics) uint64 { return m.Diverged.Load() }))
	counter("role_changes_total", "Changes of role.", m(func(m *node.Metrics) uint64 { return m.RoleChanges.Load() }))
	counter("commands_total", "Commands of clients.", clients(func(s resp.Stats) uint64 { return s.Commands }))
	counter("clients_accepted_total", "Client connections taken.", clients(func(s resp.Stats) uint64 { return s.Accepted }))
	counter("clients_refused_total", "Client connections above the limit.", clients(func(s resp.Stats) uint64 { return s.Refused }))
	return reg
}

// ifRunning is f once the node runs, and 0 before.
func (d *daemon) ifRunning(f func() float64) func() float64 {
	return func() float64 {
		if !d.running.Load() {
			return 0
		}
		return f()
	}
}
