package raft

import "slices"

// quorum is the number of voters that make a majority of n.
func quorum(n int) int { return n/2 + 1 }

// committed is the highest index that a majority of the voters has, given what
// each of them has (raft paper 5.3). It sorts match.
func committed(match []Index) Index {
	if len(match) == 0 {
		return 0
	}
	slices.Sort(match)
	return match[len(match)-quorum(len(match))]
}
