//go:build !linux

package main

// easeTimers does nothing: only Linux has timer slack.
func easeTimers() {}
