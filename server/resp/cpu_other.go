//go:build !unix

package resp

// cpuSeconds is not known here.
func cpuSeconds() (system, user float64) { return 0, 0 }
