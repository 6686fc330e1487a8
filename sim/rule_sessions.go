package sim

import (
	"bytes"
	"strings"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/statemachine"
)

// sessionsOnce: each numbered write of a session runs once, in its order, and
// every attempt of it that is answered with a result has the result of that one
// run (raft paper 8, thesis 6.3). The order and the results in the log are
// checked when entries are applied (truth.run); here is what clients hear.
func sessionsOnce(w *world) *rule {
	r := &rule{name: "session results exactly once", source: "raft paper 8; thesis 6.3"}
	r.replied = func(o *op, p *node.Reply) {
		if p.Outcome != node.Applied || o.seq == 0 {
			return
		}
		res, err := statemachine.DecodeResult(p.Result)
		if err != nil {
			r.broken(w, "%v: %v", o, err)
		}
		if res.Kind == statemachine.ResultError && sessionError(res.Bytes) {
			if bytes.HasPrefix(res.Bytes, []byte(statemachine.PrefixSeqReused)) {
				r.broken(w, "%v: %s", o, res.Bytes)
			}
			return
		}
		if want, ran := w.truth.ran[ticket{o.session, o.seq}]; !ran || want != string(p.Result) {
			r.broken(w, "%v is answered %q, it ran %v with %q", o, p.Result, ran, want)
		}
	}
	r.end = func() {
		counts := map[string]int{}
		for key, vs := range w.truth.model.keys {
			if !strings.HasPrefix(key, "tok-") {
				continue
			}
			for i, v := range vs {
				if i+1 == len(vs) || !vs[i+1].there { // all that was gathered until it was removed
					for token, n := range tokens(v.value) {
						counts[token] += n
					}
				}
			}
		}
		for token, key := range w.truth.acked {
			if counts[token] != 1 {
				r.broken(w, "token %s of key %s was acknowledged and is there %d times", token, key, counts[token])
			}
		}
		for token, n := range counts {
			if n > 1 {
				r.broken(w, "token %s is there %d times", token, n)
			}
		}
	}
	return r
}

// sessionError tells whether an error result is that of a session, not of the command in it.
func sessionError(text []byte) bool {
	for _, p := range []string{statemachine.PrefixSessionExpired, statemachine.PrefixSeqOld, statemachine.PrefixSeqGap, statemachine.PrefixSeqReused} {
		if bytes.HasPrefix(text, []byte(p)) {
			return true
		}
	}
	return false
}

// tokens counts the tokens "<n>" in a value.
func tokens(value string) map[string]int {
	n := map[string]int{}
	for len(value) > 0 {
		i := 0
		for i < len(value) && value[i] != '>' {
			i++
		}
		i = min(i+1, len(value))
		n[value[:i]]++
		value = value[i:]
	}
	return n
}
