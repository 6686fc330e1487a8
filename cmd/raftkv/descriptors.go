package main

import (
	"math"
	"syscall"
)

// keptDescriptors is how many open files clients leave to the node itself: its log,
// its snapshots, the other nodes. Without them a log can't begin its next segment, which
// ends the process, and the other nodes are not let in.
const keptDescriptors = 256

// shareDescriptors lowers how many connections are served so that so many open files
// suffice. A limit that is tiny is halved.
func shareDescriptors(limit uint64, clients, connections int) (int, int) {
	most := int(min(limit, math.MaxInt32))
	spare := most - min(keptDescriptors, most/2)
	if clients+connections <= spare {
		return clients, connections
	}
	connections = min(connections, max(spare/4, 1))
	return min(clients, max(spare-connections, 1)), connections
}

// limitClients lowers redis.clients and http.connections to what the limit of open
// files allows, and says so. Go has raised that limit as far as it may.
func (d *daemon) limitClients() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		d.log.Warn("the limit of open files is not known", "err", err)
		return
	}
	wanted, wantedHTTP := d.cfg.Redis.Clients, d.cfg.HTTP.Connections
	d.cfg.Redis.Clients, d.cfg.HTTP.Connections = shareDescriptors(uint64(limit.Cur), wanted, wantedHTTP)
	if d.cfg.Redis.Clients < wanted || d.cfg.HTTP.Connections < wantedHTTP {
		d.log.Warn("fewer clients are served than configured: raise the limit of open files (LimitNOFILE, ulimit -n)", "open_files", uint64(limit.Cur),
			"redis.clients", d.cfg.Redis.Clients, "http.connections", d.cfg.HTTP.Connections)
	}
}
