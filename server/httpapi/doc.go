// Package httpapi is the side of a node for people and monitors: /livez,
// /readyz, /status, /metrics, and /debug/pprof where only this machine can reach it.
//
// It reads; nothing here changes the store. Every answer is bounded in time and
// size, and every error is JSON.
//
// Read New first.
package httpapi
