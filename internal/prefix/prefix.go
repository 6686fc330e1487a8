// Package prefix turns "all keys that begin with these bytes" into what a scan
// knows: a key to start behind, and a pattern.
package prefix

import "strings"

// Before is a key in front of all keys with a prefix, and behind nearly all
// others; "" if there is none in front.
func Before(prefix string) string {
	if prefix == "" {
		return ""
	}
	n := len(prefix) - 1
	if prefix[n] == 0 {
		return prefix[:n]
	}
	return prefix[:n] + string([]byte{prefix[n] - 1}) + "\xff\xff\xff\xff"
}

// Pattern is a glob of Redis that matches the keys with a prefix, and no others.
func Pattern(prefix string) string {
	var b strings.Builder
	for i := range len(prefix) {
		if strings.IndexByte(`*?[]\^-`, prefix[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(prefix[i])
	}
	b.WriteByte('*')
	return b.String()
}
