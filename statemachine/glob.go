package statemachine

// MatchGlob tells whether the key fits the pattern as in Redis (stringmatch):
// * any bytes, ? one byte, [abc] [a-z] [^a] one of or none of, \x the byte x.
// A class that isn't closed ends with the pattern; a range may stand the wrong
// way round; a backslash at the end is itself. Bytes compare unsigned.
//
// It goes back to the last star only, so that the time is at most the product of the lengths.
func MatchGlob(pattern []byte, key string) bool {
	p, k := 0, 0
	starP, starK := -1, 0 // where to go on after the last star, and the key from there
	for k < len(key) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			starP, starK = p, k
			continue
		}
		if p < len(pattern) {
			if n, ok := matchByte(pattern[p:], key[k]); ok {
				p, k = p+n, k+1
				continue
			}
		}
		if starP < 0 {
			return false
		}
		starK++
		p, k = starP, starK
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchByte compares one byte with the first element of a pattern that is not
// empty and doesn't start with a star. n is the length of the element.
func matchByte(pattern []byte, c byte) (n int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		return matchClass(pattern, c)
	case '\\':
		if len(pattern) >= 2 {
			return 2, pattern[1] == c
		}
	}
	return 1, pattern[0] == c
}

func matchClass(pattern []byte, c byte) (n int, ok bool) {
	i := 1
	not := i < len(pattern) && pattern[i] == '^'
	if not {
		i++
	}
	in := false
	for i < len(pattern) {
		rest := pattern[i:]
		switch {
		case rest[0] == '\\' && len(rest) >= 2:
			in = in || rest[1] == c
			i += 2
		case rest[0] == ']':
			return i + 1, in != not
		case len(rest) >= 3 && rest[1] == '-':
			lo, hi := min(rest[0], rest[2]), max(rest[0], rest[2])
			in = in || lo <= c && c <= hi
			i += 3
		default:
			in = in || rest[0] == c
			i++
		}
	}
	return i, in != not
}
