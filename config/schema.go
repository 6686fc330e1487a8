package config

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// field is one key: what its struct tag says.
type field struct {
	key      string // dotted: raft.tick
	index    []int  // its place in Config, for reflect
	typ      reflect.Type
	def      string
	min, max string
	one      []string // allowed words; nil: any
	is       string   // form of a text: name, path, listen, advertise
	required bool
}

// schema lists all keys in the order of Config. The list cluster.voters is one of them.
func schema() []field { return fieldsOf(reflect.TypeFor[Config](), "", nil) }

// voterSchema lists the keys of one element of cluster.voters.
func voterSchema() []field { return fieldsOf(reflect.TypeFor[Voter](), "", nil) }

func fieldsOf(t reflect.Type, prefix string, index []int) []field {
	var fs []field
	for i := range t.NumField() {
		sf := t.Field(i)
		f := field{
			key:      prefix + sf.Tag.Get("key"),
			index:    append(slices.Clone(index), i),
			typ:      sf.Type,
			def:      sf.Tag.Get("default"),
			min:      sf.Tag.Get("min"),
			max:      sf.Tag.Get("max"),
			is:       sf.Tag.Get("is"),
			required: sf.Tag.Get("required") == "true",
		}
		if words := sf.Tag.Get("one"); words != "" {
			f.one = strings.Fields(words)
		}
		if sf.Type.Kind() == reflect.Struct {
			fs = append(fs, fieldsOf(sf.Type, f.key+".", f.index)...)
			continue
		}
		fs = append(fs, f)
	}
	return fs
}

func (f field) isList() bool { return f.typ.Kind() == reflect.Slice }

// env is the key's environment variable.
func (f field) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.key, ".", "_"))
}

const envPrefix = "RAFTKV_"

// set stores a parsed value in a pointer to the struct that the field is of.
func (f field) set(c any, v any) {
	reflect.ValueOf(c).Elem().FieldByIndex(f.index).Set(reflect.ValueOf(v))
}

// get is the value in a pointer to the struct that the field is of.
func (f field) get(c any) any { return reflect.ValueOf(c).Elem().FieldByIndex(f.index).Interface() }

// parse reads a scalar of the field's type. On a fault it says what is wrong.
// It does not look at bounds.
func (f field) parse(s string) (v any, what string) {
	if !utf8.ValidString(s) {
		return nil, "not UTF-8"
	}
	switch f.typ {
	case reflect.TypeFor[string]():
		return s, ""
	case reflect.TypeFor[bool]():
		switch s {
		case "true":
			return true, ""
		case "false":
			return false, ""
		}
		return nil, "neither true nor false"
	case reflect.TypeFor[int]():
		n, err := parseInt(s)
		if err != nil {
			return nil, err.Error()
		}
		return int(n), ""
	case reflect.TypeFor[Bytes]():
		n, err := parseBytes(s)
		if err != nil {
			return nil, err.Error()
		}
		return n, ""
	case reflect.TypeFor[time.Duration]():
		if _, err := parseInt(s); err == nil {
			return nil, "a duration needs a unit"
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			if strings.Trim(s, "+-0123456789.nuµmsh") == "" && strings.ContainsAny(s, "0123456789") {
				return nil, "not a duration, or too long"
			}
			return nil, "not a duration"
		}
		return d, ""
	case reflect.TypeFor[[]Voter]():
		return parseVoters(s)
	}
	panic("config: no parser for " + f.typ.String())
}

// bounds says what is wrong with a parsed scalar, or nothing.
func (f field) bounds(v any) string {
	switch v := v.(type) {
	case string:
		if v == "" {
			if f.required {
				return "missing"
			}
			return ""
		}
		if f.one != nil && !slices.Contains(f.one, v) {
			return "unknown word"
		}
		return checkForm(f.is, v)
	case int, Bytes, time.Duration:
		n := reflect.ValueOf(v).Int()
		if f.min != "" && n < f.number(f.min) {
			return "too small"
		}
		if f.max != "" && n > f.number(f.max) {
			return "too large"
		}
	}
	return ""
}

func (f field) number(s string) int64 {
	v, what := f.parse(s)
	if what != "" {
		panic("config: bound of " + f.key + ": " + what)
	}
	return reflect.ValueOf(v).Int()
}

// allowed says what the key takes, for messages and the sample.
func (f field) allowed() string {
	switch f.typ {
	case reflect.TypeFor[bool]():
		return "true or false"
	case reflect.TypeFor[int]():
		return "a number" + f.between()
	case reflect.TypeFor[Bytes]():
		return "bytes" + f.between()
	case reflect.TypeFor[time.Duration]():
		return "a duration" + f.between()
	case reflect.TypeFor[[]Voter]():
		return "a list of name, peer, client and http"
	}
	if f.one != nil {
		return strings.Join(f.one, ", ")
	}
	switch f.is {
	case "name":
		return "1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first"
	case "listen":
		return "host:port, port 1 to 65535; host 0.0.0.0 or [::] for all interfaces"
	case "advertise":
		return "host:port that others can reach, port 1 to 65535"
	case "path":
		return "a path"
	}
	return "text"
}

func (f field) between() string {
	if f.min == "" {
		return ""
	}
	return " from " + f.min + " to " + f.max
}

// checkForm says what is wrong with a text of a form, or nothing.
func checkForm(is, s string) string {
	switch is {
	case "name":
		return checkName(s)
	case "listen", "advertise":
		return checkAddress(s, is == "listen")
	case "path":
		if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
			return "control characters in a path"
		}
	}
	return ""
}

func checkName(s string) string {
	if len(s) > 64 {
		return "longer than 64"
	}
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if letter || i > 0 && strings.ContainsRune("._-", r) {
			continue
		}
		return fmt.Sprintf("%q may not stand there", r)
	}
	return ""
}

// checkAddress wants host:port with a number as port. A host that stands for
// all interfaces is an address to listen on, not one to reach.
func checkAddress(s string, listen bool) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "not host:port"
	}
	if n, err := parseInt(port); err != nil || n < 1 || n > 65535 {
		return fmt.Sprintf("port %q", port)
	}
	ip := net.ParseIP(strings.SplitN(host, "%", 2)[0])
	switch {
	case ip != nil:
		if ip.IsUnspecified() && !listen {
			return "nobody can reach the unspecified address"
		}
		return ""
	case host == "":
		if listen {
			return ""
		}
		return "no host"
	case len(host) > 253:
		return "host name longer than 253"
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if what := checkLabel(label); what != "" {
			return what
		}
	}
	// 10.0.0.256 and 10.1 pass as host names, and are surely meant as addresses.
	if strings.Trim(host, "0123456789.") == "" {
		return "not an IP address"
	}
	return ""
}

func checkLabel(label string) string {
	if label == "" || len(label) > 63 {
		return "not a host name"
	}
	for _, r := range label {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_') {
			return fmt.Sprintf("%q in a host name", r)
		}
	}
	return ""
}

// parseVoters reads the form of cluster.voters that fits into a variable:
// name=peer/client/http, separated by commas.
func parseVoters(s string) (any, string) {
	var vs []Voter
	for i, one := range strings.Split(s, ",") {
		name, addrs, ok := strings.Cut(strings.TrimSpace(one), "=")
		parts := strings.Split(addrs, "/")
		if !ok || len(parts) != 3 {
			return nil, "voter " + strconv.Itoa(i+1) + " is not name=peer/client/http"
		}
		vs = append(vs, Voter{Name: name, Peer: parts[0], Client: parts[1], HTTP: parts[2]})
	}
	return vs, ""
}
