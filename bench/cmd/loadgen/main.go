// Command loadgen runs one load against addresses that already listen.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/bench/load"
)

func main() {
	var c load.Config
	addrs := flag.String("addrs", "127.0.0.1:6379", "client addresses, the leader first (comma-separated)")
	pids := flag.String("pids", "", "server process ids, for CPU and disk accounting")
	flag.StringVar(&c.Proto, "proto", "resp", "resp or etcd")
	flag.IntVar(&c.Clients, "clients", 64, "closed-loop clients")
	flag.IntVar(&c.Depth, "depth", 1, "pipelining depth")
	flag.IntVar(&c.MaxConns, "conns", 64, "connections shared by more clients than this (etcd)")
	flag.IntVar(&c.Keys, "keys", 100000, "key space")
	flag.IntVar(&c.ValueLen, "value", 256, "value bytes")
	flag.IntVar(&c.ReadPct, "reads", 0, "percent of reads")
	flag.BoolVar(&c.Stale, "stale", false, "stale reads, over all addresses")
	flag.StringVar(&c.StaleCmd, "stale-cmd", "SGET", "RESP command of a stale read")
	flag.BoolVar(&c.Append, "append", false, "APPEND in place of SET")
	flag.BoolVar(&c.Seq, "seq", false, "write each key once and stop")
	flag.DurationVar(&c.Warm, "warm", time.Second, "warm-up")
	flag.DurationVar(&c.Dur, "d", 5*time.Second, "measured time")
	find := flag.Bool("find-leader", true, "put the leader first")
	flag.Parse()
	c.Addrs = strings.Split(*addrs, ",")
	for _, p := range strings.Split(*pids, ",") {
		if n, err := strconv.Atoi(p); err == nil {
			c.PIDs = append(c.PIDs, n)
		}
	}
	if *find {
		i := load.Leader(c.Proto, c.Addrs, 10*time.Second)
		if i < 0 {
			fmt.Fprintln(os.Stderr, "no leader")
			os.Exit(1)
		}
		c.Addrs[0], c.Addrs[i] = c.Addrs[i], c.Addrs[0]
	}
	r, err := load.Run(c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(r)
}
