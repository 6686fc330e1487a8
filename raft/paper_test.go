package raft_test

import (
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// The rules of the paper and the thesis, one core at a time. Each test is named
// after the sentence that it holds. Where a rule is about a whole cluster there
// is a scenario in testdata or a check in rafttest.

// one is a core with a disk that does every write at once.
type one struct {
	*raft.Raft
	t   *testing.T
	out raft.Output // all of them, added up; Write is the newest
}

// core starts node 1 of voters 1 to n, whose log has these terms, in the highest of them or in term.
func core(t *testing.T, n int, term raft.Term, terms ...raft.Term) *one {
	t.Helper()
	d := raft.Durable{State: raft.HardState{Term: term}}
	for id := raft.NodeID(1); id <= raft.NodeID(n); id++ {
		d.Snapshot.Config.Members = append(d.Snapshot.Config.Members, raft.Member{ID: id})
	}
	d.Entries = log(1, terms...)
	c := raft.DefaultConfig()
	c.ID, c.Boot = 1, 1
	r, err := raft.New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	return &one{Raft: r, t: t}
}

// log is entries from index from on, with these terms.
func log(from raft.Index, terms ...raft.Term) (es []raft.Entry) {
	for i, term := range terms {
		es = append(es, raft.Entry{EntryID: raft.EntryID{Term: term, Index: from + raft.Index(i)}, Type: raft.EntryCommand, Data: fmt.Append(nil, term)})
	}
	return es
}

// get hands messages to the core as node 2, unless they say otherwise, and returns what it sends.
func (c *one) get(ms ...raft.Message) []raft.Message {
	c.t.Helper()
	for _, m := range ms {
		m.To = 1
		if m.From == raft.None {
			m.From = 2
		}
		c.Receive(m)
		c.Verify()
	}
	return c.flush()
}

func (c *one) flush() (sent []raft.Message) {
	for range 100 {
		o := c.Output(raft.Room{Write: true, Apply: 1 << 20, Install: true})
		c.Verify()
		sent = append(sent, o.Messages...)
		c.out.Committed = append(c.out.Committed, o.Committed...)
		c.out.Reads = append(c.out.Reads, o.Reads...)
		c.out.Lost = append(c.out.Lost, o.Lost...)
		if o.Write == nil {
			return sent
		}
		c.Wrote(o.Write.Seq)
	}
	c.t.Fatal("never rests")
	return nil
}

// lead makes the core leader of the next term.
func (c *one) lead() *one {
	c.t.Helper()
	for c.Role() == raft.Follower {
		c.Tick()
	}
	c.flush()
	voters := len(c.Status().Config.Voters())
	for id := raft.NodeID(2); id <= raft.NodeID(voters); id++ {
		c.get(raft.Message{Kind: raft.MsgPreVoteReply, From: id, Term: c.Term() + 1, Granted: true})
	}
	for id := raft.NodeID(2); id <= raft.NodeID(voters); id++ {
		c.get(raft.Message{Kind: raft.MsgVoteReply, From: id, Term: c.Term(), Granted: true})
	}
	if c.Role() != raft.Leader {
		c.t.Fatalf("%v, want leader", c.Role())
	}
	return c
}

func (c *one) terms() (ts []raft.Term) {
	_, es := c.Log()
	for _, e := range es {
		ts = append(ts, e.Term)
	}
	return ts
}

func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: %s, want %s", what, g, w)
	}
}

// "Leader Append-Only: a leader never overwrites or deletes entries in its log" (5.3):
// it takes no append of its own term, which none but a faulty node sends.
func TestPaper53LeaderTakesNoAppend(t *testing.T) {
	c := core(t, 3, 1, 1).lead()
	before := c.terms()
	c.get(raft.Message{Kind: raft.MsgAppend, Term: c.Term(), Prev: raft.EntryID{Term: 1, Index: 1}, Entries: log(2, c.Term(), c.Term())})
	same(t, "role", c.Role(), raft.Leader)
	same(t, "log", c.terms(), before)
}

func id(t raft.Term, i raft.Index) raft.EntryID { return raft.EntryID{Term: t, Index: i} }

// "If one server's current term is smaller than the other's, then it updates its
// current term to the larger value. If a candidate or leader discovers that its
// term is out of date, it immediately reverts to follower state." (5.1)
func TestPaper51LargerTermMakesFollower(t *testing.T) {
	for _, m := range []raft.Message{
		{Kind: raft.MsgAppend, Term: 9},
		{Kind: raft.MsgAppendReply, Term: 9},
		{Kind: raft.MsgVoteReply, Term: 9},
		{Kind: raft.MsgPreVoteReply, Term: 9},
		{Kind: raft.MsgVote, Term: 9, Transfer: true},
	} {
		c := core(t, 3, 1).lead()
		c.get(m)
		same(t, m.String()+": role and term", fmt.Sprint(c.Role(), c.Term()), "follower 9")
	}
}

// "If a server receives a request with a stale term number, it rejects the request." (5.1)
func TestPaper51StaleTermIsRejected(t *testing.T) {
	c := core(t, 3, 5, 5)
	for _, m := range []raft.Message{
		{Kind: raft.MsgAppend, Term: 4, Entries: log(1, 4)},
		{Kind: raft.MsgVote, Term: 4, Last: id(4, 9)},
	} {
		sent := c.get(m)
		if len(sent) != 1 || sent[0].Term != 5 || sent[0].Granted || sent[0].Match != 0 {
			t.Errorf("%v is answered with %v, want a refusal in term 5", m, sent)
		}
	}
	same(t, "log", c.terms(), []raft.Term{5})
	same(t, "leader", c.Leader(), raft.None)
}

// "If a follower receives no communication over a period of time called the
// election timeout, then it ... begins an election." "Raft uses randomized election timeouts." (5.2)
func TestPaper52ElectionTimeoutIsRandom(t *testing.T) {
	seen := map[int]bool{}
	for seed := range uint64(50) {
		cfg := raft.DefaultConfig()
		cfg.ID, cfg.Boot, cfg.Seed = 1, 1, seed
		r, err := raft.New(cfg, raft.Durable{Snapshot: raft.SnapshotMeta{Config: raft.Configuration{Members: []raft.Member{{ID: 1}, {ID: 2}}}}})
		if err != nil {
			t.Fatal(err)
		}
		ticks := 0
		for r.Role() == raft.Follower {
			r.Tick()
			ticks++
		}
		if ticks < cfg.ElectionTicks || ticks >= 2*cfg.ElectionTicks {
			t.Errorf("seed %d stands after %d ticks, want %d to %d", seed, ticks, cfg.ElectionTicks, 2*cfg.ElectionTicks-1)
		}
		seen[ticks] = true
	}
	if len(seen) < 10 {
		t.Errorf("50 seeds have only %d timeouts", len(seen))
	}
}

// "A candidate wins an election if it receives votes from a majority of the servers
// in the full cluster for the same term." (5.2)
func TestPaper52MajorityWins(t *testing.T) {
	for _, tc := range []struct {
		voters  int
		replies []raft.Message
		want    raft.Role
	}{
		{1, nil, raft.Leader},
		{3, nil, raft.Candidate},
		{3, []raft.Message{{From: 2, Term: 2, Granted: true}}, raft.Leader},
		{3, []raft.Message{{From: 2, Term: 2}}, raft.Candidate},
		{3, []raft.Message{{From: 2, Term: 1, Granted: true}}, raft.Candidate},
		{5, []raft.Message{{From: 2, Term: 2, Granted: true}, {From: 2, Term: 2, Granted: true}}, raft.Candidate},
		{5, []raft.Message{{From: 2, Term: 2, Granted: true}, {From: 9, Term: 2, Granted: true}}, raft.Candidate},
		{5, []raft.Message{{From: 2, Term: 2, Granted: true}, {From: 3, Term: 2, Granted: true}}, raft.Leader},
		{4, []raft.Message{{From: 2, Term: 2, Granted: true}}, raft.Candidate},
	} {
		c := core(t, tc.voters, 1)
		for c.Role() == raft.Follower {
			c.Tick()
		}
		c.flush()
		for n := raft.NodeID(2); n <= raft.NodeID(tc.voters); n++ {
			c.get(raft.Message{Kind: raft.MsgPreVoteReply, From: n, Term: 2, Granted: true})
		}
		for _, m := range tc.replies {
			m.Kind = raft.MsgVoteReply
			c.get(m)
		}
		same(t, fmt.Sprint(tc.voters, " voters, ", tc.replies), c.Role(), tc.want)
	}
}

// "Each server will vote for at most one candidate in a given term, on a
// first-come-first-served basis." (5.2)
func TestPaper52OneVoteATerm(t *testing.T) {
	c := core(t, 3, 1)
	ask := func(from raft.NodeID, term raft.Term) bool {
		t.Helper()
		sent := c.get(raft.Message{Kind: raft.MsgVote, From: from, Term: term})
		if len(sent) != 1 || sent[0].To != from || sent[0].Term != term {
			t.Fatalf("answers %v", sent)
		}
		return sent[0].Granted
	}
	same(t, "first", ask(2, 2), true)
	same(t, "second", ask(3, 2), false)
	same(t, "first again", ask(2, 2), true)
	same(t, "second in the next term", ask(3, 3), true)
}

// "If the leader's term is at least as large as the candidate's current term, then the
// candidate recognizes the leader as legitimate and returns to follower state." (5.2)
func TestPaper52CandidateYieldsToLeader(t *testing.T) {
	c := core(t, 3, 1)
	for c.Role() == raft.Follower {
		c.Tick()
	}
	c.get(raft.Message{Kind: raft.MsgPreVoteReply, Term: 2, Granted: true})
	same(t, "role", c.Role(), raft.Candidate)
	c.get(raft.Message{Kind: raft.MsgAppend, Term: 2})
	same(t, "role and leader", fmt.Sprint(c.Role(), c.Leader()), "follower 2")
}

// Figure 2, receiver of AppendEntries, rules 2 to 5.
func TestPaper53AppendEntries(t *testing.T) {
	for _, tc := range []struct {
		name    string
		have    []raft.Term
		prev    raft.EntryID
		entries []raft.Term
		commit  raft.Index
		want    []raft.Term
		match   raft.Index
		reject  bool
		commits raft.Index
	}{
		{"2: no entry at prev", []raft.Term{1}, id(1, 2), []raft.Term{2}, 0, []raft.Term{1}, 0, true, 0},
		{"2: another term at prev", []raft.Term{1, 1}, id(2, 2), []raft.Term{2}, 2, []raft.Term{1, 1}, 0, true, 0},
		{"3: a conflict deletes it and all that follow", []raft.Term{1, 1, 1}, id(1, 1), []raft.Term{2}, 0, []raft.Term{1, 2}, 2, false, 0},
		{"3: without a conflict nothing is deleted", []raft.Term{1, 1, 1}, id(0, 0), []raft.Term{1, 1}, 0, []raft.Term{1, 1, 1}, 2, false, 0},
		{"3: an empty one deletes nothing", []raft.Term{1, 1, 1}, id(1, 1), nil, 0, []raft.Term{1, 1, 1}, 1, false, 0},
		{"4: what is new is appended", []raft.Term{1, 1}, id(1, 1), []raft.Term{1, 2, 2}, 0, []raft.Term{1, 1, 2, 2}, 4, false, 0},
		{"5: commit is the leader's", []raft.Term{1, 1}, id(1, 2), []raft.Term{2}, 2, []raft.Term{1, 1, 2}, 3, false, 2},
		{"5: but not above the last new entry", []raft.Term{1, 1, 1}, id(1, 1), []raft.Term{1}, 3, []raft.Term{1, 1, 1}, 2, false, 2},
		{"5: nor above an empty one's prev", []raft.Term{1, 1, 1}, id(1, 1), nil, 3, []raft.Term{1, 1, 1}, 1, false, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := core(t, 3, 2, tc.have...)
			sent := c.get(raft.Message{Kind: raft.MsgAppend, Term: 2, Prev: tc.prev, Entries: log(tc.prev.Index+1, tc.entries...), Commit: tc.commit})
			same(t, "log", c.terms(), tc.want)
			same(t, "commit", c.Commit(), tc.commits)
			m := sent[len(sent)-1]
			reject := false
			for _, m := range sent {
				reject = reject || m.Reject
			}
			same(t, "match", m.Match, tc.match)
			same(t, "reject", reject, tc.reject)
		})
	}
}

// "When a leader first comes to power, it initializes all nextIndex values to the
// index just after the last one in its log." "After a rejection, the leader decrements
// nextIndex and retries." (5.3)
func TestPaper53NextIndexStartsBehindLastAndFallsOnReject(t *testing.T) {
	c := core(t, 3, 3, 1, 1, 3, 3).lead()
	for c.Status().Followers[0].Next != 5 {
		t.Fatalf("next %d, want 5", c.Status().Followers[0].Next)
	}
	// The follower has three entries of term 2 behind the first: the leader has none of term 2.
	sent := c.get(raft.Message{Kind: raft.MsgAppendReply, Term: 4, Reject: true, Prev: id(3, 4), Hint: id(2, 4), Last: id(2, 4)})
	if len(sent) != 1 || sent[0].Prev != id(1, 2) || len(sent[0].Entries) != 3 {
		t.Errorf("after the reject: %v, want prev 1/2 and all behind it", sent)
	}
	// The same reject again is late: nothing changes.
	if sent = c.get(raft.Message{Kind: raft.MsgAppendReply, Term: 4, Reject: true, Prev: id(3, 4), Hint: id(2, 4), Last: id(2, 4)}); len(sent) != 0 {
		t.Errorf("after the late reject: %v", sent)
	}
}

// "A log entry is committed once the leader that created the entry has replicated it on a majority of the servers." (5.3)
func TestPaper53CommitNeedsMajority(t *testing.T) {
	c := core(t, 5, 1).lead()
	reply := func(from raft.NodeID, match raft.Index) {
		c.get(raft.Message{Kind: raft.MsgAppendReply, From: from, Term: 2, Match: match, Have: match, Last: id(2, match)})
	}
	reply(2, 1)
	same(t, "two of five", c.Commit(), raft.Index(0))
	reply(2, 1)
	same(t, "the same again", c.Commit(), raft.Index(0))
	reply(9, 1)
	same(t, "a stranger", c.Commit(), raft.Index(0))
	reply(3, 1)
	same(t, "three of five", c.Commit(), raft.Index(1))
	same(t, "committed", len(c.out.Committed), 1)
}

// "The voter denies its vote if its own log is more up-to-date than that of the candidate." (5.4.1)
func TestPaper541UpToDate(t *testing.T) {
	for _, tc := range []struct {
		own  []raft.Term
		last raft.EntryID
		want bool
	}{
		{[]raft.Term{1, 1}, id(1, 2), true},
		{[]raft.Term{1, 1}, id(1, 1), false},
		{[]raft.Term{1, 1}, id(2, 1), true},
		{[]raft.Term{1, 2}, id(1, 9), false},
		{nil, id(0, 0), true},
	} {
		for _, kind := range []raft.Kind{raft.MsgVote, raft.MsgPreVote} {
			c := core(t, 3, 2, tc.own...)
			sent := c.get(raft.Message{Kind: kind, Term: 3, Last: tc.last})
			if len(sent) != 1 || sent[0].Granted != tc.want {
				t.Errorf("%v for a log that ends in %v, own %v: %v, want %v", kind, tc.last, tc.own, sent, tc.want)
			}
		}
	}
}

// "Only log entries from the leader's current term are committed by counting replicas." (5.4.2)
func TestPaper542OnlyOwnTermByCounting(t *testing.T) {
	c := core(t, 3, 1, 1, 1).lead()
	c.get(raft.Message{Kind: raft.MsgAppendReply, Term: 2, Match: 2, Have: 2, Last: id(1, 2)})
	same(t, "commit with 1/2 on all disks that count", c.Commit(), raft.Index(0))
	c.get(raft.Message{Kind: raft.MsgAppendReply, Term: 2, Match: 3, Have: 3, Last: id(2, 3)})
	same(t, "commit with 2/3", c.Commit(), raft.Index(3))
}

// "Raft handles this by having each leader commit a blank no-op entry into the log at the start of its term." (8, thesis 6.4)
func TestPaper8NoopAtStartOfTerm(t *testing.T) {
	c := core(t, 3, 1, 1).lead()
	_, es := c.Log()
	same(t, "last entry", es[len(es)-1].String(), "2/2noop")
}

// A read waits for the no-op, and for a majority to say that this is still the leader. (thesis 6.4)
func TestPaper64ReadIndex(t *testing.T) {
	c := core(t, 3, 1, 1).lead()
	index, err := c.Read(7)
	same(t, "index and error", fmt.Sprint(index, err), "2 <nil>")
	sent := c.flush()
	if len(sent) != 2 || sent[0].Round != 1 || sent[1].Round != 1 {
		t.Fatalf("sent %v, want round 1 to both", sent)
	}
	c.get(raft.Message{Kind: raft.MsgAppendReply, Term: 2, Round: 9}) // a round that nobody has opened
	c.get(raft.Message{Kind: raft.MsgAppendReply, Term: 1, Round: 1}) // an earlier term
	c.get(raft.Message{Kind: raft.MsgAppendReply, From: 9, Term: 2, Round: 1})
	same(t, "reads confirmed", len(c.out.Reads), 0)
	c.get(raft.Message{Kind: raft.MsgAppendReply, Term: 2, Round: 1})
	same(t, "reads confirmed", c.out.Reads, []raft.ReadReady{{ID: 7, Index: 2}})
}

// "Servers disregard RequestVote RPCs when they believe a current leader exists." (6, thesis 4.2.3)
func TestPaper6StickyVoters(t *testing.T) {
	c := core(t, 3, 1)
	c.get(raft.Message{Kind: raft.MsgAppend, Term: 1})
	for range 49 {
		c.Tick()
	}
	if sent := c.get(raft.Message{Kind: raft.MsgVote, From: 3, Term: 2}); len(sent) != 0 || c.Term() != 1 {
		t.Errorf("49 ticks after the leader: %v, term %d", sent, c.Term())
	}
	if sent := c.get(raft.Message{Kind: raft.MsgPreVote, From: 3, Term: 2}); len(sent) != 1 || sent[0].Granted {
		t.Errorf("pre-vote 49 ticks after the leader: %v", sent)
	}
	c.Tick()
	if sent := c.get(raft.Message{Kind: raft.MsgVote, From: 3, Term: 2}); len(sent) != 1 || !sent[0].Granted {
		t.Errorf("50 ticks after the leader: %v", sent)
	}
}

// "In the Pre-Vote algorithm, a candidate only increments its term if it first learns from a
// majority of the cluster that they would be willing to grant the candidate their votes." (thesis 9.6)
func TestPaper96PreVoteChangesNoTerm(t *testing.T) {
	c := core(t, 3, 1)
	for range 500 {
		c.Tick()
		c.flush()
	}
	same(t, "role and term of who hears nobody", fmt.Sprint(c.Role(), c.Term()), "pre-candidate 1")
	v := core(t, 3, 1)
	v.get(raft.Message{Kind: raft.MsgPreVote, Term: 7})
	same(t, "term and vote of who was asked", fmt.Sprint(v.Term(), v.Status().Vote), "1 0")
}

// "A server always uses the latest configuration in its log, regardless of whether the entry is committed." (6, thesis 4.1)
func TestPaper6LatestConfigurationAtOnce(t *testing.T) {
	c := core(t, 3, 1).lead()
	c.get(raft.Message{Kind: raft.MsgAppendReply, Term: 2, Match: 1, Have: 1, Last: id(2, 1)})
	if _, err := c.ChangeMember(3, nil); err != nil {
		t.Fatal(err)
	}
	same(t, "voters", c.Status().Config.Voters(), []raft.NodeID{1, 2})
	same(t, "committed voters", c.Status().Committed.Voters(), []raft.NodeID{1, 2, 3})
}

// "A learner ... is not counted in majorities." Its vote counts nothing, and it does not stand. (thesis 4.2.1)
func TestPaper421LearnersDoNotCount(t *testing.T) {
	c := core(t, 2, 1).lead()
	c.get(raft.Message{Kind: raft.MsgAppendReply, Term: 2, Match: 1, Have: 1, Last: id(2, 1)})
	if _, err := c.ChangeMember(3, &raft.Member{ID: 3, Name: "new", Learner: true}); err != nil {
		t.Fatal(err)
	}
	c.flush()
	c.get(raft.Message{Kind: raft.MsgAppendReply, From: 3, Term: 2, Match: 2, Have: 2, Last: id(2, 2)})
	same(t, "commit with the leader and a learner", c.Commit(), raft.Index(1))

	d := raft.Durable{}
	d.Snapshot.Config.Members = []raft.Member{{ID: 1}, {ID: 2}, {ID: 3, Learner: true}, {ID: 4}}
	cfg := raft.DefaultConfig()
	cfg.ID, cfg.Boot = 3, 1
	l, err := raft.New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		l.Tick()
	}
	same(t, "role of a learner that hears nobody", l.Role(), raft.Follower)
	cfg.ID = 1
	r, err := raft.New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	v := &one{Raft: r, t: t}
	for v.Role() == raft.Follower {
		v.Tick()
	}
	v.get(raft.Message{Kind: raft.MsgPreVoteReply, From: 3, Term: 1, Granted: true})
	same(t, "role with the pre-votes of itself and a learner, of three voters", v.Role(), raft.PreCandidate)
}
