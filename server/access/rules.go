package access

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// words is an error in Redis's words, which go to clients as they are.
type words string

func (w words) Error() string { return string(w) }

// Why a rule is refused, in Redis's words.
var (
	errSyntax     = words("Syntax error")
	errUnknown    = words("Unknown command or category name in ACL")
	errHash       = words("The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters")
	errNoPassword = words("The password you are trying to remove from the user does not exist")
	errAfterStar  = words("Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns")
	errAfterAll   = words("Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels")
	errSelector   = words("Selectors are not supported")
	errTooMany    = words(fmt.Sprintf("A user can't have more than %d passwords, patterns or rules on commands", maxRules))
)

// maxRules bounds each of the lists of a user: all of a user's rules are looked
// at for every command of a client.
const maxRules = 1000

// RuleError is a rule that ACL SETUSER can't take.
type RuleError struct {
	Rule string
	Err  error
}

func (e *RuleError) Error() string {
	return "Error in ACL SETUSER modifier '" + redact(e.Rule) + "': " + e.Err.Error()
}

func (e *RuleError) Unwrap() error { return e.Err }

// redact keeps passwords out of messages: they end up in logs.
func redact(rule string) string {
	if rule != "" && strings.ContainsRune("><", rune(rule[0])) {
		return rule[:1] + "***"
	}
	return rule
}

// ErrUserName is for a name that no user can have.
var ErrUserName error = words("Usernames can't contain spaces or null characters")

// CheckName tells whether a user may be called so.
func CheckName(name string) error {
	if strings.ContainsAny(name, " \t\n\v\f\r\x00") {
		return ErrUserName
	}
	return nil
}

// SetRules makes the user that ACL SETUSER makes of u with these words.
func (u *User) SetRules(list []string) (*User, error) {
	n := u.clone()
	for _, w := range list {
		if err := n.set(w, true); err != nil {
			return nil, &RuleError{w, err}
		}
	}
	n.finish()
	return n, nil
}

// parse makes a user of what is stored. Commands that this binary doesn't know
// are passed over: another version may have stored them.
func parse(cat *Catalog, name, rules string, version uint64) (*User, error) {
	u := newUser(cat, name)
	u.version = version
	for _, w := range strings.Split(rules, " ") { // not Fields: patterns may contain Unicode's other spaces
		if w == "" {
			continue
		}
		if err := u.set(w, false); err != nil {
			return nil, &RuleError{w, err}
		}
	}
	u.finish()
	return u, nil
}

func (u *User) clone() *User {
	n := *u
	n.passwords = slices.Clone(u.passwords)
	n.keys = slices.Clone(u.keys)
	n.channels = slices.Clone(u.channels)
	n.rules = slices.Clone(u.rules)
	n.commands = slices.Clone(u.commands)
	return &n
}

// finish draws what follows from the rules.
func (u *User) finish() {
	u.full = u.allKeys && u.allChans && slices.Equal(u.commands, u.catalog.all)
}

// set changes u by one word.
func (u *User) set(word string, strict bool) error {
	switch strings.ToLower(word) {
	case "on", "off":
		u.on = strings.EqualFold(word, "on")
		return nil
	case "nopass":
		u.nopass, u.passwords = true, nil
		return nil
	case "resetpass":
		u.nopass, u.passwords = false, nil
		return nil
	case "allkeys":
		u.keys, u.allKeys = nil, true
		return nil
	case "resetkeys":
		u.keys, u.allKeys = nil, false
		return nil
	case "allchannels":
		u.channels, u.allChans = nil, true
		return nil
	case "resetchannels":
		u.channels, u.allChans = nil, false
		return nil
	case "allcommands":
		return u.command("+@all", strict)
	case "nocommands":
		return u.command("-@all", strict)
	case "reset":
		fresh := newUser(u.catalog, u.name)
		fresh.version = u.version
		*u = *fresh
		return nil
	case "sanitize-payload", "skip-sanitize-payload", "clearselectors":
		return nil // there is nothing that they concern
	case "":
		return errSyntax
	}
	switch word[0] {
	case '>', '#', '<', '!':
		return u.password(word)
	case '~':
		return u.key(word[1:], Read|Write)
	case '%':
		return u.keyWith(word[1:])
	case '&':
		return u.channel(word[1:])
	case '+', '-':
		return u.command(strings.ToLower(word), strict)
	case '(':
		return errSelector
	}
	return errSyntax
}

func (u *User) password(word string) error {
	var h [sha256.Size]byte
	switch word[0] {
	case '>', '<':
		h = sha256.Sum256([]byte(word[1:]))
	default:
		hash := word[1:]
		if len(hash) != 2*sha256.Size || strings.ToLower(hash) != hash {
			return errHash
		}
		b, err := hex.DecodeString(hash)
		if err != nil {
			return errHash
		}
		copy(h[:], b)
	}
	at := slices.Index(u.passwords, h)
	if word[0] == '<' || word[0] == '!' {
		if at < 0 {
			return errNoPassword
		}
		u.passwords = slices.Delete(u.passwords, at, at+1)
		return nil
	}
	if at < 0 {
		if len(u.passwords) >= maxRules {
			return errTooMany
		}
		u.passwords = append(u.passwords, h)
	}
	u.nopass = false
	return nil
}

// keyWith reads R~pattern, W~pattern and RW~pattern.
func (u *User) keyWith(rest string) error {
	letters, glob, ok := strings.Cut(rest, "~")
	may := Need(0)
	for _, l := range strings.ToUpper(letters) {
		switch {
		case l == 'R' && may&Read == 0:
			may |= Read
		case l == 'W' && may&Write == 0:
			may |= Write
		default:
			return errSyntax
		}
	}
	if !ok || may == 0 {
		return errSyntax
	}
	return u.key(glob, may)
}

func (u *User) key(glob string, may Need) error {
	if u.allKeys {
		return errAfterStar
	}
	if CheckName(glob) != nil {
		return errSyntax
	}
	if glob == "*" && may == Read|Write {
		u.keys, u.allKeys = nil, true
		return nil
	}
	for i := range u.keys {
		if u.keys[i].glob == glob {
			u.keys[i].may |= may
			return nil
		}
	}
	if len(u.keys) >= maxRules {
		return errTooMany
	}
	u.keys = append(u.keys, pattern{glob, may})
	return nil
}

func (u *User) channel(glob string) error {
	switch {
	case u.allChans:
		return errAfterAll
	case CheckName(glob) != nil:
		return errSyntax
	case glob == "*":
		u.channels, u.allChans = nil, true
	case slices.Contains(u.channels, glob):
	case len(u.channels) >= maxRules:
		return errTooMany
	default:
		u.channels = append(u.channels, glob)
	}
	return nil
}

// command takes +name, -name, +@category, +name|sub and the like. A rule on all
// commands ends those before it; the same words stand in the list once, where
// they were said last.
func (u *User) command(word string, strict bool) error {
	name := word[1:]
	set, ok := u.catalog.find(name)
	if !ok && strict {
		return errUnknown
	}
	if ok {
		u.commands.add(set, word[0] == '+')
	}
	if name == "@all" {
		u.rules = append(u.rules[:0], word)
		return nil
	}
	u.rules = slices.DeleteFunc(u.rules, func(r string) bool { return r[1:] == name })
	if len(u.rules) >= maxRules {
		return errTooMany
	}
	u.rules = append(u.rules, word)
	return nil
}
