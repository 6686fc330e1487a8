// Package sim runs clusters of whole nodes through random faults, from a seed.
//
// What runs is what ships: node.Loop (inbox, Replica, core), node.Applier,
// statemachine.Machine, snapshot.Dir and the load path of a start. What is
// simulated is the world around it: disks, file systems, the network, clocks,
// crashes, operators and clients. All of it is one event heap in one goroutine,
// and every choice comes from the seed: the same seed is the same run, to the
// last bit of the trace hash.
//
//	   clients            operators, faults
//	      │                       │
//	   node.Loop ── node.Driver ──┼──> disk (raftlog.Mem), files (snapshot.MemFS)
//	      │                       └──> links, clocks
//	rules look on after every event
//
// Phase one lets the faults loose. Phase two heals everything and demands
// progress, equal states on all nodes, and every acknowledged write once. Each
// rule (rule_*.go) has its source; histories go through porcupine at the end.
//
//	go test ./sim                                            a few seeds
//	go test ./sim -run TestReplicas -seeds 500               more
//	raftkv sim --seed 7 --trace                              one, line by line
//
// Read Run first, then world.go, host.go and rules.go.
package sim
