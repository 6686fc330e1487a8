package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

// Options says where a configuration comes from.
type Options struct {
	File  string // YAML; empty: none, and then Example is the base
	Flags []Flag // highest
}

// Flag is a value from the command line.
type Flag struct {
	Name  string // as the user wrote it, for messages: --log-level, --set
	Key   string // raft.tick
	Value string // as in YAML
}

// Loaded is a valid configuration and where its values come from.
type Loaded struct {
	Config
	// Origin says for each key that is not at its default where it was set:
	// "n1.yaml:12", "environment RAFTKV_RAFT_TICK", "flag --log-level".
	Origin map[string]string
	// Warnings are what is allowed but probably not meant, one sentence each.
	Warnings []string
}

// Load merges defaults, the file, the environment (RAFTKV_...) and flags, each
// over the one before. The error is Faults, with every fault of all of them, or one of
// the operating system about the file. An empty variable counts as not set.
func Load(o Options) (*Loaded, error) {
	l := loader{v: newViper(), origin: map[string]origin{}, bad: map[string]bool{}}
	base := Default()
	if o.File == "" {
		base = Example()
	}
	if err := l.file(o.File); err != nil {
		return nil, err
	}
	l.environment()
	l.flags(o.Flags)
	c := l.merge(base)
	c.resolve()
	if !l.broken {
		l.faults = append(l.faults, l.place(c.check(l.bad))...)
	}
	if err := l.faults.err(); err != nil {
		return nil, err
	}
	out := &Loaded{Config: c, Origin: map[string]string{}, Warnings: c.warnings()}
	for key, at := range l.origin {
		out.Origin[key] = at.where
	}
	out.Warnings = append(out.Warnings, strayVariables()...)
	return out, nil
}

func newViper() *viper.Viper { return viper.New() }

// origin is where a value was set.
type origin struct {
	where string // as in Fault.Where
	line  int
	dir   string // relative paths start here; empty: the working directory
	raw   string // as given, if one text
}

type loader struct {
	v      *viper.Viper
	origin map[string]origin // of the value that counts
	lines  map[string]int    // of the file, elements of lists too
	path   string
	bad    map[string]bool // keys with a fault: nothing is concluded from them
	faults Faults
	broken bool // the file can't be read as YAML
}

func (l *loader) fault(f Fault) {
	l.faults = append(l.faults, f)
	l.bad[f.Key] = true
	if list, _, ok := strings.Cut(f.Key, "["); ok {
		l.bad[list] = true
	}
}

func (l *loader) file(path string) error {
	if path == "" {
		return nil
	}
	b, err := readFile(path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	return l.take(parseFile(path, b))
}

// take adds what a file gave.
func (l *loader) take(p *fileValues) error {
	l.path, l.lines, l.broken = p.path, p.lines, p.broken
	for _, f := range p.faults {
		l.fault(f)
	}
	tree := map[string]any{}
	for key, value := range p.values {
		at := origin{where: fmt.Sprintf("%s:%d", p.path, p.lines[key]), line: p.lines[key], dir: filepath.Dir(p.path)}
		at.raw, _ = value.(string)
		l.origin[key] = at
		nest(tree, strings.Split(key, "."), value)
	}
	return l.v.MergeConfigMap(tree)
}

// nest puts a value into nested maps.
func nest(m map[string]any, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		sub, ok := m[name].(map[string]any)
		if !ok {
			sub = map[string]any{}
			m[name] = sub
		}
		m = sub
	}
	m[path[len(path)-1]] = value
}

// environment binds each key to its variable, one by one: no other variable is looked at.
func (l *loader) environment() {
	for _, f := range schema() {
		value, ok := os.LookupEnv(f.env())
		if !ok || value == "" {
			continue
		}
		where := "environment " + f.env()
		if _, what := f.parse(value); what != "" {
			l.fault(Fault{Where: where, Key: f.key, Value: value, What: what, Want: f.allowedText()})
			continue
		}
		if err := l.v.BindEnv(f.key, f.env()); err != nil {
			l.fault(Fault{Where: where, Key: f.key, What: err.Error()})
		}
		l.origin[f.key] = origin{where: where, raw: value}
	}
}

func (l *loader) flags(flags []Flag) {
	for _, fl := range flags {
		where := "flag " + fl.Name
		f, ok := lookup(fl.Key)
		if !ok {
			what := "unknown key"
			if near := nearest(fl.Key, keys()); near != "" {
				what += ", did you mean " + near + "?"
			}
			l.fault(Fault{Where: where, Key: quoteOdd(fl.Key), What: what, Want: "a key that raftkv config print shows, such as raft.tick"})
			continue
		}
		if _, what := f.parse(fl.Value); what != "" {
			l.fault(Fault{Where: where, Key: f.key, Value: fl.Value, What: what, Want: f.allowedText()})
			continue
		}
		l.v.Set(f.key, fl.Value)
		l.origin[f.key] = origin{where: where, raw: fl.Value}
	}
}

func quoteOdd(key string) string {
	if checkName(strings.NewReplacer("_", "", ".", "").Replace(key)) == "" {
		return key
	}
	return quote(key)
}

// allowedText is allowed, for a value that must fit into one text.
func (f field) allowedText() string {
	if f.isList() {
		return "name=peer/client/http, separated by commas"
	}
	return f.allowed()
}

func keys() []string {
	var ks []string
	for _, f := range schema() {
		ks = append(ks, f.key)
	}
	return ks
}

// merge takes for each key the value that viper settles on.
func (l *loader) merge(base Config) Config {
	c := base
	for _, f := range schema() {
		at, set := l.origin[f.key]
		if !set {
			continue
		}
		v := l.v.Get(f.key)
		if text, ok := v.(string); ok {
			v, _ = f.parse(text) // was parsed without a fault before
		}
		if path, ok := v.(string); ok && f.is == "path" && path != "" && !filepath.IsAbs(path) {
			v = filepath.Join(at.dir, path)
		}
		f.set(&c, v)
	}
	return c
}

// place gives the faults of a check the places where their values were set.
func (l *loader) place(faults Faults) Faults {
	for i := range faults {
		f := &faults[i]
		key, _, isElement := strings.Cut(f.Key, "[")
		at, ok := l.origin[key]
		if !ok {
			f.Where = first(l.path, "default")
			continue
		}
		f.Where, f.Line = at.where, at.line
		if isElement && at.line > 0 {
			line, ok := l.lines[f.Key]
			if !ok { // what is missing has the line of its element
				line = l.lines[f.Key[:strings.LastIndex(f.Key, "]")+1]]
			}
			f.Where, f.Line = fmt.Sprintf("%s:%d", l.path, line), line
		}
		if at.raw != "" && f.Value != "" {
			f.Value = at.raw
		}
	}
	return faults
}

// strayVariables warns of RAFTKV_ variables that set nothing: probably misspelt ones.
func strayVariables() []string {
	known := []string{"RAFTKV_ENDPOINTS", "RAFTKV_USER", "RAFTKV_PASSWORD", "RAFTKV_TEST"}
	for _, f := range schema() {
		known = append(known, f.env())
	}
	var warnings []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) {
			continue
		}
		w := "environment " + quoteOdd(name) + " sets no key"
		if near := nearest(strings.TrimPrefix(name, envPrefix), lowered(known)); near != "" {
			w += ", did you mean " + envPrefix + strings.ToUpper(near) + "?"
		}
		warnings = append(warnings, w)
	}
	slices.Sort(warnings)
	return warnings
}

func lowered(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(strings.TrimPrefix(n, envPrefix))
	}
	return out
}
