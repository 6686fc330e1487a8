package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/raftkv/raftkv/statemachine"
)

// Need says what a command does with a key.
type Need uint8

// The needs. Zero is for commands that tell of a key no more than that it is there.
const (
	Read  Need = 1 << iota // its value is answered, or goes somewhere else
	Write                  // it is made, changed or removed
)

// pattern is one rule on keys.
type pattern struct {
	glob string
	may  Need
}

// User is one user and what it may do. It never changes; SetRules makes another.
type User struct {
	name      string
	version   uint64 // in the log; 0 if it isn't there
	catalog   *Catalog
	on        bool
	nopass    bool
	passwords [][sha256.Size]byte
	keys      []pattern
	allKeys   bool
	channels  []string
	allChans  bool
	rules     []string // on commands, in their order: +@read, -get
	commands  bits     // what comes of them
	full      bool     // may do everything: nothing needs to be looked up
}

// newUser is a user that may do nothing, as ACL SETUSER begins with.
func newUser(cat *Catalog, name string) *User {
	return &User{name: name, catalog: cat, rules: []string{"-@all"}, commands: newBits(len(cat.names))}
}

// Name is the user's name.
func (u *User) Name() string { return u.name }

// Version is the log index of the entry that made the user's rules, 0 if none did.
func (u *User) Version() uint64 { return u.version }

// On tells whether the user may authenticate.
func (u *User) On() bool { return u.on }

// Full tells whether the user may do everything, so that nothing else needs to be asked.
func (u *User) Full() bool { return u.full }

// Allows tells whether the user may run a command, "get" or "client|id". A name that is in no catalog is refused.
func (u *User) Allows(command string) bool {
	if u.full {
		return true
	}
	i, ok := u.catalog.byName[command]
	return ok && u.commands.has(i)
}

// Key tells whether the user may do with the key what need says.
func (u *User) Key(key []byte, need Need) bool {
	if u.allKeys {
		return true
	}
	for _, p := range u.keys {
		if p.may&need == need && statemachine.MatchGlob([]byte(p.glob), string(key)) {
			return true
		}
	}
	return false
}

// Prefix tells whether the user may read every key that starts with the prefix:
// a pattern that is such a prefix and a star, and no longer, says so.
func (u *User) Prefix(prefix string) bool {
	if u.allKeys {
		return true
	}
	for _, p := range u.keys {
		glob, star := strings.CutSuffix(p.glob, "*")
		if star && p.may&Read != 0 && !strings.ContainsAny(glob, `*?[\`) && strings.HasPrefix(prefix, glob) {
			return true
		}
	}
	return false
}

// Channel tells whether the user may publish to a channel and subscribe to it. A
// pattern to subscribe to must stand in the rules literally, as in Redis.
func (u *User) Channel(channel []byte, isPattern bool) bool {
	if u.allChans {
		return true
	}
	for _, p := range u.channels {
		if isPattern && p == string(channel) || !isPattern && statemachine.MatchGlob([]byte(p), string(channel)) {
			return true
		}
	}
	return false
}

// checks tells whether the password is the user's, in a time that doesn't tell which one or how much of it.
func (u *User) checks(password string) bool {
	h := sha256.Sum256([]byte(password))
	ok := 0
	for _, p := range u.passwords {
		ok |= subtle.ConstantTimeCompare(h[:], p[:])
	}
	return u.on && (u.nopass || ok == 1)
}

// Rules is the user in the words of ACL SETUSER, as ACL LIST tells it and as it is stored: passwords are hashes.
func (u *User) Rules() string {
	words := []string{u.Flags()[0]}
	if u.nopass {
		words = append(words, "nopass")
	}
	for _, p := range u.passwords {
		words = append(words, "#"+hex.EncodeToString(p[:]))
	}
	words = append(words, u.KeyRules()...)
	if !u.allChans {
		words = append(words, "resetchannels")
	}
	words = append(words, u.ChannelRules()...)
	return strings.Join(append(words, u.rules...), " ")
}

// Flags are on or off, and nopass.
func (u *User) Flags() []string {
	flags := []string{"off"}
	if u.on {
		flags[0] = "on"
	}
	if u.nopass {
		flags = append(flags, "nopass")
	}
	return flags
}

// Passwords are the hashes of the user's passwords, in hexadecimal.
func (u *User) Passwords() []string {
	var out []string
	for _, p := range u.passwords {
		out = append(out, hex.EncodeToString(p[:]))
	}
	return out
}

// CommandRules are the rules on commands, in their order.
func (u *User) CommandRules() []string { return slices.Clone(u.rules) }

// KeyRules are the patterns of keys.
func (u *User) KeyRules() []string {
	if u.allKeys {
		return []string{"~*"}
	}
	var out []string
	for _, p := range u.keys {
		switch p.may {
		case Read:
			out = append(out, "%R~"+p.glob)
		case Write:
			out = append(out, "%W~"+p.glob)
		default:
			out = append(out, "~"+p.glob)
		}
	}
	return out
}

// ChannelRules are the patterns of channels.
func (u *User) ChannelRules() []string {
	if u.allChans {
		return []string{"&*"}
	}
	var out []string
	for _, p := range u.channels {
		out = append(out, "&"+p)
	}
	return out
}
