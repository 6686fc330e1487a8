// Package selftest runs real raftkv daemons on loopback, torments them and
// checks what clients saw: nothing acknowledged is lost, nothing is applied
// twice, and every history is linearizable. raftkv selftest and the tests in
// e2e are made of it.
//
// Read Run first, then faults, Workload, Recorder and Rules.
package selftest
