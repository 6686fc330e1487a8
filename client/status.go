package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/raftkv/raftkv/resp"
)

// NodeStatus is what one node says of itself, or why it doesn't.
type NodeStatus struct {
	Endpoint string `json:"endpoint"`        // where it was asked
	Error    string `json:"error,omitempty"` // why it said nothing; then most fields are zero

	Name          string   `json:"name"`
	ID            string   `json:"id"`
	Cluster       string   `json:"cluster"`
	Version       string   `json:"version"`
	Role          string   `json:"role"`
	Leader        string   `json:"leader"`
	LeaderName    string   `json:"leader_name"`
	Term          uint64   `json:"term"`
	LastIndex     uint64   `json:"last_index"`
	CommitIndex   uint64   `json:"commit_index"`
	AppliedIndex  uint64   `json:"applied_index"`
	StateHash     string   `json:"state_hash,omitempty"` // of the state at AppliedIndex: nodes with the same index have the same
	Lag           uint64   `json:"lag"`                  // committed entries that it has not applied
	LogBytes      int64    `json:"log_bytes"`
	SnapshotIndex uint64   `json:"snapshot_index"`
	SnapshotBytes int64    `json:"snapshot_bytes"`
	Ready         bool     `json:"ready"`
	Fence         string   `json:"fence,omitempty"`
	Differ        []string `json:"differ,omitempty"` // ids of members whose state differed from this node's when they were compared last
	LowSpace      bool     `json:"low_space,omitempty"`
	Members       []Member `json:"members"`
	UptimeSeconds float64  `json:"uptime_seconds"`
}

// Member is one node of the cluster, as the node that was asked knows it.
type Member struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Peer    string `json:"peer"`
	Client  string `json:"client"`
	HTTP    string `json:"http"`
	Learner bool   `json:"learner"`
	Match   uint64 `json:"match"`  // highest index on its disk; only the leader knows
	Active  bool   `json:"active"` // answers; only the leader knows
}

// Status asks every node: the endpoints and the members that these name. A node
// that can't be reached is a row with its Error. Members come first, by name. The
// error is ErrNoLeader if no node answered, and the rows are still there.
func (c *Client) Status(ctx context.Context) ([]NodeStatus, error) {
	ctx, done := c.bound(ctx)
	defer done()
	rows := c.askAll(ctx, c.cfg.Endpoints)
	i := slices.IndexFunc(rows, func(r NodeStatus) bool { return r.Error == "" })
	if i < 0 {
		return rows, (&callError{op: "status", kinds: []error{ErrNotApplied, ErrNoLeader}, cause: errors.New("no node can be reached")}).ofRead()
	}
	cluster := rows[i].Cluster
	best := rows[i]
	for _, r := range rows {
		if r.Error == "" && r.Cluster == cluster && (r.Role == "leader" && best.Role != "leader" || r.Term > best.Term) {
			best = r
		}
	}
	// Of this cluster; with the default endpoints others may answer, or nobody.
	var out, strangers []NodeStatus
	have := func(m Member) bool {
		return slices.ContainsFunc(out, func(r NodeStatus) bool { return r.ID == m.ID })
	}
	for _, r := range rows {
		switch {
		case r.Error == "" && r.Cluster == cluster:
			if !have(Member{ID: r.ID}) {
				out = append(out, r)
			}
		case !slices.Equal(c.cfg.Endpoints, DefaultEndpoints()):
			strangers = append(strangers, r)
		}
	}
	var more []string
	for _, m := range best.Members {
		if !have(m) && m.Client != "" {
			more = append(more, m.Client)
		}
	}
	for _, r := range c.askAll(ctx, more) {
		if j := slices.IndexFunc(best.Members, func(m Member) bool { return m.Client == r.Endpoint }); j >= 0 && r.Error != "" {
			r.Name, r.ID = best.Members[j].Name, best.Members[j].ID
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b NodeStatus) int { return strings.Compare(a.Name, b.Name) })
	for _, r := range strangers {
		if r.Error == "" {
			r.Error = "belongs to another cluster: " + r.Cluster
		}
		if !slices.ContainsFunc(out, func(o NodeStatus) bool { return o.Endpoint == r.Endpoint }) {
			out = append(out, r)
		}
	}
	return out, nil
}

// askAll asks nodes at the same time and answers in their order.
func (c *Client) askAll(ctx context.Context, endpoints []string) []NodeStatus {
	rows := make([]NodeStatus, len(endpoints))
	var wait sync.WaitGroup // of goroutines that end with their answer or ctx
	for i, e := range endpoints {
		wait.Go(func() { rows[i] = c.askOne(ctx, e) })
	}
	wait.Wait()
	return rows
}

func (c *Client) askOne(ctx context.Context, endpoint string) NodeStatus {
	s := NodeStatus{}
	silent := fmt.Errorf("no answer within %v", c.cfg.StatusTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.StatusTimeout, silent)
	defer cancel()
	v, err := c.once(ctx, endpoint, resp.AppendRequest(nil, "RAFT", "STATUS"))
	switch {
	case err != nil:
	case v.Kind == resp.KindError:
		err = errors.New(v.Text())
	default:
		if err = json.Unmarshal(v.Bytes, &s); err != nil {
			err = fmt.Errorf("%s answered no status: %w", endpoint, err)
		}
	}
	s.Endpoint = endpoint
	if err != nil {
		if ctx.Err() != nil && context.Cause(ctx) == silent {
			err = silent // rather than what dialling makes of it
		}
		s.Error = err.Error()
	}
	return s
}

// once asks one node over a connection of its own.
func (c *Client) once(ctx context.Context, endpoint string, req []byte) (resp.Value, error) {
	dialCtx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	l, err := c.greet(dialCtx, endpoint)
	cancel()
	if err != nil {
		return resp.Value{}, err
	}
	defer l.fail(errLinkLost)
	v, _, err := l.do(ctx, req, c.cfg.AttemptTimeout)
	return v, err
}

// Members lists the members as the node that answers knows them.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	v, err := c.read(ctx, "members", resp.AppendRequest(nil, "RAFT", "MEMBERS"))
	if err != nil {
		return nil, err
	}
	var ms []Member
	if err := json.Unmarshal(v.Bytes, &ms); err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	return ms, nil
}

// AddMember adds the empty node at a peer address as a learner. With dryRun it
// only says what would happen. An unsafe change is refused with ErrCondition.
func (c *Client) AddMember(ctx context.Context, name, peer string, dryRun bool) (string, error) {
	return c.change(ctx, "add member "+name, dryRun, "RAFT", "MEMBER", "ADD", name, peer)
}

// Promote makes a learner a voter.
func (c *Client) Promote(ctx context.Context, name string, dryRun bool) (string, error) {
	return c.change(ctx, "promote "+name, dryRun, "RAFT", "MEMBER", "PROMOTE", name)
}

// Remove takes a member out of the cluster for ever.
func (c *Client) Remove(ctx context.Context, name string, dryRun bool) (string, error) {
	return c.change(ctx, "remove "+name, dryRun, "RAFT", "MEMBER", "REMOVE", name)
}

// Transfer hands leadership to a node, or to the best one if name is empty.
func (c *Client) Transfer(ctx context.Context, name string) (string, error) {
	args := []string{"RAFT", "TRANSFER"}
	if name != "" {
		args = append(args, name)
	}
	return c.change(ctx, "transfer", false, args...)
}

// change asks the leader to change the cluster, once: a change has no session, so
// that after a lost answer its outcome is ErrUnknown. It returns what the node says.
func (c *Client) change(ctx context.Context, op string, dryRun bool, args ...string) (string, error) {
	ctx, done := c.bound(ctx)
	defer done()
	if dryRun {
		args = append(args, "DRYRUN")
	}
	req := resp.AppendRequest(nil, args...)
	var last error
	leader := "" // where the leader is, once a node has said so
	tries := c.retry()
	for {
		v, sent, l, err := c.attemptAt(ctx, leader, req)
		leader = ""
		switch {
		case err == nil && v.Kind != resp.KindError:
			return v.Text(), nil
		case err == nil:
			e := &ReplyError{v.Text()}
			err = e
			switch j := judge(e); {
			case e.Code() == "NOTLEADER":
				if words := strings.Fields(e.Text); len(words) > 1 {
					leader = words[1]
				}
			case e.Code() == "REFUSED":
				return "", fmt.Errorf("%s: %w: %w", op, ErrCondition, e)
			case j == elsewhere:
				c.leave(l)
			case j == again:
			case j == unclear:
				return "", &callError{op: op, kinds: []error{ErrUnknown}, cause: e}
			case j == refused:
				return "", &callError{op: op, kinds: []error{ErrNotApplied}, cause: e}
			default:
				return "", fmt.Errorf("%s: %w", op, e)
			}
		case sent:
			return "", &callError{op: op, kinds: []error{ErrUnknown}, cause: err}
		}
		if ctx.Err() == nil {
			last = err
		}
		if ctx.Err() != nil || !tries.again(ctx, true) {
			return "", ended(ctx, op, ErrNotApplied, last, err)
		}
	}
}

// attemptAt is attempt at a node that another one has named, over a connection of
// its own; without a name, over the client's.
func (c *Client) attemptAt(ctx context.Context, endpoint string, req []byte) (v resp.Value, sent bool, l *link, err error) {
	const limit = 1 << 40 // the context bounds it: a change takes as long as it takes
	if endpoint == "" {
		if l, err = c.connect(ctx); err != nil {
			return v, false, nil, err
		}
		v, sent, err = l.do(ctx, req, limit)
		return v, sent, l, err
	}
	own, err := c.dial(ctx, endpoint)
	if err != nil {
		return v, false, nil, err
	}
	defer own.fail(errLinkLost)
	v, sent, err = own.do(ctx, req, limit)
	return v, sent, nil, err
}
