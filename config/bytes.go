package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size. In YAML it is a number of bytes or carries a unit: 64KiB,
// 8MiB, 1GiB, 1TiB, powers of 1024.
type Bytes int64

type unit struct {
	name string
	size int64
}

func units() [4]unit {
	return [...]unit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

// String is the shortest exact form: 1536KiB, 8MiB, 1000.
func (b Bytes) String() string {
	for _, u := range units() {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// parseBytes reads what String writes.
func parseBytes(s string) (Bytes, error) {
	size, digits := int64(1), s
	for _, u := range units() {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			size, digits = u.size, strings.TrimSuffix(rest, " ")
			break
		}
	}
	n, err := parseInt(digits)
	if err != nil {
		return 0, errors.New("not a size")
	}
	if n > math.MaxInt64/size || n < math.MinInt64/size {
		return 0, errors.New("too large")
	}
	return Bytes(n * size), nil
}

// parseInt takes plain decimal digits only: YAML's 010, 0x10, 1_000 and 1e3
// mean different things to different readers.
func parseInt(s string) (int64, error) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" || (len(digits) > 1 && digits[0] == '0') {
		return 0, errors.New("not a plain decimal number")
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, errors.New("too large")
	}
	return n, nil
}
