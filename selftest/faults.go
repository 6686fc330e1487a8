package selftest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"
)

// torment is a cluster under clients, while faults happen to it.
type torment struct {
	c      *Cluster
	links  *Links
	fronts *Fronts
	w      *Workload // of this round
	rand   *rand.Rand
	count  map[string]int // how often something happened
}

// fault is one kind of torment. do lets it happen, waits until what must go on
// goes on, and ends it. The cluster is whole before and, soon after, again.
type fault struct {
	name  string
	nodes int // at least so many voters
	do    func(ctx context.Context, t *torment) error
}

// faults are all of them, by name. Where a majority can still work, clients must
// get answers while the fault lasts.
func faults() []fault {
	return []fault{
		{"kill a follower", 3, func(ctx context.Context, t *torment) error { return t.kill(ctx, t.followers(1)) }},
		{"kill the leader", 1, func(ctx context.Context, t *torment) error { return t.kill(ctx, t.leader) }},
		{"kill several", 3, func(ctx context.Context, t *torment) error { return t.kill(ctx, t.some(2)) }},
		{"kill all", 1, func(ctx context.Context, t *torment) error { return t.kill(ctx, t.some(len(t.c.Nodes))) }},
		{"stop the leader in order", 1, stopInOrder},
		{"pause a follower", 3, func(ctx context.Context, t *torment) error { return t.pause(ctx, t.followers(1)) }},
		{"pause the leader", 3, func(ctx context.Context, t *torment) error { return t.pause(ctx, t.leader) }},
		{"pause all", 1, func(ctx context.Context, t *torment) error { return t.pause(ctx, t.some(len(t.c.Nodes))) }},
		{"isolate the leader", 3, func(ctx context.Context, t *torment) error {
			return t.cut(ctx, func(lead *Node, _ []*Node) { t.links.Isolate(lead) })
		}},
		{"leader can't hear", 3, func(ctx context.Context, t *torment) error {
			return t.cut(ctx, func(lead *Node, others []*Node) {
				for _, o := range others {
					t.links.CutOneWay(o, lead)
				}
			})
		}},
		{"leader can't speak", 3, func(ctx context.Context, t *torment) error {
			return t.cut(ctx, func(lead *Node, others []*Node) {
				for _, o := range others {
					t.links.CutOneWay(lead, o)
				}
			})
		}},
		{"cut a follower from the leader", 3, func(ctx context.Context, t *torment) error {
			return t.cut(ctx, func(lead *Node, others []*Node) { t.links.Cut(lead, others[0]) })
		}},
		{"split off a minority", 3, func(ctx context.Context, t *torment) error {
			return t.cut(ctx, func(lead *Node, others []*Node) {
				all := append([]*Node{lead}, others...)
				t.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				few := (len(all) - 1) / 2
				t.links.Split(all[:few], all[few:])
			})
		}},
		{"bridge", 3, func(ctx context.Context, t *torment) error {
			return t.cut(ctx, func(lead *Node, others []*Node) {
				// Two halves that only one node can reach, which isn't the leader.
				rest := append([]*Node{lead}, others[1:]...)
				t.links.Split(rest[:len(rest)/2], rest[len(rest)/2:])
			})
		}},
		{"chain to the leader", 5, func(ctx context.Context, t *torment) error {
			// Full omission: the leader and two others form the core, each other node
			// reaches one node of the core only (FAULTS NP-06).
			return t.cut(ctx, func(lead *Node, others []*Node) {
				core := []*Node{lead, others[0], others[1]}
				for i, outer := range others[2:] {
					for _, o := range t.c.Nodes {
						if o != outer && o != core[1+i%2] {
							t.links.Cut(outer, o)
						}
					}
				}
			})
		}},
		{"flapping links", 3, flap},
		{"lost replies", 1, loseReplies},
		{"transfer", 3, transfer},
		{"replace a member", 3, replaceMember},
	}
}

// How long a fault lasts beyond what must happen under it, at most: some
// election timeouts.
const lasts = 1500 * time.Millisecond

// linger lets a fault last for a while.
func (t *torment) linger(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(t.rand.Int64N(int64(lasts)))):
	}
}

// answers is how many answers clients must get for things to count as going on.
const answers = 20

// goesOn waits until clients get answers.
func (t *torment) goesOn(ctx context.Context) error {
	from := t.w.Acked()
	return Until(ctx, "clients to get answers", func() (bool, error) { return t.w.Acked() >= from+answers, nil })
}

// leader chooses the node that leads.
func (t *torment) leader(ctx context.Context) ([]*Node, error) {
	n, err := t.c.Leader(ctx)
	return []*Node{n}, err
}

// followers chooses n nodes that don't lead.
func (t *torment) followers(n int) func(context.Context) ([]*Node, error) {
	return func(ctx context.Context) ([]*Node, error) {
		lead, others, err := t.split(ctx)
		if err != nil || len(others) < n {
			return nil, errors.Join(err, fmt.Errorf("%d followers beside %v", len(others), lead))
		}
		return others[:n], nil
	}
}

// some chooses n nodes, whatever they are.
func (t *torment) some(n int) func(context.Context) ([]*Node, error) {
	return func(context.Context) ([]*Node, error) {
		var out []*Node
		for _, i := range t.rand.Perm(len(t.c.Nodes))[:n] {
			out = append(out, t.c.Nodes[i])
		}
		return out, nil
	}
}

// split is the leader, and the others in any order.
func (t *torment) split(ctx context.Context) (lead *Node, others []*Node, err error) {
	lead, err = t.c.Leader(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range t.rand.Perm(len(t.c.Nodes)) {
		if n := t.c.Nodes[i]; n != lead {
			others = append(others, n)
		}
	}
	return lead, others, nil
}

// minority tells whether the cluster must go on without so many nodes.
func (t *torment) minority(n int) bool { return n <= (len(t.c.Nodes)-1)/2 }

func (t *torment) kill(ctx context.Context, victims func(context.Context) ([]*Node, error)) error {
	nodes, err := victims(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		n.signal(syscall.SIGKILL) // all at once
	}
	for _, n := range nodes {
		n.Kill()
		t.count["kill -9"]++
	}
	if t.minority(len(nodes)) {
		if err := t.goesOn(ctx); err != nil {
			return err
		}
	}
	t.linger(ctx)
	return t.c.Start()
}

func (t *torment) pause(ctx context.Context, victims func(context.Context) ([]*Node, error)) error {
	nodes, err := victims(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		n.Pause()
		defer n.Resume()
		t.count["SIGSTOP"]++
	}
	if t.minority(len(nodes)) {
		if err := t.goesOn(ctx); err != nil {
			return err
		}
	}
	t.linger(ctx)
	return nil
}

// cut lets a partition happen, which leaves a majority in touch.
func (t *torment) cut(ctx context.Context, how func(lead *Node, others []*Node)) error {
	lead, others, err := t.split(ctx)
	if err != nil {
		return err
	}
	how(lead, others)
	defer t.links.Heal()
	t.count["partition"]++
	if err := t.goesOn(ctx); err != nil {
		return err
	}
	t.linger(ctx)
	return t.goesOn(ctx)
}

func flap(ctx context.Context, t *torment) error {
	defer t.links.Heal()
	for i := range 10 {
		a, b := t.c.Nodes[t.rand.IntN(len(t.c.Nodes))], t.c.Nodes[t.rand.IntN(len(t.c.Nodes))]
		if a == b {
			continue
		}
		if i%2 == 0 {
			t.links.Reset(a, b)
		} else {
			t.links.CutOneWay(a, b)
		}
		t.count["flap"]++
		if err := t.goesOn(ctx); err != nil {
			return err
		}
		t.links.Heal()
	}
	return nil
}

func loseReplies(ctx context.Context, t *torment) error {
	before := t.fronts.Lost()
	t.fronts.Lose(func() bool { return rand.IntN(4) == 0 }) // from many goroutines: t.rand is one's own
	defer t.fronts.Lose(nil)
	if err := Until(ctx, "some replies to be lost", func() (bool, error) { return t.fronts.Lost() >= before+20, nil }); err != nil {
		return err
	}
	t.count["reply lost"] += t.fronts.Lost() - before
	return t.goesOn(ctx)
}

func stopInOrder(ctx context.Context, t *torment) error {
	lead, err := t.c.Leader(ctx)
	if err != nil {
		return err
	}
	lead.Terminate()
	if err := lead.Ends(ctx, 0); err != nil {
		return err
	}
	t.count["SIGTERM"]++
	if t.minority(1) {
		if err := t.goesOn(ctx); err != nil {
			return err
		}
	}
	return t.c.Start()
}

func transfer(ctx context.Context, t *torment) error {
	lead, others, err := t.split(ctx)
	if err != nil {
		return err
	}
	// It may fail, if the other one isn't up to date just now: then it leads on.
	if _, err := ask(ctx, lead, "RAFT", "TRANSFER", others[0].Name); err == nil {
		t.count["leadership handed over"]++
	}
	return t.goesOn(ctx)
}

// replaceMember removes a follower, wipes its disk and lets it join as a new node.
func replaceMember(ctx context.Context, t *torment) error {
	_, others, err := t.split(ctx)
	if err != nil {
		return err
	}
	gone := others[0]
	err = t.change(ctx, func(s Status) bool { return !member(s, gone, false) && !member(s, gone, true) }, "REMOVE", gone.Name)
	if err != nil {
		return err
	}
	if err := gone.Ends(ctx, 69); err != nil { // it is told that it was removed
		return err
	}
	if err := t.goesOn(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(gone.Data); err != nil {
		return err
	}
	if err := gone.Start(); err != nil {
		return err
	}
	if err := t.change(ctx, func(s Status) bool { return member(s, gone, true) }, "ADD", gone.Name, gone.Peer); err != nil {
		return err
	}
	if err := t.change(ctx, func(s Status) bool { return member(s, gone, false) }, "PROMOTE", gone.Name); err != nil {
		return err
	}
	t.count["member replaced"]++
	return t.goesOn(ctx)
}

// change asks the leader for a change of members until it is made: whoever leads
// meanwhile, and whatever became of earlier attempts.
func (t *torment) change(ctx context.Context, made func(Status) bool, args ...string) error {
	return Until(ctx, "member "+strings.ToLower(strings.Join(args, " ")), func() (bool, error) {
		lead, err := t.c.Leader(ctx)
		if err != nil {
			return false, err
		}
		s, err := lead.Status(ctx)
		if err != nil || made(s) {
			return err == nil, err
		}
		_, err = ask(ctx, lead, append([]string{"RAFT", "MEMBER"}, args...)...)
		return err == nil, err
	})
}

// member tells whether a node is a member, as a learner or as a voter.
func member(s Status, n *Node, learner bool) bool {
	for _, m := range s.Members {
		if m.Name == n.Name && m.Learner == learner {
			return true
		}
	}
	return false
}

// ask makes one request at a node.
func ask(ctx context.Context, n *Node, args ...string) (string, error) {
	conn, err := Dial(ctx, n.Client)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	v, _, err := conn.Do(settleTimeout, args...)
	return v.Text(), err
}
