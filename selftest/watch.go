package selftest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// watchPause is the time between two looks at one node: often enough to see
// most elections, seldom enough to cost nothing.
const watchPause = 50 * time.Millisecond

// Watch asks every node for its status, again and again, and holds the answers
// against the rules, until ctx ends. stop waits for that.
func (c *Cluster) Watch(ctx context.Context, r *Rules) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, n := range c.Nodes {
		all.Add(1)
		// Owns nothing. Ends with ctx; stop waits for it.
		go func() {
			defer all.Done()
			for {
				before := n.Pid()
				if s, err := n.Status(ctx); err == nil && before != 0 && n.Pid() == before {
					r.status(n.Name, before, s)
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(watchPause):
				}
			}
		}()
	}
	return func() { cancel(); all.Wait() }
}

// CheckLogs holds everything that the daemons have logged so far against the rules.
func (c *Cluster) CheckLogs(r *Rules) error {
	for _, n := range c.Nodes {
		f, err := os.Open(n.Log)
		if errors.Is(err, os.ErrNotExist) {
			continue // it never ran
		}
		if err != nil {
			return err
		}
		err = r.log(n.Name, f)
		f.Close() // only read
		if err != nil {
			return fmt.Errorf("log of %s: %w", n.Name, err)
		}
	}
	return nil
}

// record is a line of a daemon's log, as far as the rules look at it.
type record struct {
	Msg  string `json:"msg"`
	ID   string `json:"id"`
	Pid  int    `json:"pid"`
	Role string `json:"role"`
	Term uint64 `json:"term"`
}

// log reads the log of one node, of all its runs.
func (r *Rules) log(name string, from io.Reader) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var id string
	var term uint64            // of this run
	led := map[string]uint64{} // id: newest term in which it led, which is surely on its disk
	changes := 0
	lines := bufio.NewReader(from)
	for at := 1; ; at++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var rec record
		// A goroutine dump isn't JSON, and of a line that kill -9 cut off only the
		// beginning is there, with the next run behind it.
		if bytes.HasPrefix(line, []byte("{")) && json.Unmarshal(line, &rec) == nil {
			where := fmt.Sprintf("log of %s, line %d", name, at)
			switch rec.Msg {
			case "starting":
				id, term = "", 0
			case "identity":
				id = rec.ID
			case "read":
				if rec.Term < led[id] {
					r.fail("%s: it starts in term %d and has led term %d", where, rec.Term, led[id])
				}
				term = rec.Term
			case "role changed":
				changes++
				r.looks++
				if rec.Term < term {
					r.fail("%s: the term went back from %d to %d", where, term, rec.Term)
				}
				term = rec.Term
				if rec.Role == "leader" {
					r.leads(id, rec.Term, where)
					led[id] = max(led[id], rec.Term)
				}
			}
		}
		if err != nil {
			break
		}
	}
	if changes == 0 {
		return errors.New("it tells of no change of role: nothing was checked")
	}
	return nil
}
