package access

import (
	"slices"
	"strings"
)

// Command is what rules may name: a command or, with a bar, a subcommand
// ("client|id"), and the categories that it is in, without @.
type Command struct {
	Name       string
	Categories []string
}

// Categories are Redis's. Some of them are empty here.
var categories = []string{
	"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo", "stream", "pubsub",
	"admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
}

// Catalog is the list of all commands.
type Catalog struct {
	names  []string
	byName map[string]int
	sets   map[string]bits // of category names, and of the names of commands with subcommands
	all    bits
}

// NewCatalog makes a Catalog. Names are in lower case.
func NewCatalog(list []Command) *Catalog {
	c := &Catalog{byName: make(map[string]int), sets: make(map[string]bits)}
	for _, cat := range categories {
		c.sets["@"+cat] = newBits(len(list))
	}
	c.all = newBits(len(list))
	for i, cmd := range list {
		c.names = append(c.names, cmd.Name)
		c.byName[cmd.Name] = i
		c.all.set(i, true)
		for _, cat := range cmd.Categories {
			if set, ok := c.sets["@"+cat]; ok {
				set.set(i, true)
			}
		}
		container, _, _ := strings.Cut(cmd.Name, "|")
		if c.sets[container] == nil {
			c.sets[container] = newBits(len(list))
		}
		c.sets[container].set(i, true)
	}
	c.sets["@all"] = c.all
	return c
}

// find is the set of commands that a rule names: @category, command, command|subcommand.
func (c *Catalog) find(name string) (bits, bool) {
	if set, ok := c.sets[name]; ok {
		return set, true
	}
	i, ok := c.byName[name]
	if !ok {
		return nil, false
	}
	set := newBits(len(c.names))
	set.set(i, true)
	return set, true
}

// Categories lists Redis's categories.
func (c *Catalog) Categories() []string { return slices.Clone(categories) }

// In lists the commands of a category; ok is false if there is none of this name.
func (c *Catalog) In(category string) (names []string, ok bool) {
	set, ok := c.sets["@"+strings.ToLower(category)]
	if !ok {
		return nil, false
	}
	for i, name := range c.names {
		if set.has(i) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, true
}

// bits is a set of commands by their place in the catalog.
type bits []uint64

func newBits(n int) bits { return make(bits, (n+63)/64) }

func (b bits) has(i int) bool { return i>>6 < len(b) && b[i>>6]>>(i&63)&1 != 0 }

func (b bits) set(i int, on bool) {
	if on {
		b[i>>6] |= 1 << (i & 63)
	} else {
		b[i>>6] &^= 1 << (i & 63)
	}
}

// add puts in, or takes out, all of o.
func (b bits) add(o bits, on bool) {
	for i := range b {
		if on {
			b[i] |= o[i]
		} else {
			b[i] &^= o[i]
		}
	}
}
