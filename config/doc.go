// Package config reads what a node is told: one YAML file, environment
// variables, flags. Later ones win, and every fault of all three is reported at
// once with its place, its key, its value and what is allowed.
//
// A key is a fixed, dotted name such as raft.tick. Its variable is RAFTKV_ and
// the key in capitals, RAFTKV_RAFT_TICK. Which keys there are, their defaults
// and bounds stand in the tags of the structs in config.go and nowhere else;
// docs_gen.go and deploy/raftkv.yaml are made from them by
//
//	go test ./config -update
//
// The package knows nothing of the rooms that use the values.
//
// Read Config first, then Load, then Faults.
package config
