package statemachine

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// User is somebody who may talk to the cluster. What the rules say is opaque
// here: package server/access gives them their meaning. They live in the log so
// that every node knows the same ones.
type User struct {
	Name    string
	Rules   string
	Version uint64 // index of the entry that made these rules
}

// Bounds of users. They are constants of the format.
const (
	maxUsers      = 1000     // each node checks against all of them when they change
	maxUserName   = 256      // bytes
	maxUserRules  = 64 << 10 // bytes of one user's rules
	maxUsersBytes = 4 << 20  // of names and rules: a change copies the list
)

func (u *User) bytes() int { return len(u.Name) + len(u.Rules) }

// sum is the element of the user in the state's hash.
func (u *User) sum() sum {
	n, r := xxh3.HashString128(u.Name), xxh3.HashString128(u.Rules)
	return element([8]uint64{tagUser, n.Hi, n.Lo, u.Version, r.Hi, r.Lo})
}

// user is the place of a name in the list, which ascends.
func (s *state) user(name string) (at int, found bool) {
	return slices.BinarySearchFunc(s.users, name, func(u User, name string) int { return strings.Compare(u.Name, name) })
}

// OnUsers makes f be told of all users, in the order of their names, now and
// whenever they have changed: by an entry, before its result is answered, or by a
// restore. f is called where the machine is, must not block, and must not change the list.
func (m *Machine) OnUsers(f func([]User)) {
	m.onUsers = f
	m.usersChanged()
}

func (m *Machine) usersChanged() {
	if m.onUsers != nil {
		m.onUsers(m.st.users)
	}
}

// setUser gives a user its rules, if its version is the one that the caller saw:
// num is that version, 0 if there was no such user, or -1 for any. It answers the
// new version, or nil if another change came first. The list is never changed in
// place: frozen views and readers hold on to the old one.
func (m *Machine) setUser(c *Command, dst []byte) []byte {
	s := m.st
	u := User{Name: string(c.Args[0]), Rules: string(c.Args[1]), Version: uint64(s.applied.Index)}
	switch {
	case len(u.Name) == 0 || len(u.Name) > maxUserName:
		return appendErrorf(dst, "ERR name of a user of %d bytes, want 1 to %d", len(u.Name), maxUserName)
	case len(u.Rules) > maxUserRules:
		return appendErrorf(dst, "ERR rules of %d bytes, at most %d", len(u.Rules), maxUserRules)
	}
	at, found := s.user(u.Name)
	was, bytes := uint64(0), s.userBytes+u.bytes()
	if found {
		was = s.users[at].Version
		bytes -= s.users[at].bytes()
	}
	if c.Num >= 0 && uint64(c.Num) != was {
		return appendNil(dst)
	}
	if !found && len(s.users) >= maxUsers {
		return appendErrorf(dst, "ERR there are %d users already, the most there can be", maxUsers)
	}
	if bytes > maxUsersBytes {
		return appendErrorf(dst, "ERR users take %d bytes with this one, at most %d", bytes, maxUsersBytes)
	}
	s.users, s.userBytes = slices.Clone(s.users), bytes
	if found {
		s.lasting.sub(s.users[at].sum())
		s.users[at] = u
	} else {
		s.users = slices.Insert(s.users, at, u)
	}
	s.lasting.add(u.sum())
	m.usersChanged()
	return appendInt(dst, int64(u.Version))
}

// delUsers removes users and answers how many there were.
func (m *Machine) delUsers(c *Command, dst []byte) []byte {
	s, gone := m.st, int64(0)
	for _, name := range c.Args {
		at, found := s.user(string(name))
		if !found {
			continue
		}
		if gone == 0 {
			s.users = slices.Clone(s.users)
		}
		s.lasting.sub(s.users[at].sum())
		s.userBytes -= s.users[at].bytes()
		s.users = slices.Delete(s.users, at, at+1)
		gone++
	}
	if gone > 0 {
		m.usersChanged()
	}
	return appendInt(dst, gone)
}

// listUsers answers an array with name, rules and version of each user, or of the one that is named.
func (m *Machine) listUsers(c *Command, dst []byte) []byte {
	list := m.st.users
	if len(c.Args) == 1 {
		at, found := m.st.user(string(c.Args[0]))
		if list = nil; found {
			list = m.st.users[at : at+1]
		}
	}
	dst = appendArray(dst, len(list))
	for _, u := range list {
		dst = appendArray(dst, 3)
		dst = appendBytes(dst, u.Name)
		dst = appendBytes(dst, u.Rules)
		dst = appendInt(dst, int64(u.Version))
	}
	return dst
}

// stepUsers appends users to a snapshot until the limit is reached.
func (v *view) stepUsers(dst []byte, limit int) []byte {
	if v.nextUser == 0 {
		dst = append(dst, sectionUsers)
		dst = binary.AppendUvarint(dst, uint64(len(v.users)))
	}
	for ; v.nextUser < len(v.users) && (v.nextUser == 0 || len(dst) < limit); v.nextUser++ {
		u := &v.users[v.nextUser]
		dst = appendString(dst, u.Name)
		dst = appendString(dst, u.Rules)
		dst = binary.AppendUvarint(dst, u.Version)
	}
	if v.nextUser == len(v.users) {
		v.phase = inBirths
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// users reads the users, whose names ascend.
func (r *source) users(s *state) {
	for range r.bounded(maxUsers, "number of users") {
		u := User{
			Name:    string(r.bytes(int(r.bounded(maxUserName, "length of a user's name")))),
			Rules:   string(r.bytes(int(r.bounded(maxUserRules, "length of a user's rules")))),
			Version: r.uvarint(),
		}
		if r.err != nil {
			return
		}
		s.userBytes += u.bytes()
		if n := len(s.users); u.Name == "" || n > 0 && s.users[n-1].Name >= u.Name ||
			u.Version == 0 || u.Version > uint64(s.applied.Index) || s.userBytes > maxUsersBytes {
			r.fault(malformed("user %.64q: order, version %d or size", u.Name, u.Version))
			return
		}
		s.users = append(s.users, u)
		s.lasting.add(u.sum())
	}
}
