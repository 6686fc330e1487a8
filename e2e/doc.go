// Package e2e tests real raftkv daemons: real processes, real sockets, real
// fsync. It has tests only; package selftest has what they are made of.
package e2e
