package httpapi

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/raftkv/raftkv/statemachine"
)

// Keys and values are bytes, and JSON holds text only. What is UTF-8 stands under
// its plain name ("key", "value"), other bytes in base64 under the name with
// _base64. Requests may use either.

// text is the plain form of b, or nil, then the base64 form.
func text(b []byte) (plain *string, encoded *string) {
	if utf8.Valid(b) {
		s := string(b)
		return &s, nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	return nil, &s
}

// bytesOf is what a request gave in one of the two forms. given is false if it was neither.
func bytesOf(name string, plain, encoded *string) (b []byte, given bool, f *failure) {
	switch {
	case plain != nil && encoded != nil:
		return nil, false, badRequest("%s and %s_base64 stand side by side", name, name)
	case plain != nil:
		return []byte(*plain), true, nil
	case encoded != nil:
		b, err := base64.StdEncoding.DecodeString(*encoded)
		if err != nil {
			return nil, false, badRequest("%s_base64: %v", name, err)
		}
		return b, true, nil
	}
	return nil, false, nil
}

// key is the key that an escaped path names.
func (x *exchange) key(escaped string) ([]byte, *failure) {
	key, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, badRequest("key: %v", err)
	}
	if key == "" {
		return nil, badRequest("the key is empty; GET /v1/kv lists keys, and the Redis protocol takes empty ones")
	}
	return []byte(key), x.keySize([]byte(key))
}

func (x *exchange) keySize(key []byte) *failure {
	if len(key) > x.KeyBytes {
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "key of %d bytes is above the limit of %d bytes (limits.key_bytes)", len(key), x.KeyBytes)
	}
	return nil
}

func (x *exchange) valueSize(value []byte) *failure {
	if len(value) > x.ValueBytes {
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "value of %d bytes is above the limit of %d bytes (limits.value_bytes)", len(value), x.ValueBytes)
	}
	return nil
}

// life sets how long a key lives: ttl is a duration with its unit, 90s or 1h30m.
func life(cmd *statemachine.Command, ttl string) *failure {
	if ttl == "" {
		return nil
	}
	d, err := time.ParseDuration(ttl)
	if err != nil || d < time.Millisecond {
		return badRequest("ttl %.40q is not a duration of at least 1ms, such as 90s", ttl)
	}
	cmd.Flags |= statemachine.FlagIn
	cmd.Num = d.Milliseconds()
	return nil
}

// flag reads a parameter that is true or false.
func (x *exchange) flag(name string) (bool, *failure) {
	v := x.args.Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, badRequest("%s %.40q is not true or false", name, v)
	}
	return b, nil
}

// etag is the version of a key as HTTP writes it.
func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// match reads an If-Match or If-None-Match header: none, any (*), or one version.
func (x *exchange) match(header string) (version uint64, any, given bool, f *failure) {
	values := x.r.Header.Values(header)
	if len(values) == 0 {
		return 0, false, false, nil
	}
	if len(values) == 1 && strings.TrimSpace(values[0]) == "*" {
		return 0, true, true, nil
	}
	s := strings.TrimSpace(values[0])
	n := len(s)
	if len(values) > 1 || n < 3 || s[0] != '"' || s[n-1] != '"' {
		return 0, false, false, badRequest(`%s %.60q is not * or one version in quotes, such as "42"`, header, s)
	}
	version, err := strconv.ParseUint(s[1:n-1], 10, 64)
	if err != nil || version == 0 {
		return 0, false, false, badRequest(`%s %.60q is not * or one version in quotes, such as "42"`, header, s)
	}
	return version, false, true, nil
}
