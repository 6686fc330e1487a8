package config

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Print writes every key with its value, what it means, its default and what is
// allowed, as YAML that Load takes. origin may be nil.
func (c Config) Print(w io.Writer, origin map[string]string) error {
	p := printer{w: bufio.NewWriter(w), docs: docs(), origin: origin, defaults: Default()}
	p.section(reflect.ValueOf(c), "", "")
	return p.w.Flush()
}

type printer struct {
	w        *bufio.Writer // keeps the first error for Flush
	docs     map[string]string
	origin   map[string]string
	defaults Config
}

// printWidth is where comments are wrapped, in columns.
const printWidth = 100

func (p *printer) section(v reflect.Value, prefix, indent string) {
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("key")
		key := prefix + name
		if indent == "" && i > 0 {
			fmt.Fprintln(p.w)
		}
		f, isKey := lookup(key)
		if !isKey {
			p.comment(indent, p.docs[key])
			fmt.Fprintf(p.w, "%s%s:\n", indent, name)
			p.section(v.Field(i), key+".", indent+"  ")
			continue
		}
		p.comment(indent, p.docs[key]+" "+p.facts(f))
		if f.isList() {
			p.voters(v.Field(i).Interface().([]Voter), name, indent)
			continue
		}
		p.line(indent+name+": "+scalarText(v.Field(i).Interface()), p.origin[key])
	}
}

func (p *printer) voters(vs []Voter, name, indent string) {
	for _, f := range voterSchema() {
		p.comment(indent, "- "+p.docs["cluster.voters[]."+f.key])
	}
	if len(vs) == 0 {
		p.line(indent+name+": []", p.origin["cluster.voters"])
		return
	}
	p.line(indent+name+":", p.origin["cluster.voters"])
	for i := range vs {
		lead := "- "
		for _, f := range voterSchema() {
			p.line(indent+"  "+lead+f.key+": "+scalarText(f.get(&vs[i])), "")
			lead = "  "
		}
	}
}

func (p *printer) line(text, origin string) {
	if origin != "" {
		text += " # from " + origin
	}
	fmt.Fprintln(p.w, text)
}

// facts are the default and what is allowed.
func (p *printer) facts(f field) string {
	var facts []string
	if f.def != "" {
		facts = append(facts, "Default "+plainText(f.get(&p.defaults))+".")
	}
	switch {
	case f.one != nil:
		facts = append(facts, "One of "+strings.Join(f.one, ", ")+".")
	case f.min != "":
		facts = append(facts, fmt.Sprintf("From %s to %s.", f.min, f.max))
	}
	if f.required {
		facts = append(facts, "Required.")
	}
	return strings.Join(facts, " ")
}

func (p *printer) comment(indent, text string) {
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > printWidth {
			fmt.Fprintln(p.w, line)
			line = indent + "#"
			if strings.HasPrefix(text, "- ") {
				line += "  "
			}
		}
		line += " " + word
	}
	fmt.Fprintln(p.w, line)
}

// scalarText is a value as YAML, quoted where a reader would take it for something else.
func scalarText(v any) string {
	s, ok := v.(string)
	if !ok {
		return plainText(v)
	}
	b, err := yaml.Marshal(s)
	if err != nil || strings.Count(string(b), "\n") != 1 {
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSuffix(string(b), "\n")
}

func plainText(v any) string {
	if d, ok := v.(time.Duration); ok {
		return shortDuration(d)
	}
	return fmt.Sprint(v)
}

// shortDuration is 1m where the library says 1m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// LogValue is the whole configuration in groups, for the one line at the start
// of a daemon. There are no secrets in it: keys of TLS are names of files.
func (c Config) LogValue() slog.Value { return logGroup(reflect.ValueOf(c)) }

func logGroup(v reflect.Value) slog.Value {
	var attrs []slog.Attr
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Tag.Get("key"), v.Field(i)
		switch x := f.Interface().(type) {
		case []Voter:
			var names []string
			for _, w := range x {
				names = append(names, fmt.Sprintf("%s=%s/%s/%s", w.Name, w.Peer, w.Client, w.HTTP))
			}
			attrs = append(attrs, slog.String(name, strings.Join(names, ",")))
		case time.Duration, Bytes:
			attrs = append(attrs, slog.String(name, plainText(x)))
		default:
			if f.Kind() == reflect.Struct {
				attrs = append(attrs, slog.Attr{Key: name, Value: logGroup(f)})
				continue
			}
			attrs = append(attrs, slog.Any(name, x))
		}
	}
	return slog.GroupValue(attrs...)
}
