package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a YAML file, in bytes. A real one has a few thousand.
const maxFile = 1 << 20

// fileValues are the values that a YAML file gives, after the checks that need
// the text: unknown and repeated keys, wrong kinds, and forms that viper would bend
// into something else without a word (true to 1, 10 to ten nanoseconds).
type fileValues struct {
	path   string
	values map[string]any // by dotted key: string or []Voter
	lines  map[string]int // by dotted key, and cluster.voters[1].peer
	faults Faults
	broken bool // the text ends somewhere: nothing can be said of what is missing
}

// readFile reads a file without trusting it. The error is of the operating system.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// parseFile checks the YAML text b, which came from path.
func parseFile(path string, b []byte) *fileValues {
	p := &fileValues{path: path, values: map[string]any{}, lines: map[string]int{}}
	if len(b) > maxFile {
		p.broken = true
		p.fault(0, "", "", fmt.Sprintf("longer than %v", Bytes(maxFile)), "")
		return p
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if line, what := badText(b); what != "" {
		p.broken = true
		p.fault(line, "", "", what, "UTF-8 text")
		return p
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF): // empty, or comments only
		return p
	case err != nil:
		p.syntax(b, err)
		return p
	}
	root := doc.Content[0]
	if !empty(root) {
		p.walk(root, "")
	}
	var second yaml.Node
	switch err := d.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		p.syntax(b, err)
	default:
		p.fault(second.Line, "", "", "a second document begins here", "one document a file")
	}
	return p
}

func (p *fileValues) fault(line int, key, value, what, want string) {
	where := p.path
	if line > 0 {
		where += ":" + strconv.Itoa(line)
	}
	if len(p.faults) < 10*maxFaults { // the report stops before; a file of another kind must not fill the memory
		p.faults = append(p.faults, Fault{Where: where, Line: line, Key: key, Value: value, What: what, Want: want})
	}
}

// syntax reports what the YAML parser stopped at. It stops at the first fault.
func (p *fileValues) syntax(b []byte, err error) {
	p.broken = true
	what := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1 // the parser names no line where it means the first
	if m := regexp.MustCompile(`^line (\d+): (.*)`).FindStringSubmatch(what); m != nil {
		line, _ = strconv.Atoi(m[1])
		what = m[2]
	}
	lines := bytes.Split(b, []byte("\n"))
	line = min(line, len(lines))
	if l := lines[line-1]; bytes.ContainsRune(l[:len(l)-len(bytes.TrimLeft(l, " \t"))], '\t') {
		p.fault(line, "", "", "a tab in the indentation", "spaces")
		return
	}
	p.fault(line, "", "", "not YAML: "+what, "")
}

// badText finds what is no text, with its line. The YAML parser finds it too, but without a line.
func badText(b []byte) (line int, what string) {
	for line = 1; len(b) > 0; {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			return line, fmt.Sprintf("byte 0x%02x is not UTF-8", b[0])
		case r == '\n':
			line++
		case r < ' ' && r != '\t' && r != '\r' || r == 0x7f || r == '\ufeff':
			return line, fmt.Sprintf("control character %U", r)
		}
		b = b[size:]
	}
	return 0, ""
}

// walk takes a mapping whose keys stand under prefix ("" or "raft.").
func (p *fileValues) walk(n *yaml.Node, prefix string) {
	section := strings.TrimSuffix(prefix, ".")
	names := namesUnder(prefix)
	if n.Kind == yaml.AliasNode {
		p.odd(n, section)
		return
	}
	if n.Kind != yaml.MappingNode {
		if section == "" || !empty(n) {
			p.fault(n.Line, section, shown(n), "not a section", "the keys "+strings.Join(names, ", "))
		}
		return
	}
	p.odd(n, section)
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := prefix + name.Value
		if name.Kind != yaml.ScalarNode || !slices.Contains(names, name.Value) {
			p.unknown(name, prefix, names)
			continue
		}
		if line, ok := seen[name.Value]; ok {
			p.fault(name.Line, key, "", fmt.Sprintf("stands twice, first in line %d", line), "once")
			continue
		}
		seen[name.Value] = name.Line
		p.lines[key] = value.Line
		if f, ok := lookup(key); !ok {
			p.walk(value, key+".")
		} else if f.isList() {
			p.list(value, f)
		} else if text, ok := p.scalar(value, f, key); ok {
			p.values[key] = text
		}
	}
}

// unknown reports a key that is not there, and what was probably meant.
func (p *fileValues) unknown(name *yaml.Node, prefix string, names []string) {
	if name.Tag == "!!merge" {
		p.fault(name.Line, prefix+"<<", "", "merge keys are not taken", "")
		return
	}
	if name.Kind != yaml.ScalarNode {
		p.fault(name.Line, strings.TrimSuffix(prefix, "."), "", "a key that is not a word", strings.Join(names, ", "))
		return
	}
	what := "unknown key"
	if near := nearest(name.Value, names); near != "" {
		what += ", did you mean " + near + "?"
	}
	key := quote(name.Value)
	if checkName(strings.ReplaceAll(name.Value, "_", "")) == "" {
		key = name.Value
	}
	p.fault(name.Line, prefix+key, "", what, strings.Join(names, ", "))
}

// scalar takes the text of one value, if it is of the right kind.
func (p *fileValues) scalar(n *yaml.Node, f field, key string) (string, bool) {
	if n.Kind == yaml.AliasNode || n.Kind != yaml.ScalarNode {
		p.odd(n, key)
		if n.Kind != yaml.AliasNode {
			p.fault(n.Line, key, "", "a list or a section, not one value", f.allowed())
		}
		return "", false
	}
	if p.odd(n, key) {
		return "", false
	}
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	bad := func(what string) (string, bool) {
		p.fault(n.Line, key, n.Value, what, f.allowed())
		return "", false
	}
	switch {
	case !quoted && n.Tag == "!!null":
		if f.def == "" && !f.required {
			return "", true
		}
		return bad("no value; give one or remove the key")
	case f.typ.Kind() == reflect.String && n.Tag != "!!str" && f.one == nil:
		return bad("a text that YAML reads as something else; write it in quotes")
	case f.typ.Kind() != reflect.String && quoted && (f.typ.Kind() == reflect.Bool || f.typ.Kind() == reflect.Int):
		return bad("a text; write it without quotes")
	}
	if _, what := f.parse(n.Value); what != "" {
		return bad(what)
	}
	return n.Value, true
}

// list takes cluster.voters.
func (p *fileValues) list(n *yaml.Node, f field) {
	if n.Kind == yaml.AliasNode {
		p.odd(n, f.key)
		return
	}
	if n.Kind != yaml.SequenceNode {
		if !empty(n) {
			p.fault(n.Line, f.key, shown(n), "not a list", f.allowed())
		}
		return
	}
	p.odd(n, f.key)
	names := namesUnder(f.key + "[].")
	var voters []Voter
	for i, el := range n.Content {
		at := f.key + "[" + strconv.Itoa(i) + "]"
		p.lines[at] = el.Line
		if el.Kind == yaml.AliasNode {
			p.odd(el, at)
			voters = append(voters, Voter{}) // it has its place, so that the numbers in messages are right
			continue
		}
		if el.Kind != yaml.MappingNode {
			p.fault(el.Line, at, shown(el), "not a section", "the keys "+strings.Join(names, ", "))
			voters = append(voters, Voter{})
			continue
		}
		p.odd(el, at)
		var v Voter
		seen := map[string]int{}
		for j := 0; j+1 < len(el.Content); j += 2 {
			name, value := el.Content[j], el.Content[j+1]
			k := slices.Index(names, name.Value)
			if name.Kind != yaml.ScalarNode || k < 0 {
				p.unknown(name, at+".", names)
				continue
			}
			vf := voterSchema()[k]
			if line, ok := seen[name.Value]; ok {
				p.fault(name.Line, at+"."+vf.key, "", fmt.Sprintf("stands twice, first in line %d", line), "once")
				continue
			}
			seen[name.Value] = name.Line
			p.lines[at+"."+vf.key] = value.Line
			if text, ok := p.scalar(value, vf, at+"."+vf.key); ok {
				vf.set(&v, text)
			}
		}
		voters = append(voters, v)
	}
	p.values[f.key] = voters
}

// odd reports what a configuration has no use for: anchors, aliases and tags.
// Without aliases no small file can mean a large one.
func (p *fileValues) odd(n *yaml.Node, key string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		p.fault(n.Line, key, "*"+n.Value, "aliases are not taken", "the value itself")
	case n.Anchor != "":
		p.fault(n.Line, key, "&"+n.Anchor, "anchors are not taken", "the value itself")
	case n.Style&yaml.TaggedStyle != 0:
		p.fault(n.Line, key, n.Tag, "tags are not taken", "the value itself")
	default:
		return false
	}
	return true
}

// empty tells whether a node is nothing: a section whose keys are all commented out.
func empty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Anchor == ""
}

func shown(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return ""
}

// lookup finds a key.
func lookup(key string) (field, bool) {
	for _, f := range schema() {
		if f.key == key {
			return f, true
		}
	}
	return field{}, false
}

// namesUnder lists the names that may stand under a prefix: "", "raft.", "tls.peer." or "cluster.voters[].".
func namesUnder(prefix string) []string {
	fs := schema()
	if rest, ok := strings.CutSuffix(prefix, "[]."); ok && rest != "" {
		fs, prefix = voterSchema(), ""
	}
	var names []string
	for _, f := range fs {
		if rest, ok := strings.CutPrefix(f.key, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
