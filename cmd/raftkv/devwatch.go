package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// devStatus is what dev reads of a node's /status.
type devStatus struct {
	Role       string `json:"role"`
	LeaderName string `json:"leader_name"`
	Term       uint64 `json:"term"`
}

// roleLeader is raft.Leader as /status writes it.
const roleLeader = "leader"

// watch looks at every node, again and again, until ctx ends.
func (d *dev) watch(ctx context.Context) *sync.WaitGroup {
	var all sync.WaitGroup
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	events, pause := d.events, d.poll
	for _, n := range d.nodes {
		url := "http://" + n.http
		// Looks at one node; ends with ctx, run waits for it.
		all.Go(func() {
			for {
				p := polled{node: n}
				p.status, p.ready = look(ctx, client, url)
				select {
				case events <- p:
				case <-ctx.Done():
					return
				}
				select {
				case <-time.After(pause):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return &all
}

// look asks one node. A node that doesn't answer has a zero status.
func look(ctx context.Context, client *http.Client, url string) (s devStatus, ready bool) {
	get := func(path string) ([]byte, bool) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
		if err != nil {
			return nil, false
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		return b, err == nil && resp.StatusCode == http.StatusOK
	}
	b, ok := get("/status")
	if !ok || json.Unmarshal(b, &s) != nil {
		return devStatus{}, false
	}
	_, ready = get("/readyz")
	return s, ready
}

// nagAfter is how long a start may take before it is said what is missing.
const nagAfter = 15 * time.Second

// onPolled tells what has changed.
func (d *dev) onPolled(p polled) {
	n := p.node
	if n.child == nil {
		return // an answer from before it ended, or of another program
	}
	n.status = p.status
	if p.ready && !n.ready {
		n.failures = 0
		if n.again && d.serving {
			d.say("%s serves again, pid %d", n.name, n.pid())
		}
		n.again = false
	}
	n.ready = p.ready
	if !d.serving {
		d.checkServing()
		return
	}
	d.tellRole(n)
}

// checkServing looks whether a leader serves; then all is told at once.
func (d *dev) checkServing() {
	var leader *devNode
	ready, missing := 0, ""
	for _, n := range d.nodes {
		if n.ready {
			ready++
		} else {
			missing += fmt.Sprintf("; %s isn't ready, see %s", n.name, n.logFile)
		}
		if n.ready && n.status.Role == roleLeader {
			leader = n
		}
	}
	if leader == nil || ready <= len(d.nodes)/2 {
		if !d.nagged && time.Since(d.started) > nagAfter {
			d.nagged = true
			d.say("still waiting for a leader%s", missing)
		}
		return
	}
	d.serving = true
	for _, n := range d.nodes {
		n.said = n.status
		n.again = n.again && !n.ready
	}
	d.sayServing(leader)
}

// tellRole prints a line when a node's role is another than was told last.
func (d *dev) tellRole(n *devNode) {
	s := n.status
	switch {
	case s.Role == "":
		return // no answer tells nothing of its role
	case s.Role == roleLeader && (n.said.Role != s.Role || n.said.Term != s.Term):
		d.say("%s leads term %d", n.name, s.Term)
	case s.Role == n.said.Role:
	case s.LeaderName != "":
		d.say("%s is %s in term %d, %s leads", n.name, s.Role, s.Term, s.LeaderName)
	default:
		d.say("%s is %s in term %d", n.name, s.Role, s.Term)
	}
	n.said = s
}
