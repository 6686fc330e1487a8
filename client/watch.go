package client

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ChangeKind says what happened to a key.
type ChangeKind uint8

// The kinds of changes.
const (
	Changed ChangeKind = iota + 1 // it has a value now
	Deleted                       // it is gone: deleted, renamed or expired
	Flushed                       // all keys are gone at once; Key is empty
)

func (k ChangeKind) String() string {
	return [...]string{"?", "changed", "deleted", "flushed"}[k]
}

// Change is one change of a key.
type Change struct {
	Kind    ChangeKind
	Key     string
	Value   []byte    // of Changed, unless WatchOptions.Keys; never nil then
	Version uint64    // of the key
	Index   uint64    // of the entry that made the change
	Command string    // what happened, in Redis's words: set, append, expired
	Expires time.Time // when the key will be gone; zero: never
	Place   string    // go on behind this change with WatchOptions.After
}

// WatchOptions choose what Watch yields.
type WatchOptions struct {
	Prefix string // keys that begin with it
	From   uint64 // with the changes of this index; 0: what comes next, or After
	After  string // behind this place, the Place of a change
	Keys   bool   // without values
}

// CompactedError means that the changes that were asked for are no longer kept.
// Read the keys anew, then watch from the index of that read on.
type CompactedError struct {
	Oldest uint64 // the oldest index of which all changes are kept
	Text   string
}

func (e *CompactedError) Error() string { return e.Text }

// watchSilence is how long a node may say nothing: three of its signs of life.
const watchSilence = 45 * time.Second

// Watch yields the changes of keys in the order of the log, each once, until its
// context ends or the client is closed: Config.Timeout does not bound it. It goes on at another
// node behind the last change that came, whenever a connection is lost. After an
// error, which comes with an empty change, nothing follows: that of the context, ErrClosed,
// *CompactedError, or a *ReplyError of a node that refuses it. Each node keeps changes of
// its own, fewer after a restart: *CompactedError comes once no node has them, of those that can be reached within Config.Timeout.
//
// To follow a set of keys, Scan it first, then watch from the index behind the one of the
// scan, or begin to watch, scan, and take what comes twice as one.
//
// Changes come over the HTTP side of the nodes, whose addresses their members tell.
func (c *Client) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })()
		w := &watcher{c: c, o: o, yield: yield}
		for tries := c.retry(); ; {
			before := w.o.After
			node, err := c.httpNode(ctx)
			more := true
			if err == nil {
				more, err = w.once(ctx, node)
			}
			var compacted *CompactedError
			if more && errors.As(err, &compacted) {
				more, err = w.elsewhere(ctx, node, compacted)
			}
			if !more {
				return
			}
			if ctx.Err() != nil {
				yield(Change{}, fmt.Errorf("watch: %w", context.Cause(ctx)))
				return
			}
			var e *ReplyError
			if errors.As(err, &compacted) || errors.As(err, &e) && judge(e) != again && judge(e) != elsewhere {
				yield(Change{}, fmt.Errorf("watch: %w", err))
				return
			}
			if w.o.After != before {
				tries = c.retry() // it got on: the next pause is short
			}
			tries.again(ctx, false)
		}
	}
}

// watcher is one Watch.
type watcher struct {
	c      *Client
	o      WatchOptions
	yield  func(Change, error) bool
	served bool // the last attempt got as far as changes
}

// elsewhere looks at the other nodes for changes that one no longer has, for Config.Timeout
// at those that don't answer. The error is that of the node which served them, or the
// *CompactedError that reaches back farthest.
func (w *watcher) elsewhere(ctx context.Context, not string, farthest *CompactedError) (more bool, err error) {
	gone := map[string]bool{not: true}
	until := time.Now().Add(w.c.cfg.Timeout)
	for tries := w.c.retry(); ; {
		nodes, err := w.c.httpNodes(ctx)
		open := err != nil
		for _, node := range nodes {
			if gone[node] {
				continue
			}
			more, err := w.once(ctx, node)
			var compacted *CompactedError
			switch {
			case !more || ctx.Err() != nil:
				return more, err
			case w.served: // so it goes on behind another place, whatever ended this
				return true, fmt.Errorf("%s: %v", node, err)
			case errors.As(err, &compacted):
				gone[node] = true
				if compacted.Oldest < farthest.Oldest {
					farthest = compacted
				}
			default:
				open = true
			}
		}
		if !open || time.Now().After(until) || !tries.again(ctx, false) {
			return true, farthest
		}
	}
}

// once watches at one node until that ends. more is false when the caller wants no more.
func (w *watcher) once(ctx context.Context, node string) (more bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.served = false
	defer func() {
		if err != nil {
			w.c.leaveHTTP(node)
		}
	}()
	q := url.Values{}
	q.Set("prefix_base64", base64.StdEncoding.EncodeToString([]byte(w.o.Prefix)))
	switch {
	case w.o.After != "":
		q.Set("after", w.o.After)
	case w.o.From != 0:
		q.Set("from", strconv.FormatUint(w.o.From, 10))
	}
	if w.o.Keys {
		q.Set("keys", "true")
	}
	r, err := w.c.newHTTP(ctx, http.MethodGet, node, "/v1/watch?"+q.Encode(), nil)
	if err != nil {
		return true, err
	}
	quiet := time.AfterFunc(watchSilence, func() { cancel(fmt.Errorf("%s says nothing for %v", node, watchSilence)) })
	defer quiet.Stop()
	answer, err := w.c.http.client.Do(r)
	if err != nil {
		return true, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
		e := replyOf(answer.StatusCode, b)
		var doc struct{ Oldest uint64 }
		if answer.StatusCode == http.StatusGone && json.Unmarshal(b, &doc) == nil {
			return true, &CompactedError{Oldest: doc.Oldest, Text: strings.TrimPrefix(e.Text, "ERR ")}
		}
		return true, e
	}
	w.served = true
	return w.read(bufio.NewReaderSize(answer.Body, 64<<10), func() { quiet.Reset(watchSilence) })
}

// eventMax bounds one line of a watch: the largest value, escaped.
const eventMax = 64 << 20

// read takes events until the connection ends. alive is called with each line.
func (w *watcher) read(in *bufio.Reader, alive func()) (more bool, err error) {
	var id, event, data string
	for {
		line, err := readLine(in)
		if err != nil {
			return true, err
		}
		alive()
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "id":
			id = value
		case name == "event":
			event = value
		case name == "data":
			data = value
		case line == "":
			if event == "end" {
				return true, farewell(data)
			}
			if data != "" {
				c, err := readChange(event, data)
				if err != nil {
					return true, err
				}
				c.Place = id
				if !w.yield(c, nil) {
					return false, nil
				}
			}
			if id != "" {
				w.o.After = id // behind the change: it was taken
			}
			event, data = "", ""
		}
	}
}

// readLine reads a line without its end.
func readLine(in *bufio.Reader) (string, error) {
	var b []byte
	for {
		part, err := in.ReadSlice('\n')
		b = append(b, part...)
		switch {
		case err == nil:
			return string(b[:len(b)-1]), nil
		case err != bufio.ErrBufferFull:
			return "", fmt.Errorf("read changes: %w", err)
		case len(b) > eventMax:
			return "", fmt.Errorf("read changes: a line is longer than %d bytes", eventMax)
		}
	}
}

// farewell is why the server ended the watch.
func farewell(data string) error {
	var doc struct {
		Error, Code string
		Oldest      uint64
	}
	if err := json.Unmarshal([]byte(data), &doc); err != nil {
		return fmt.Errorf("end of changes: %w", err)
	}
	if doc.Code == "compacted" {
		return &CompactedError{Oldest: doc.Oldest, Text: doc.Error}
	}
	return errors.New(doc.Error) // it may go on
}

func readChange(event, data string) (c Change, err error) {
	var doc struct {
		Key         string `json:"key"`
		KeyBase64   []byte `json:"key_base64"`
		Value       string `json:"value"`
		ValueBase64 []byte `json:"value_base64"`
		Version     uint64 `json:"version"`
		Index       uint64 `json:"index"`
		Command     string `json:"command"`
		Expires     int64  `json:"expires"`
	}
	if err := json.Unmarshal([]byte(data), &doc); err != nil {
		return c, fmt.Errorf("change: %w", err)
	}
	c = Change{Key: doc.Key, Version: doc.Version, Index: doc.Index, Command: doc.Command}
	if doc.KeyBase64 != nil {
		c.Key = string(doc.KeyBase64)
	}
	if doc.Expires != 0 {
		c.Expires = time.UnixMilli(doc.Expires)
	}
	switch event {
	case "put":
		c.Kind, c.Value = Changed, []byte(doc.Value)
		if doc.ValueBase64 != nil {
			c.Value = doc.ValueBase64
		}
	case "delete":
		c.Kind = Deleted
	case "flush":
		c.Kind = Flushed
	default:
		return c, fmt.Errorf("change of an unknown kind %.40q", event)
	}
	return c, nil
}
