package node

import "fmt"

// assert panics if the program is wrong. Wrong input never gets here.
func assert(ok bool, format string, args ...any) {
	if !ok {
		panic("node: " + fmt.Sprintf(format, args...))
	}
}
