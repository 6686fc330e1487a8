package raft

import "fmt"

// assert ends the program when it is wrong. One condition a call, stated
// positively, with the numbers in the message.
func assert(ok bool, format string, args ...any) {
	if !ok {
		panic("raft: " + fmt.Sprintf(format, args...))
	}
}
