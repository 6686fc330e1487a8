package httpapi

import (
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/access"
)

// enter decides whether a request may go on at all: before its body is read.
func (x *exchange) enter() *failure {
	if !x.ours(x.r.Host) {
		// A name that a web page controls may lead a browser to this machine (DNS
		// rebinding). Such a page is of the same origin, so that nothing else tells.
		return refuse(http.StatusMisdirectedRequest, "host", "host %.80q is not a name of this cluster; use an IP address or the address of a member, or add the name to http.hosts", x.r.Host)
	}
	if err := x.origins.Check(x.r); err != nil {
		return refuse(http.StatusForbidden, "cross_origin", "%v: a page of another origin may not change anything", err)
	}
	var err error
	if x.args, err = url.ParseQuery(x.r.URL.RawQuery); err != nil {
		return badRequest("query: %v", err)
	}
	for name, values := range x.args {
		if len(values) > 1 {
			return badRequest("%.40q stands %d times in the query", name, len(values))
		}
	}
	if x.r.Method == http.MethodPost {
		// A form of any web page may send text/plain and what forms send, or nothing;
		// these types need the consent that is never given.
		t, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
		if err != nil || t != "application/json" && t != "application/octet-stream" {
			return refuse(http.StatusUnsupportedMediaType, "content_type", "Content-Type %.80q is not application/json or application/octet-stream", x.r.Header.Get("Content-Type"))
		}
	}
	return x.authenticate()
}

// ours tells whether the host of a request is one of ours.
func (a *api) ours(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	if slices.ContainsFunc(a.Hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
		return true
	}
	return slices.ContainsFunc(a.Backend.Status().Members, func(m node.MemberStatus) bool {
		h, _, err := net.SplitHostPort(m.HTTP)
		return err == nil && strings.EqualFold(h, host)
	})
}

// authenticate finds out who asks. Basic carries user and password; Bearer carries
// user:password, or the password of the user "default" alone.
func (x *exchange) authenticate() *failure {
	if x.Users == nil {
		return nil
	}
	challenge := func(text string) *failure {
		x.w.Header().Set("WWW-Authenticate", `Basic realm="raftkv", charset="UTF-8"`)
		return refuse(http.StatusUnauthorized, "unauthorized", "%s", text)
	}
	values := x.r.Header.Values("Authorization")
	if len(values) == 0 {
		x.users, x.open = x.Users.Now(), true
		if x.user = x.users.Open(); x.user == nil {
			return challenge("authentication required")
		}
		return nil
	}
	name, password, ok := credentials(values)
	if !ok {
		return challenge("Authorization is neither Basic nor Bearer")
	}
	addr, _ := net.ResolveTCPAddr("tcp", x.r.RemoteAddr) // an address, never a name: nothing is asked
	user, err := x.Users.Authenticate(x.r.Context(), addr, name, password)
	switch {
	case errors.Is(err, access.ErrTooManyTries):
		return busy("%v", err)
	case err != nil:
		return challenge(err.Error())
	}
	x.user = user
	return nil
}

// credentials reads an Authorization header.
func credentials(values []string) (name, password string, ok bool) {
	if len(values) != 1 {
		return "", "", false
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToLower(scheme) {
	case "basic":
		b, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return "", "", false
		}
		return strings.Cut(string(b), ":")
	case "bearer":
		if name, password, ok = strings.Cut(rest, ":"); !ok {
			name, password = access.DefaultUser, rest
		}
		return name, password, rest != ""
	}
	return "", "", false
}

// may tells whether the user may run a command.
func (x *exchange) may(command string) *failure {
	if x.user == nil || x.user.Allows(command) {
		return nil
	}
	return refuse(http.StatusForbidden, "no_permission", "user %s may not run %s", x.user.Name(), command)
}

// mayKey is may for a command on a key.
func (x *exchange) mayKey(command string, key []byte, need access.Need) *failure {
	if f := x.may(command); f != nil {
		return f
	}
	if x.user == nil || x.user.Key(key, need) {
		return nil
	}
	return refuse(http.StatusForbidden, "no_permission", "user %s may not access this key", x.user.Name())
}

// mayPrefix is may for reading all keys of a prefix.
func (x *exchange) mayPrefix(command, prefix string) *failure {
	if f := x.may(command); f != nil {
		return f
	}
	if x.user == nil || x.user.Prefix(prefix) {
		return nil
	}
	return refuse(http.StatusForbidden, "no_permission", "user %s may not read all keys that begin with this prefix", x.user.Name())
}

// stillMay is mayRead for an answer that takes long: users change meanwhile, and
// what a user may no longer read is not sent. It costs nothing while they don't. Like
// a connection of the other protocol, it goes on under a password that was changed.
func (x *exchange) stillMay(prefix string, commands ...string) *failure {
	if x.Users == nil {
		return nil
	}
	now := x.Users.Now()
	if now == x.users {
		return nil
	}
	if x.users = now; x.open {
		x.user = now.Open()
	} else if x.user = now.Find(x.user.Name()); x.user != nil && !x.user.On() {
		x.user = nil
	}
	if x.user == nil {
		return refuse(http.StatusUnauthorized, "unauthorized", "the user is gone or off, or needs a password by now")
	}
	return x.mayRead(prefix, commands...)
}

// mayRead is mayPrefix for several commands.
func (x *exchange) mayRead(prefix string, commands ...string) *failure {
	for _, command := range commands {
		if f := x.mayPrefix(command, prefix); f != nil {
			return f
		}
	}
	return nil
}

// body reads the whole body, at most limit bytes of it.
func (x *exchange) body(limit int) ([]byte, *failure) {
	tooLarge := refuse(http.StatusRequestEntityTooLarge, "too_large", "body is longer than %d bytes", limit)
	if x.r.ContentLength > int64(limit) {
		return nil, tooLarge
	}
	// What is announced is reserved at once, what isn't as far as it may go.
	size := x.r.ContentLength
	if size < 0 {
		size = int64(limit)
	}
	if !x.bodies.take(size) {
		return nil, busy("the bodies of requests under way take too much memory (%d bytes)", x.BodyBytes)
	}
	x.free = func() { x.bodies.give(size) }
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(x.BodyTimeout)) // else the server's own holds
	b, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, int64(limit)))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge
	case err != nil:
		return nil, refuse(http.StatusRequestTimeout, "body", "the body did not come whole: %v", err)
	}
	return b, nil
}
