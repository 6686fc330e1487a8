package statemachine

import (
	"math/big"
	"strings"
)

// Redis adds with the x87's long double: 64 bits of mantissa, 15 of exponent.
// big.Float with this precision rounds in the same way, on every machine.
const (
	floatBits = 64
	floatMax  = 16384  // a power of two that no number reaches
	floatMin  = -16445 // the exponent of the smallest number but zero
	// floatText bounds a number's text; Redis has the same bound.
	floatText = 5*1024 - 1
	// floatDigits are those behind the point in a result.
	floatDigits = 17
)

const (
	errFloat    = "ERR value is not a valid float"
	errInfinity = "ERR increment would produce NaN or Infinity"
)

// addFloats adds two decimal numbers and answers the sum as Redis writes it.
func addFloats(a, b []byte) (sum []byte, fault string) {
	x, infX, ok := parseFloat(a)
	if !ok {
		return nil, errFloat
	}
	y, infY, ok := parseFloat(b)
	if !ok {
		return nil, errFloat
	}
	if infX || infY {
		return nil, errInfinity
	}
	x.Add(x, y)
	if x.Sign() != 0 && x.MantExp(nil) > floatMax {
		return nil, errInfinity
	}
	text := x.Append(nil, 'f', floatDigits)
	n := len(text)
	for text[n-1] == '0' {
		n--
	}
	if text[n-1] == '.' {
		n--
	}
	if string(text[:n]) == "-0" {
		return text[1:n], ""
	}
	return text[:n], ""
}

// parseFloat reads what strtold takes, whole and without blanks. Numbers that are
// too large or too small for a long double are no numbers.
func parseFloat(b []byte) (f *big.Float, infinite, ok bool) {
	if len(b) == 0 || len(b) > floatText {
		return nil, false, false
	}
	text := strings.ToLower(string(b))
	rest := strings.TrimLeft(text, "+-")
	if len(text)-len(rest) > 1 {
		return nil, false, false
	}
	if rest == "inf" || rest == "infinity" {
		return nil, true, true
	}
	digits, exponent := "0123456789", "e"
	mantissa := rest
	hex := strings.HasPrefix(rest, "0x")
	if hex {
		digits, exponent, mantissa = "0123456789abcdef", "p", rest[2:]
	}
	power := 0
	if at := strings.Index(mantissa, exponent); at >= 0 {
		if power, ok = parsePower(mantissa[at+1:]); !ok {
			return nil, false, false
		}
		mantissa = mantissa[:at]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	all := whole + fraction
	if all == "" || strings.Trim(all, digits) != "" {
		return nil, false, false
	}
	if strings.Trim(all, "0") == "" {
		return new(big.Float).SetPrec(floatBits), false, true
	}
	// The integer of all digits times a power: exact, and rounded once.
	r := new(big.Rat)
	n, base := new(big.Int), int64(10)
	shift := power - len(fraction)
	if hex {
		n.SetString(all, 16)
		base, shift = 2, power-4*len(fraction)
	} else {
		n.SetString(all, 10)
	}
	scale := new(big.Int).Exp(big.NewInt(base), big.NewInt(int64(max(shift, -shift))), nil)
	if shift >= 0 {
		r.SetInt(n.Mul(n, scale))
	} else {
		r.SetFrac(n, scale)
	}
	f = new(big.Float).SetPrec(floatBits).SetRat(r)
	if e := f.MantExp(nil); e > floatMax || e < floatMin {
		return nil, false, false
	}
	if text[0] == '-' {
		f.Neg(f)
	}
	return f, false, true
}

// maxPower bounds an exponent: one further from zero can't be made up for by the
// digits that a number can have. It keeps the time of reading a number short.
const maxPower = 40_000

func parsePower(s string) (int, bool) {
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 || digits == "" {
		return 0, false
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int(c-'0'), maxPower)
	}
	if s[0] == '-' {
		n = -n
	}
	return n, true
}
