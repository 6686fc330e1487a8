// Package cores runs clusters of bare cores through random faults, from a seed:
// the small, fast layer below package sim.
//
// Everything comes from the seed: the sizes of all limits, which faults there
// are and how often, when each disk, message and tick is due. Time is virtual.
// Phase one lets the faults loose while clients propose and read; phase two heals
// everything and demands progress: one leader, new entries applied everywhere,
// reads answered. rafttest.Checker looks at every step.
//
//	go test ./sim/cores                               some hundred seeds
//	go test ./sim/cores -run TestSeed -seed 7 -trace   one seed, told line by line
//	RAFTKV_TEST=full go test ./sim/cores              many seeds
//
// Read Run first, then world.step, then faults.go.
package cores
