package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/internal/prefix"
	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/statemachine"
)

const (
	listPage   = 1000 // keys looked at in one step of the node
	valuesPage = 64   // values that one step of the node answers: they are in memory together
)

// end is the last line of a list. A list without it was cut off.
type end struct {
	End        bool    `json:"end"`
	Index      uint64  `json:"index"` // watch from the next one on: nothing is missed
	Count      int     `json:"count"`
	Next       *string `json:"next,omitempty"` // go on with after= this
	NextBase64 *string `json:"next_base64,omitempty"`
	Error      string  `json:"error,omitempty"` // why it ends early
	Code       string  `json:"code,omitempty"`
}

// listing is a list under way.
type listing struct {
	*exchange
	enc     *json.Encoder
	keys    bool // without values
	prefix  string
	started bool
	left    int
	end     end
	last    []byte // key that was written last
}

// list writes the keys of a prefix in the order of their bytes, one JSON document
// a line. Each page is linearizable; the list as a whole is not one moment.
func (x *exchange) list() *failure {
	prefix, f := x.bytesArg("prefix")
	if f != nil {
		return f
	}
	after, f := x.bytesArg("after")
	if f != nil {
		return f
	}
	l := &listing{exchange: x, left: 1 << 62}
	if v := x.args.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return badRequest("limit %.40q is not a number above zero", v)
		}
		l.left = n
	}
	if l.keys, f = x.flag("keys"); f != nil {
		return f
	}
	l.prefix = string(prefix)
	if f := x.mayRead(l.prefix, l.commands()...); f != nil {
		return f
	}
	if !x.scans.take(1) {
		return busy("too many lists are under way (%d)", maxScans)
	}
	defer x.scans.give(1)
	return l.run(after)
}

// commands are those whose permission the list needs.
func (l *listing) commands() []string {
	if l.keys {
		return []string{"scan"}
	}
	return []string{"scan", "get"}
}

// step is read, if the user may still read what is listed.
func (l *listing) step(cmd statemachine.Command) (statemachine.Result, raft.Index, *failure) {
	if f := l.stillMay(l.prefix, l.commands()...); f != nil {
		return statemachine.Result{}, 0, f
	}
	return l.read(cmd)
}

// bytesArg is a parameter of the query, plain or in base64. It is then a key of any bytes.
func (x *exchange) bytesArg(name string) ([]byte, *failure) {
	if v := x.args.Get(name + "_base64"); v != "" {
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			return nil, badRequest("%s_base64: %v", name, err)
		}
		return b, x.keySize(b)
	}
	b := []byte(x.args.Get(name))
	return b, x.keySize(b)
}

// run writes page after page. Once something is written, an error can only be told by the last line.
func (l *listing) run(after []byte) *failure {
	if low := prefix.Before(l.prefix); string(after) < low {
		after = []byte(low)
	}
	pattern := []byte(prefix.Pattern(l.prefix))
	for first := true; ; first = false {
		page := listPage
		if !l.keys {
			page = valuesPage
		}
		res, index, f := l.step(statemachine.Command{Op: statemachine.OpScan, Num: int64(page), Args: [][]byte{after, pattern}})
		if f == nil && len(res.Array) == 0 {
			f = &failure{status: http.StatusInternalServerError, code: "internal", text: "the node answered a scan without a place to go on from", outcome: node.NotApplied}
		}
		if f != nil {
			return l.finish(f)
		}
		if first {
			l.end.Index = uint64(index)
		}
		found := res.Array[1:]
		if l.keys {
			for _, k := range found {
				if l.left == 0 {
					break
				}
				l.line(itemOf(k.Bytes, nil, 0), k.Bytes)
			}
		} else if f := l.values(found); f != nil {
			return l.finish(f)
		}
		next := res.Array[0].Bytes
		over := len(next) == 0 || string(next) > l.prefix && !strings.HasPrefix(string(next), l.prefix)
		if l.left == 0 {
			if !over || len(found) > 0 && string(l.last) != string(found[len(found)-1].Bytes) {
				l.end.Next, l.end.NextBase64 = text(l.last)
			}
			return l.finish(nil)
		}
		if over {
			return l.finish(nil)
		}
		after = next
		if l.r.Context().Err() != nil {
			return nil // nobody reads it any more
		}
	}
}

// values writes keys with values and versions. What went away since is left out.
func (l *listing) values(keys []statemachine.Result) *failure {
	keys = keys[:min(len(keys), l.left)]
	for len(keys) > 0 {
		block := statemachine.Command{Op: statemachine.OpReadBlock}
		for _, k := range keys {
			block.Args = append(block.Args, statemachine.AppendCommand(nil, statemachine.Command{Op: statemachine.OpGetV, Args: [][]byte{k.Bytes}}))
		}
		res, _, f := l.step(block)
		if f != nil {
			return f
		}
		done := 0
		for i, v := range res.Array {
			if v.Kind == statemachine.ResultError {
				break // the answers grew too large: the rest in another step
			}
			done++
			if v.Kind == statemachine.ResultArray && len(v.Array) == 2 {
				l.line(itemOf(keys[i].Bytes, v.Array[0].Bytes, uint64(v.Array[1].Int)), keys[i].Bytes)
			}
		}
		if done == 0 {
			return &failure{status: http.StatusInternalServerError, code: "internal", text: "the node answers no value of a page", outcome: node.NotApplied}
		}
		keys = keys[done:]
	}
	return nil
}

// line writes one key.
func (l *listing) line(it item, key []byte) {
	l.begin()
	if l.keys {
		it.Value, it.ValueBase64 = nil, nil
	}
	_ = l.enc.Encode(it) // the client may be gone: the context tells
	l.left--
	l.end.Count++
	l.last = key
}

// begin sends the head, and gives the client time for what follows.
func (l *listing) begin() {
	c := http.NewResponseController(l.w)
	_ = c.SetWriteDeadline(time.Now().Add(l.WriteTimeout)) // a recorder in a test has none
	if l.started {
		return
	}
	l.started = true
	l.head()
	l.w.Header().Set(headerIndex, strconv.FormatUint(l.end.Index, 10))
	l.w.Header().Set("Content-Type", "application/x-ndjson")
	l.w.WriteHeader(http.StatusOK)
	l.enc = json.NewEncoder(l.w)
	l.enc.SetEscapeHTML(false)
}

// finish writes the last line, or answers an error if nothing was written yet.
func (l *listing) finish(f *failure) *failure {
	if f != nil {
		if !l.started {
			return f
		}
		l.end.Error, l.end.Code = f.text, f.code
		if l.last != nil {
			l.end.Next, l.end.NextBase64 = text(l.last)
		}
	}
	l.begin()
	l.end.End = true
	_ = l.enc.Encode(l.end)
	return nil
}
