package mutants

// Benches of the core.
const (
	scenarios = "raft TestScenarios"
	paper     = "raft TestPaper"
	cores     = "sim/cores TestCores"
	search    = "sim/search TestSmall"
)

// Each of them was a bug in somebody's Raft, or is one line away from it.
var raftMutants = []mutant{
	{"vote before it is durable", "a granted vote leaves when it is durable", "raft/election.go", []edit{{"o.to != None && r.w.durable.term == r.term && r.w.durable.vote == o.to", "o.to != None"}}, []string{scenarios, cores}},
	{"vote request before it is durable", "a vote request leaves when the own vote is durable", "raft/election.go", []edit{{"d.term != r.term || d.vote != r.cfg.ID || r.w.stable != r.log.last().Index", "d.term > r.term || r.w.stable != r.log.last().Index"}}, []string{search, scenarios, cores}},
	{"vote request for a log that is not on the disk", "a vote request leaves when the whole log is durable", "raft/election.go", []edit{{" || r.w.stable != r.log.last().Index", ""}}, []string{scenarios, replicas}},
	{"acknowledgement of what is only in memory", "an acknowledgement says min(matched, stable)", "raft/follower.go", []edit{{"match := min(f.matched, r.w.stable)", "match := f.matched"}}, []string{scenarios, cores}},
	{"acknowledgement before the term is durable", "an acknowledgement leaves when the term is durable", "raft/follower.go", []edit{{" || r.w.durable.term != r.term || !f.owed", " || !f.owed"}}, []string{scenarios, cores}},
	{"the leader counts what it has not written", "the leader's own match is what is stable", "raft/leader.go", []edit{{"match = append(match, r.w.stable)", "match = append(match, r.log.last().Index)"}}, []string{scenarios, cores}},
	{"an old term's entry is committed by counting", "paper 5.4.2, figure 8", "raft/leader.go", []edit{{"!ok || c <= r.commit || t != r.term", "!ok || c <= r.commit || t > r.term"}}, []string{search, scenarios, paper, cores}},
	{"minority commits", "paper 5.3: a majority commits", "raft/quorum.go", []edit{{"match[len(match)-quorum(len(match))]", "match[len(match)-quorum(len(match))+len(match)/2]"}}, []string{scenarios, paper, cores}},
	{"read index without the no-op", "thesis 6.4: no reads before the own no-op is committed", "raft/reads.go", []edit{{"max(r.commit, r.lead.noop)", "r.commit"}}, []string{scenarios, paper, cores}},
	{"a read joins a round that was opened before it came", "a read is confirmed by a round opened after it", "raft/reads.go", []edit{{"read{id: id, index: index}", "read{id: id, index: index, round: r.lead.round}"}}, []string{scenarios, cores, replicas}},
	{"a read is answered without a round", "a read is confirmed by a round opened after it", "raft/reads.go", []edit{{"l.reads[n].round != 0 && l.reads[n].round <= l.confirmed", "l.reads[n].round <= l.confirmed+1"}}, []string{scenarios, paper}},
	{"truncation does not cut back writes in flight", "a truncation cuts back what writes in flight prove", "raft/writes.go", []edit{{"w.flight[k].last = min(w.flight[k].last, i-1)", "_ = k"}}, []string{search, scenarios, cores}},
	{"truncation does not cut back stable", "a truncation cuts back stable", "raft/writes.go", []edit{{"w.stable = min(w.stable, i-1)", ""}}, []string{scenarios, paper, cores}},
	{"truncation does not cut back what was handed to the disk", "a truncation cuts back what was handed over", "raft/writes.go", []edit{{"w.handed = min(w.handed, i-1)", ""}}, []string{scenarios, paper, cores}},
	{"configuration is not rolled back", "thesis 4.1: a truncation rolls the configuration back", "raft/follower.go", []edit{{"r.dropConfigs(i)", ""}}, []string{scenarios, cores}},
	{"vote for an older log", "paper 5.4.1", "raft/election.go", []edit{{"granted := (r.vote == None || r.vote == m.From) && r.fence == FenceNone && !m.Last.olderThan(r.log.last())", "granted := (r.vote == None || r.vote == m.From) && r.fence == FenceNone"}}, []string{paper}},
	{"second vote in a term", "paper 5.2: one vote a term", "raft/election.go", []edit{{"granted := (r.vote == None || r.vote == m.From) &&", "granted := true &&"}}, []string{scenarios, paper, cores}},
	{"vote survives a new term", "paper 5.2: one vote a term", "raft/raft.go", []edit{{"r.term, r.vote = term, None", "r.term = term"}}, []string{scenarios, paper, cores}},
	{"log compared by length only", "paper 5.4.1", "raft/types.go", []edit{{"	if e.Term != o.Term {\n		return e.Term < o.Term\n	}\n", ""}}, []string{paper}},
	{"matched survives a new term", "what was matched belongs to one term", "raft/raft.go", []edit{{"r.follow = follow{matched: r.commit}\n	r.fastBid = 0", "r.fastBid = 0"}}, []string{scenarios, cores}},
	{"follower commits beyond what it matched", "paper figure 2: min(leaderCommit, last new entry)", "raft/follower.go", []edit{{"r.commit = max(r.commit, min(leaderCommit, f.matched))", "r.commit = max(r.commit, min(leaderCommit, r.log.last().Index))"}}, []string{paper, cores}},
	{"entries are appended without a look at prev", "paper 5.3: log matching", "raft/follower.go", []edit{{"	if !r.log.has(prev) {", "	if prev.Index > r.log.last().Index {"}}, []string{scenarios, paper, cores}},
	{"append cuts the log though nothing conflicts", "paper 5.3: only a conflict truncates", "raft/follower.go", []edit{{"		if !r.log.has(e.EntryID) {\n			r.replaceFrom", "		if true {\n			r.replaceFrom"}}, []string{scenarios, paper, cores}},
	{"pre-vote without stickiness", "thesis 9.6", "raft/election.go", []edit{{"m.Term > r.term && !r.sticky() &&", "m.Term > r.term &&"}}, []string{scenarios, paper}},
	{"vote request disturbs who hears a leader", "thesis 4.2.3: stickiness", "raft/raft.go", []edit{{"m.Term > r.term && r.sticky() && !m.Transfer", "false"}}, []string{scenarios, paper}},
	{"a forged term is believed", "a term that is years of elections away is not believed", "raft/raft.go", []edit{{"r.term > 0 && t > r.term+termJump", "false"}}, []string{scenarios}},
	{"no check-quorum", "thesis 6.2: check-quorum", "raft/leader.go", []edit{{"case !r.reachesQuorum():", "case false:"}}, []string{scenarios}},
	{"two changes at a time", "thesis 4.1: one change at a time", "raft/membership.go", []edit{{"r.configs[len(r.configs)-1].index > r.commit {", "false {"}}, []string{scenarios, cores}},
	{"change before the own term commits", "correction of 2015: an own entry is committed first", "raft/membership.go", []edit{{"t, _ := r.log.term(r.commit); t != r.term {", "t, _ := r.log.term(r.commit); t > r.term {"}}, []string{scenarios}},
	{"a leader outside the configuration counts itself", "thesis 4.2.2", "raft/leader.go", []edit{{"	match := few[:0]\n", "	match := few[:0]\n	if !r.config().IsVoter(r.cfg.ID) {\n		match = append(match, r.w.stable)\n	}\n"}}, []string{scenarios, cores}},
	{"echo of an old leader's round counts", "a round belongs to its leader", "raft/leader.go", []edit{{"	if m.Round <= r.lead.round {\n		w.round = max(w.round, m.Round)\n	}", "	w.round = max(w.round, r.lead.round)"}}, []string{scenarios, paper}},
	{"a fenced node votes", "the fence: no vote", "raft/election.go", []edit{{"(r.vote == None || r.vote == m.From) && r.fence == FenceNone &&", "(r.vote == None || r.vote == m.From) &&"}}, []string{scenarios}},
	{"the fence lifts at the own last index", "the fence lifts where a leader's log ended", "raft/raft.go", []edit{{"r.fenceEnd > 0 && min(r.follow.matched, r.w.stable) >= r.fenceEnd", "r.fenceEnd > 0 && r.w.stable >= r.log.last().Index"}}, []string{scenarios}},
	{"an offer below what is committed is installed", "a snapshot never takes the state back", "raft/follower.go", []edit{{"	return s.Last.Index > r.commit\n", "	return true\n"}}, []string{scenarios}},
	{"a reset keeps what writes in flight prove", "a truncation cuts back what writes in flight prove", "raft/follower.go", []edit{{"	r.w.cut(1)\n	r.w.base, r.w.reset = s.Last, true\n	r.configs", "	r.w.base, r.w.reset = s.Last, true\n	r.configs"}}, []string{scenarios}},
	{"compaction before the disk is there", "snapshot and log cover everything", "raft/membership.go", []edit{{"r.w.stable < c.meta.Last.Index || r.applied", "r.applied"}}, []string{scenarios}},
	{"a lost batch is not looked for", "liveness: heartbeats probe", "raft/leader.go", []edit{{"if len(out) == n && (due || w.probe && !w.asked) {", "if len(out) == n && w.sentRound < l.round {"}}, []string{scenarios}},
	{"a rejected guess is repeated", "paper 5.3: next goes back", "raft/leader.go", []edit{{"	w.restart(r.log.agreeing(hint).Index + 1)", "	w.restart(m.Prev.Index + 1)"}}, []string{scenarios, paper}},
	{"who needs a snapshot is never offered one", "paper 7: who is behind the log gets a snapshot", "raft/leader.go", []edit{{"	if hint.Index < r.log.base.Index {", "	if false {"}}, []string{scenarios}},
	{"an offer answers each reply", "liveness: no endless exchange", "raft/leader.go", []edit{{"w.probe = w.next <= r.log.base.Index", "w.probe = false"}}, []string{scenarios}},
	{"no appends for who lacks its snapshot", "liveness: a node without a state still takes entries", "raft/leader.go", []edit{{"	if w.next <= r.log.base.Index {\n		if !w.probe {", "	if w.next <= r.log.base.Index || w.refetch {\n		if !w.probe {"}}, []string{scenarios}},
	{"a hung disk keeps the lead", "hung disk: the leader steps down", "raft/leader.go", []edit{{"case r.diskHangs():", "case false:"}}, []string{scenarios}},
	{"a hung disk stands again", "hung disk: no bid until the write ends", "raft/election.go", []edit{{"!r.refetch && r.hung == 0 &&", "!r.refetch &&"}}, []string{scenarios, search}},
	{"a full node claims what it does not take", "a full node takes what elections and membership need, and says so", "raft/follower.go", []edit{
		{"		entries, owed = entries[:takeable(entries)], true\n", "		last, entries, owed = last+Index(len(entries)), entries[:takeable(entries)], true\n"},
	}, []string{search}},
	{"a fenced node stands because its leader is gone", "the fence: no bid", "raft/raft.go", []edit{
		{"id != r.leader || !r.mayCampaign() {", "id != r.leader {"},
	}, []string{search}},
	{"a confirmed read is forgotten with the lead", "a read of a deposed leader is lost, aloud", "raft/reads.go", []edit{
		{"	for _, d := range r.lead.ready {\n		r.lost = append(r.lost, d.ID)\n	}\n", ""},
	}, []string{search}},
	{"compaction before the applier is there", "snapshot and log cover everything", "raft/membership.go", []edit{
		{"r.w.stable < c.meta.Last.Index || r.applied < c.meta.Last.Index", "r.w.stable < c.meta.Last.Index"},
	}, []string{search}},
	{"TimeoutNow before the heir has all", "thesis 3.10: the heir has the whole log", "raft/leader.go", []edit{{"w != nil && w.match == r.log.last().Index {", "w != nil {"}}, []string{scenarios}},
	{"a learner's vote counts", "thesis 4.2.1: learners do not vote", "raft/election.go", []edit{{"	if r.config().IsVoter(id) && !slices", "	if !slices"}}, []string{paper}},
	{"leadership from answers of an older request", "only granted votes count", "raft/election.go", []edit{{"r.role != Candidate || !r.election.asked || !m.Granted", "r.role != Candidate || !r.election.asked"}}, []string{paper}},
	{"the own vote counts before it is durable", "lead and stand when the disk knows the term and the own vote", "raft/election.go", []edit{
		{"	r.fenceEnd, r.fastBid = 0, 0\n	r.resetTimer()\n}", "	r.fenceEnd, r.fastBid = 0, 0\n	r.resetTimer()\n	r.election.asked, r.election.due, r.election.last = true, true, r.log.last()\n	r.countSelf()\n}"},
	}, []string{search, scenarios}},
	{"leads before its own term is durable", "leadership begins when the disk knows (term, self)", "raft/election.go", []edit{
		{"r.role != Candidate || !r.election.asked || !m.Granted", "r.role != Candidate || !m.Granted"},
		{"	r.fenceEnd, r.fastBid = 0, 0\n	r.resetTimer()\n}", "	r.fenceEnd, r.fastBid = 0, 0\n	r.resetTimer()\n	r.election.due, r.election.last = true, r.log.last()\n	r.countSelf()\n}"},
	}, []string{search, scenarios}},
	{"a conflict hint that says nothing of terms", "paper 5.3: the hint skips whole terms", "raft/follower.go", []edit{
		{"f.hint = r.log.agreeing(m.Prev)", "f.hint = EntryID{m.Prev.Term, min(m.Prev.Index-1, r.log.last().Index)}"},
	}, []string{scenarios}},
	{"an installed snapshot drops what was acknowledged", "Installed keeps the log behind the snapshot", "raft/follower.go", []edit{
		{"	if r.log.has(s.Last) {\n		return r.installedBelow(s)\n	}\n	r.log", "	r.log"},
	}, []string{search, scenarios}},
	{"commit hint above what the disk holds", "Commit never lies beyond what the disk holds", "raft/writes.go", []edit{
		{"Commit: min(r.commit, w.handed)", "Commit: r.commit"},
	}, []string{cores}},
	{"a rejection of what was never asked is believed", "only a reject of what was asked last counts", "raft/leader.go", []edit{
		{"if m.Prev.Index <= w.match || w.probe && m.Prev.Index != w.next-1 {", "if false {"},
	}, []string{scenarios}},
	{"a leader cuts its own log for a message of its term", "paper 5.3: a leader only appends", "raft/follower.go", []edit{
		{"r.role == Leader || r.leader != None && r.leader != m.From", "r.leader != None && r.leader != m.From && false"},
	}, []string{paper}},
	{"the term of a vote request is not taken over", "paper 5.1: who hears a newer term enters it", "raft/raft.go", []edit{
		{"	if m.Term > r.term {\n		r.becomeFollower(m.Term, None,", "	if m.Term > r.term && m.Kind != MsgVote {\n		r.becomeFollower(m.Term, None,"},
	}, []string{paper, scenarios}},
	{"reads survive the loss of leadership", "a read of a deposed leader is lost, aloud", "raft/raft.go", []edit{
		{"	if r.role == Leader {\n		r.dropReads()\n", "	if r.role == Leader {\n"},
	}, []string{scenarios, search}},
	{"log time goes back", "Entry.Time never goes back", "raft/raft.go", []edit{
		{"Time: max(now, r.log.lastTime())", "Time: now"},
	}, []string{cores}},
	{"a command is taken during a transfer", "a transfer pauses proposals", "raft/raft.go", []edit{
		{"	case r.lead.transfer != None:\n		return ErrTransfer\n	case r.shortOfSpace", "	case r.shortOfSpace"},
	}, []string{scenarios}},
	{"a removed member comes back", "a removed id is never let in again", "raft/membership.go", []edit{
		{"case m != nil && c.WasRemoved(id):", "case false:"},
	}, []string{scenarios}},
}
