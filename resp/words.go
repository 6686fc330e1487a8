package resp

// SplitWords splits a line into arguments as Redis does with an inline request:
// blanks separate; "..." knows \n \r \t \b \a \xHH and \ before any other byte;
// '...' knows only \'. ok is false if a quote is not closed, or is not followed
// by a blank. The words are copies.
func SplitWords(line string) (words [][]byte, ok bool) {
	return splitArgs(nil, []byte(line))
}

// splitArgs appends the words of line to args. The words alias line, which is
// changed: an unquoted word is never longer than the quoted one.
func splitArgs(args [][]byte, line []byte) ([][]byte, bool) {
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return args, true
		}
		start, w := i, i // w is where the next byte of the word is written
	word:
		for i < len(line) && !isSpace(line[i]) {
			switch q := line[i]; q {
			case '"', '\'':
				next, end, ok := unquote(line, i, w)
				if !ok {
					return args, false
				}
				i, w = next, end
				break word // a blank or the end follows
			default:
				line[w] = q
				w++
				i++
			}
		}
		args = append(args, line[start:w:w])
	}
}

// unquote reads the quoted text that starts at i and writes it to line[w:]. It
// returns the positions behind both.
func unquote(line []byte, i, w int) (next, end int, ok bool) {
	quote := line[i]
	for i++; i < len(line); i++ {
		c := line[i]
		switch {
		case c == quote:
			i++
			return i, w, i == len(line) || isSpace(line[i])
		case c == '\\' && quote == '\'' && i+1 < len(line) && line[i+1] == '\'':
			i++
			c = '\''
		case c == '\\' && quote == '"' && i+3 < len(line) && line[i+1] == 'x' && hex(line[i+2]) >= 0 && hex(line[i+3]) >= 0:
			c = byte(hex(line[i+2])<<4 | hex(line[i+3]))
			i += 3
		case c == '\\' && quote == '"' && i+1 < len(line):
			i++
			switch c = line[i]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'b':
				c = '\b'
			case 'a':
				c = '\a'
			}
		}
		line[w] = c
		w++
	}
	return i, w, false
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
