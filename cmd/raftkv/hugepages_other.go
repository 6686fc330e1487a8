//go:build !linux

package main

// largePages does something on Linux only.
type largePages struct{}

func (*largePages) grow(int) {}

func (*largePages) allow(bool) {}
