// Package selftest runs real raftkv daemons on loopback, torments them and
// checks what clients saw: nothing acknowledged is lost, nothing is applied
// twice, and every history is linearizable. The process-level tests in e2e are
// made of it.
//
// Read Cluster first, then Recorder.
package selftest
