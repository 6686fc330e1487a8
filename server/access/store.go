package access

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/statemachine"
)

// DefaultUser is the user that a connection starts as.
const DefaultUser = "default"

// Store knows the users as this node has applied them.
type Store struct {
	catalog *Catalog
	base    *User // default, until the log has one
	log     *slog.Logger
	users   atomic.Pointer[Users]
	gate    gate

	mu        sync.Mutex
	listeners []func()
}

// Users are all users at one moment. They never change.
type Users struct {
	byName map[string]*User
	list   []*User // by name
	open   *User   // default, if it needs no password
}

// NewStore makes a Store with no user but default. password is what default needs
// until the log says otherwise; empty: nothing. log is told of wrong passwords; nil: nobody is.
func NewStore(cat *Catalog, password string, log *slog.Logger) *Store {
	rules := []string{"on", "nopass", "~*", "&*", "+@all"}
	if password != "" {
		rules[1] = ">" + password
	}
	base, err := newUser(cat, DefaultUser).SetRules(rules)
	if err != nil {
		panic(err) // of words that this function made
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{catalog: cat, base: base, log: log, gate: newGate()}
	s.Replace(nil)
	return s
}

// Catalog is the list of commands.
func (s *Store) Catalog() *Catalog { return s.catalog }

// Read makes users of those of the state machine, and of default if it isn't
// among them. It changes nothing.
func (s *Store) Read(list []statemachine.User) *Users {
	now := &Users{byName: make(map[string]*User)}
	for _, l := range list {
		u, err := parse(s.catalog, l.Name, l.Rules, l.Version)
		if err != nil {
			// SETUSER stores nothing that it can't read. A user that isn't understood may do nothing.
			s.log.Error("user can't be read; it is locked out", "user", l.Name, "err", err)
			u = newUser(s.catalog, l.Name)
			u.version = l.Version
		}
		now.byName[u.name] = u
		now.list = append(now.list, u)
	}
	if now.byName[DefaultUser] == nil {
		now.byName[DefaultUser] = s.base
		at, _ := slices.BinarySearchFunc(now.list, DefaultUser, func(u *User, name string) int {
			if u.name < name {
				return -1
			}
			return 1
		})
		now.list = slices.Insert(now.list, at, s.base)
	}
	if d := now.byName[DefaultUser]; d.on && d.nopass {
		now.open = d
	}
	return now
}

// Replace takes the users of the state machine. It is what Machine.OnUsers calls.
func (s *Store) Replace(list []statemachine.User) {
	s.users.Store(s.Read(list))
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	for _, f := range listeners {
		f()
	}
}

// OnChange makes f be called behind every change of users, on the goroutine that
// applies: it must not block.
func (s *Store) OnChange(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(slices.Clip(s.listeners), f)
}

// Now is all users as they are now. Two calls answer the same pointer if nothing changed in between.
func (s *Store) Now() *Users { return s.users.Load() }

// Open is the user of a client that hasn't authenticated, or nil: then it must.
func (u *Users) Open() *User { return u.open }

// Find is the user of this name, or nil.
func (u *Users) Find(name string) *User { return u.byName[name] }

// List is all users by name.
func (u *Users) List() []*User { return slices.Clone(u.list) }

// New makes the user that ACL SETUSER begins with when there is none of this name.
func (s *Store) New(name string) *User {
	if name == DefaultUser {
		return s.base
	}
	return newUser(s.catalog, name)
}

// Why a client isn't let in. The texts are for it.
var (
	// ErrWrongPassword says neither which of the two is wrong nor whether the user is off.
	ErrWrongPassword error = words("invalid username-password pair or user is disabled.")
	// ErrTooManyTries asks a client's address to wait: passwords were guessed from there.
	ErrTooManyTries = errors.New("too many wrong passwords from this address, try again later")
)

// Authenticate finds the user of a name and password. Wrong ones cost the
// address time, so it may block for up to maxWait, or until ctx ends: then the error is ctx's.
// The other errors are ErrWrongPassword and ErrTooManyTries.
func (s *Store) Authenticate(ctx context.Context, from net.Addr, name, password string) (*User, error) {
	host := hostOf(from)
	if err := s.gate.enter(ctx, host); err != nil {
		return nil, err
	}
	u := s.Now().Find(name)
	known := u != nil
	if !known {
		u = s.base // a name that nobody has takes as long as one that somebody has
	}
	if ok := u.checks(password); ok && known {
		return u, nil
	}
	if s.gate.failed(host) {
		s.log.Warn("wrong user or password", "remote", host)
	}
	return nil, ErrWrongPassword
}

func hostOf(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.IP.String()
	}
	if a == nil {
		return ""
	}
	return a.String()
}
