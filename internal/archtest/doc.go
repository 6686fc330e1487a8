// Package archtest holds the arrows between the rooms, as drawn in
// docs/ARCHITECTURE.md: who may import whom, and what the deterministic rooms
// must not touch. It has tests only.
package archtest
