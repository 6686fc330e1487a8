package mutants

// Each rule of the simulator is seen to fire: these mistakes are found by it within the seeds of tier 1.
var simMutants = []mutant{
	{"a leader is elected with one vote less", "election safety", "raft/election.go", []edit{
		{"len(r.election.votes) >= quorum(r.config().voters())", "len(r.election.votes)+1 >= quorum(r.config().voters())"},
	}, []string{replicas}},
	{"a crash takes a confirmed write along", "term and vote never regress on disk; committed stays committed", "raftlog/mem.go", []edit{
		{"	m.Confirm(min(keep, len(m.flight)))\n	m.flight", "	m.Confirm(min(keep, len(m.flight)))\n	if keep == 0 && len(m.past) > 0 {\n		m.disk = m.past[len(m.past)-1]\n	}\n	m.flight"},
	}, []string{replicas}},
	{"an acknowledgement of what is only in memory", "what leaves is on disk", "raft/follower.go", []edit{
		{"match := min(f.matched, r.w.stable)", "match := f.matched"},
	}, []string{replicas}},
	{"the leader counts what it has not written", "acknowledged is durable on a quorum", "raft/leader.go", []edit{
		{"match = append(match, r.w.stable)", "match = append(match, r.log.last().Index)"},
	}, []string{replicas}},
	{"an old term's entry is committed by counting", "only own-term entries by counting", "raft/leader.go", []edit{
		{"!ok || c <= r.commit || t != r.term", "!ok || c <= r.commit || t > r.term"},
	}, []string{replicas}},
	{"a membership change before the own term commits", "one membership change at a time", "raft/membership.go", []edit{
		{"t, _ := r.log.term(r.commit); t != r.term {", "t, _ := r.log.term(r.commit); t > r.term {"},
	}, []string{replicas}},
	{"a leader that hears nobody goes on", "elections do not disrupt", "raft/leader.go", []edit{
		{"case !r.reachesQuorum():", "case false:"},
	}, []string{replicas}},
	{"the names of snapshots are not synced", "snapshot and log cover everything", "snapshot/dir.go", []edit{
		{"	return d.fs.SyncDir(d.path)\n}\n\n// retire", "	return nil\n}\n\n// retire"},
	}, []string{replicas}},
	{"a repeated write of a session runs again", "session results exactly once", "statemachine/sessions.go", []edit{
		{"		return append(dst, k.result...)\n", "		return m.write(inner, dst)\n"},
	}, []string{replicas}},
	{"nothing expires while a view is frozen", "equal state hash at equal index", "statemachine/state.go", []edit{
		{"	now := s.nowMillis()\n	for range limit {", "	now := s.nowMillis()\n	if s.view != nil {\n		return\n	}\n	for range limit {"},
	}, []string{replicas}},
	{"a late forward was surely not applied", "surely not applied never shows up", "node/forwarding.go", []edit{
		{"			r.unknown(&f.ops[i], ErrTimeout)", "			r.refuse(&f.ops[i], ErrTimeout)"},
	}, []string{replicas}},
	{"a stale read forgets what was shown", "reads never go back", "node/reads.go", []edit{
		{"	index := l.shown\n", "	index := raft.Index(0)\n"},
	}, []string{replicas}},
	{"a read does not wait for its connection's writes", "order of a connection", "node/reads.go", []edit{
		{"		index = max(index, l.last.Index) // its own", "		index = max(index, 0) // its own"},
	}, []string{replicas}},
	{"a block runs though a condition is not met", "a block runs if nobody changed what it watches", "statemachine/block.go", []edit{
		{"!m.st.holds(c.Args[2*i], t)", "!m.st.holds(c.Args[2*i], t) && i > 0"},
	}, []string{replicas}},
	{"vote for an older log, in both places that look", "leader completeness", "raft/election.go", []edit{
		{"(r.vote == None || r.vote == m.From) && r.fence == FenceNone && !m.Last.olderThan(r.log.last())", "(r.vote == None || r.vote == m.From) && r.fence == FenceNone"},
		{"if !o.last.olderThan(r.log.last()) && r.fence == FenceNone {", "if r.fence == FenceNone {"},
	}, []string{replicas}},
	{"who hands over drops what nobody has", "leader append-only", "raft/leader.go", []edit{
		{"	if r.lead.transfer == None { // asking", "	most := max(r.commit, r.lead.noop)\n	for i := range r.lead.windows {\n		most = max(most, r.lead.windows[i].match, r.lead.windows[i].have)\n	}\n	if r.lead.transfer == None && most < r.log.last().Index {\n		r.lead.uncommitted -= r.log.bytesAbove(most)\n		r.replaceFrom(most+1, nil)\n		for i := range r.lead.windows {\n			r.lead.windows[i].restart(r.lead.windows[i].match + 1)\n		}\n	}\n	if r.lead.transfer == None { // asking"},
	}, []string{replicas}},
	{"the state keeps time in whole milliseconds", "time never goes back: the state has the time of its entry", "statemachine/state.go", []edit{
		{"	s.now = max(s.now, e.Time)", "	s.now = max(s.now, e.Time/millisecond*millisecond)"},
	}, []string{replicas}},
	{"a feed forgets that it jumped over changes", "a subscriber sees every change, or is told of the gap", "server/feed/hub.go", []edit{
		{"		h.last = End(c.Index)\n		h.floor.Store(uint64(c.Index))\n", "		h.last = End(c.Index)\n"},
	}, []string{replicas}},
	{"commands wait for ever for clients to come again", "a leader keeps commands back no longer than a batch takes", "node/gather.go", []edit{
		{"		(r.tick <= r.heldAt+1 || r.now-r.heldSince < min(2*r.returns.usual, gatherMost)) &&\n", ""},
	}, []string{replicas}},
	{"clients that come again are never awaited", "a leader waits for clients that come again at once", "node/gather.go", []edit{
		{"return s.watching && s.good >= gatherTrust && s.last == last", "return false"},
	}, []string{"node TestClientsThatComeAgainAreAwaited", replicas}},
	{"a session that is used stays old", "the session that was used longest ago goes", "statemachine/sessions.go", []edit{
		{"	s.lasting.add(e.head())\n	s.unlink(e)\n	s.link(e)\n", "	s.lasting.add(e.head())\n"},
	}, []string{replicas}},
	{"a leader commits what it has as it steps down", "acknowledged is durable on a quorum, in the turn in which a leader steps down too", "raft/leader.go", []edit{
		{"	case !r.reachesQuorum():\n", "	case !r.reachesQuorum():\n		if t, _ := r.log.term(r.w.stable); t == r.term {\n			r.commit = max(r.commit, r.w.stable)\n		}\n"},
	}, []string{replicas}},
	{"a read of the own state does not wait for its connection's writes", "requests of a connection take effect in their order, whatever their levels", "node/reads.go", []edit{
		{"	if l.writes > 0 && l.last.Term == l.mode.term {\n		index = max(index, l.last.Index)\n	}\n", ""},
	}, []string{replicas}},
	{"levels mix while requests are at the leader", "requests of a connection take effect in their order, whatever their levels", "node/pump.go", []edit{
		{"	case kind == StaleRead:\n		want = mode{kind: StaleRead}\n", "	case kind == StaleRead:\n		want = l.mode\n"},
	}, []string{replicas}},
	// What the simulator found, each by its named test.
	{"a lost read goes before the writes before it", "writes and reads of one connection take effect in their order", "node/conn.go", []edit{
		{"l.waiting.at(i+1).place < o.place", "false"},
	}, []string{"node TestLostReadStaysBehindRetriedWrites"}},
	{"a read is asked again without its successors", "reads of a connection never go back", "node/forwarding.go", []edit{
		{"x.conn == o.conn && x.seq < o.seq", "false"},
	}, []string{"node TestReadAskedAgainIsNotOvertakenByItsSuccessor"}},
	{"a failed save leaves nothing due", "a full log is compacted in the end", "node/policy.go", []edit{
		{"p.since+p.due, p.sinceBytes+p.dueBytes", "p.since, p.sinceBytes"},
	}, []string{"node TestFailedSaveOfAFullLogIsTriedAgain"}},
}
