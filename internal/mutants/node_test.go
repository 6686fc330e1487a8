package mutants

// replicas is the simulation of whole nodes.
const replicas = "sim TestReplicas"

var nodeMutants = []mutant{
	{"a replaced write counts as applied", "outcomes: applied, surely not applied and unknown are never merged", "node/tickets.go", []edit{
		{"		if entries[id.Index-first.Index].Term == id.Term {\n			return isApplied\n		}\n		return isReplaced", "		return isApplied"},
	}, []string{"node TestJudge"}},
	{"a write that a snapshot jumped over did nothing", "outcomes: a jump is unknown", "node/replica.go", []edit{
		{"	if v == isReplaced {", "	if v != isApplied {"},
	}, []string{"node TestJumpedWriteIsUnknown"}},
	{"the loss of leadership ends writes as not applied", "outcomes: a ticket outlives the loss of leadership", "node/replica.go", []edit{
		{"	if was.Leader != s.Leader || was.Term != s.Term {\n		r.forgetAsks()", "	if was.Leader != s.Leader || was.Term != s.Term {\n		for r.tickets.q.len() > 0 {\n			k := r.tickets.q.pop()\n			r.refuse(&k.op, ErrLostLead)\n		}\n		r.forgetAsks()"},
	}, []string{"node TestShutdownWaitsForAChange"}},
	{"a write that ran out of time did nothing", "outcomes: a deadline is unknown", "node/pump.go", []edit{
		{"	r.tickets.expire(r.tick, func(o *op) { r.unknown(o, ErrTimeout) })", "	r.tickets.expire(r.tick, func(o *op) { r.refuse(o, ErrTimeout) })"},
	}, []string{"node TestOutcomesAreTrue"}},
	{"a lost link says that nothing was done", "forwarding: silence after the first byte is unknown", "node/forwarding.go", []edit{
		{"			r.unknown(&f.ops[i], ErrLostLink)", "			r.refuse(&f.ops[i], ErrLostLink)"},
	}, []string{"node TestOutcomesAreTrue"}},
	{"a forward is resent when the link breaks", "forwarding: written once to one connection, never resent", "node/forwarding.go", []edit{
		{"			r.unknown(&f.ops[i], ErrLostLink)", "			r.refuse(&f.ops[i], ErrNoLeader)"},
	}, []string{"node TestOutcomesAreTrue"}},
	{"a repeated forward runs again", "forwarding: the leader drops repeated ids", "node/serving.go", []edit{
		{"		if id <= seen[i].last {\n			return false\n		}\n", ""},
	}, []string{"node TestOutcomesAreTrue"}},
	{"a forward for another term is taken", "forwarding: the leader refuses another term", "node/serving.go", []edit{
		{"case !r.leads() || r.soft.Term != term:", "case !r.leads() || term == 0 && r.soft.Term == 0:"},
	}, []string{"node TestOutcomesAreTrue"}},
	{"a forward goes on behind a refused command", "writes of one connection take effect in their order or not at all", "node/serving.go", []edit{
		{"			for ; k < len(cmds); k++ {\n				r.servedOne(&op{served: f, k: k}, Reply{Outcome: NotApplied, Err: err})\n			}\n			return", "			r.servedOne(&op{served: f, k: k}, Reply{Outcome: NotApplied, Err: err})\n			continue"},
	}, []string{"node TestForwardIsCutAtItsFirstRefusal"}},
	{"forwards overtake each other", "a connection has one forward under way at most", "node/forwarding.go", []edit{
		{"	if l.writes > 0 {\n		return false // the next forward goes when this one has ended\n	}\n", ""},
	}, []string{"node TestLostLinkIsUnknown"}},
	{"an answer to an earlier boot counts", "an answer to an earlier boot means nothing to the present one", "node/forwarding.go", []edit{
		{"	case packetReplies:\n		if boot == r.fwd.boot {", "	case packetReplies:\n		if boot != 0 {"},
	}, []string{"node TestAnswerToAnEarlierBoot"}},
	{"a read id is used again", "reads: a fresh id at each attempt", "node/reads.go", []edit{
		{"	r.nextRead++\n	r.group = &group{", "	r.group = &group{"},
	}, []string{"node TestOutcomesAreTrue"}},
	{"a read of a follower is asked under one id", "reads: a fresh id at each attempt", "node/forwarding.go", []edit{
		{"		f.nextID++\n		f.asks = append(f.asks, f.open)", "		f.asks = append(f.asks, f.open)"},
	}, []string{"node TestOvertakenReadOfAFollower"}},
	{"a read is answered before its round", "reads: the result is held until the round is confirmed", "node/applyreads.go", []edit{
		{"	if set.confirmed {\n		a.answerHeld(j, set, h)\n	}", "	a.answerHeld(j, set, h)"},
	}, []string{"node TestReadIsEvaluatedAtItsIndexAndHeld"}},
	{"a read does not wait for its index", "reads: evaluated at the first applied index that suffices", "node/applyreads.go", []edit{
		{"	if r.index <= a.applied.Index {\n		a.evaluate(j, set, len(set.reads)-1)\n		return\n	}\n", "	if true {\n		a.evaluate(j, set, len(set.reads)-1)\n		return\n	}\n"},
	}, []string{"node TestStopAnswersEverything"}},
	{"a pipeline does not see its own writes", "reads: a pipeline sees its own earlier writes", "node/reads.go", []edit{
		{"		index = max(index, l.last.Index) // its own earlier writes, committed or not\n", ""},
	}, []string{"node TestOutcomesAreTrue"}},
	{"a lost read is answered all the same", "reads: what was evaluated without a round is thrown away", "node/reads.go", []edit{
		{"	if len(g.reads) > 0 {\n		r.job.drop = append(r.job.drop, g.id)\n	}", "	if len(g.reads) > 0 {\n		r.job.release = append(r.job.release, g.id)\n	}"},
	}, []string{"node TestOutcomesAreTrue"}},
	{"a read joins the group of an earlier batch", "reads: a later read could come after a write that the round does not cover", "node/replica.go", []edit{
		{"	r.group = nil // a later read could come after a write that this round doesn't cover\n", ""},
	}, []string{"node TestLateEchoConfirmsNoLaterRead"}},
	{"a lost read overtakes a write", "reads: asked again only where that keeps the order", "node/reads.go", []edit{
		{"{ return l.lastWrite > o.seq || l.readSeq > o.seq }", "{ return false }"},
	}, []string{"node TestOutcomesAreTrue"}},
	{"a stale read goes before a read that is under way", "requests of a connection take effect in their order, whatever their levels", "node/reads.go", []edit{
		{"		index = max(index, l.lastRead)\n	}\n	o.seq = l.nextSeq()\n	l.readSeq,", "	}\n	o.seq = l.nextSeq()\n	l.readSeq,"},
	}, []string{"node TestStaleReadBehindAReadSeesAsMuch"}},
	{"a write is tried again behind a stale read", "requests of a connection take effect in their order, whatever their levels", "node/reads.go", []edit{
		{"	l.readSeq, l.lastRead = o.seq, index\n	l.stale++", "	l.lastRead = index\n	l.stale++"},
	}, []string{"node TestReplacedWriteBehindAnAnsweredRead"}},
	{"a stale read goes back", "READONLY never goes below what the connection was shown", "node/reads.go", []edit{
		{"	l := &c.lane\n	index := l.shown\n", "	l := &c.lane\n	index := raft.Index(0)\n"},
	}, []string{"node TestOutcomesAreTrue"}},
	{"what waits behind an unknown write goes on", "writes of one connection take effect in their order or not at all", "node/pump.go", []edit{
		{"	if broken {\n		defer r.failWrites(c, ErrEarlier, ErrEarlier)\n	}\n", ""},
	}, []string{"node TestLostLinkIsUnknown"}},
	{"a write slips past a refused one", "none of a client's later writes may slip past an earlier one", "node/pump.go", []edit{
		{"		r.answer(c, o.req.Slot, NotApplied, err)\n		l.bytes -= len(o.req.Data)\n		r.waiting--\n		err = rest\n		return false", "		if err == nil {\n			return true\n		}\n		r.answer(c, o.req.Slot, NotApplied, err)\n		l.bytes -= len(o.req.Data)\n		r.waiting--\n		err = nil\n		return false"},
	}, []string{"node TestNoLeaderInTime"}},
	{"an older copy of the disk goes on", "a peer that heard of a later write reveals an older copy", "node/replica.go", []edit{
		{"	r.core.SetFence(raft.FenceForever)\n", ""},
	}, []string{"node TestOlderDiskIsFenced"}},
	{"the log time jumps with the clock", "time: one tick adds at most an election timeout", "node/clock.go", []edit{
		{"	elapsed = min(max(elapsed, 0), c.most)\n", "	elapsed = max(elapsed, 0)\n"},
	}, []string{"node TestLogClock"}},
	{"a new leader's time goes back", "time never goes back", "node/clock.go", []edit{
		{"	c.now = max(c.now, last, wall)", "	c.now = wall"},
	}, []string{"node TestLogClockAtElection"}},
	{"a snapshot that failed drops the log", "only a durable snapshot lets the log drop its prefix", "node/policy.go", []edit{
		{"	if ev.Err != nil {\n		p.failures++\n		p.notAt", "	if ev.Err != nil {\n		r.core.Compact(raft.SnapshotMeta{Last: raft.EntryID{Term: r.soft.Term, Index: r.applied}, Config: r.membership}, r.applied)\n		p.failures++\n		p.notAt"},
	}, []string{"node TestFailedSaveIsTriedAgain"}},
	{"a failed fetch is installed", "a snapshot is durable before it is adopted", "node/policy.go", []edit{
		{"	f.running = false\n	if ev.Err != nil {\n", "	f.running = false\n	if ev.Err != nil && ev.Meta.Last.Index == 0 {\n"},
	}, []string{"node TestFailedFetchIsTriedAgain"}},
	{"a snapshot is fetched before the last one is restored", "one snapshot is kept, and the applier may not have read it yet", "node/policy.go", []edit{
		{"!f.running && !f.restoring &&", "!f.running &&"},
	}, []string{"node TestNothingIsFetchedBeforeTheLastIsRestored"}},
	{"the state is not replaced by an installed snapshot", "an installed snapshot replaces the state before later entries", "node/policy.go", []edit{
		{"	if replace {\n		r.install(ev.Meta)\n	}", "	_ = replace"},
	}, []string{"node TestOutcomesAreTrue"}},
	{"low space refuses deletes as well", "space: reads and deletes go on", "node/replica.go", []edit{
		{"	return r.core.LowSpace() && (r.cfg.Frees == nil || !r.cfg.Frees(cmd))", "	return r.core.LowSpace()"},
	}, []string{"node TestLowSpace"}},
	{"low space is ignored", "space: writes that need more are refused", "node/replica.go", []edit{
		{"	return r.core.LowSpace() && (r.cfg.Frees == nil || !r.cfg.Frees(cmd))", "	return false"},
	}, []string{"node TestLowSpace"}},
	{"a shutdown loses what was proposed", "shutdown: what is open is waited for", "node/admin.go", []edit{
		{"r.waiting+r.writes+r.reads+r.serve.open+r.changes+len(r.transfers) > 0 {", "r.waiting+r.reads+len(r.transfers) > 0 {"},
	}, []string{"node TestShutdownWaitsForAChange"}},
	{"ready before the log is replayed", "no reads before what was acknowledged is applied again", "node/replica.go", []edit{
		{"	ready := !r.closing && r.applied >= r.bootAt && r.core.Status().Ready", "	ready := !r.closing && r.core.Status().Ready"},
	}, []string{"node TestRestart"}},
	{"a state that differs from the majority goes on", "a minority against an agreeing majority stops", "node/compare.go", []edit{
		{"case most >= need && own.hash != right:", "case false && own.hash != right:"},
	}, []string{"node TestDivergedMinorityStops"}},
	{"half of the voters are a majority", "a majority of all voters, not of those that answered", "node/compare.go", []edit{
		{"	need, missing, most := len(voters)/2+1, 0, 0", "	need, missing, most := len(voters)/2, 0, 0"},
	}, []string{"node TestDivergedMinorityStops"}},
	{"entries without a ticket are applied at another time", "the state hash is equal at equal index", "node/apply.go", []edit{
		{"			a.scratch = a.m.Apply(*e, a.scratch[:0])", "			f := *e\n			f.Time = 0\n			a.scratch = a.m.Apply(f, a.scratch[:0])"},
	}, []string{replicas}},
}
