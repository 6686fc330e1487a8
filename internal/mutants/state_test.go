package mutants

var stateMutants = []mutant{
	{"a gap in a session runs", "sessions: a gap runs nothing", "statemachine/sessions.go", []edit{
		{"case c.Seq > e.last && c.Seq-e.last > 1:", "case false:"},
	}, []string{"statemachine TestGapRunsNothing"}},
	{"a repeated number runs again", "sessions: exactly once", "statemachine/sessions.go", []edit{
		{"	case c.Seq <= e.last:\n		k := ", "	case false:\n		k := "},
	}, []string{"statemachine TestOnceRunsEachNumberOnce"}},
	{"a forgotten result runs again", "sessions: SEQOLD ran once", "statemachine/sessions.go", []edit{
		{"case c.Seq <= e.last && c.Seq < e.first():", "case false:"},
		{"case c.Seq <= e.last:", "case c.Seq <= e.last && c.Seq >= e.first():"},
	}, []string{"statemachine TestResultsAreForgottenByCount"}},
	{"a result is forgotten at once", "sessions: a repeated write is answered with the kept result", "statemachine/sessions.go", []edit{
		{"	for int64(len(e.kept)) > s.limits.SessionResults ||", "	for int64(len(e.kept)) > 0 ||"},
	}, []string{"statemachine TestBlockInASession"}},
	{"a number answers another request", "sessions: another request under a number is an error", "statemachine/sessions.go", []edit{
		{"if k.request != request {", "if false {"},
	}, []string{"statemachine TestNumberOfAnotherRequestIsRefused"}},
	{"kept results without a bound", "everything has a limit", "statemachine/sessions.go", []edit{
		{" || e.bytes > s.limits.SessionResultBytes {", " {"},
	}, []string{"statemachine TestResultsAreForgottenByBytes"}},
	{"a refused write uses no number", "sessions: last+1 runs, whatever its result", "statemachine/sessions.go", []edit{
		{"	dst = m.write(inner, dst)\n	s.keep(e, request, dst[start:])", "	dst = m.write(inner, dst)\n	if dst[start] == byte(ResultError) {\n		return dst\n	}\n	s.keep(e, request, dst[start:])"},
	}, []string{"statemachine TestErrorUsesTheNumber"}},
	{"an idle session lives on", "sessions: idle time is log time", "statemachine/sessions.go", []edit{
		{"	if !ok || s.idleAt(e) <= s.now {", "	if !ok {"},
	}, []string{"statemachine TestSessionRemovalIsBounded"}},
	{"use does not keep a session", "sessions: idle time counts from the last use", "statemachine/sessions.go", []edit{
		{"	e.used, e.usedAt = uint64(s.applied.Index), s.now\n", "	e.used = uint64(s.applied.Index)\n"},
	}, []string{"statemachine TestSessionExpiresByLogTime"}},
	{"the hash forgets the last number of a session", "the state hash covers everything", "statemachine/hash.go", []edit{
		{"tagSession, s.id, s.last, s.used,", "tagSession, s.id, 0, s.used,"},
	}, []string{"statemachine TestHashCoversEverything"}},
	{"the hash forgets deadlines", "the state hash covers everything", "statemachine/hash.go", []edit{
		{"it.version, uint64(it.deadline), uint64(len(it.value()))", "it.version, 0, uint64(len(it.value()))"},
	}, []string{"statemachine TestHashCoversEverything"}},
	{"the hash of an append forgets the old chunk", "the running hash equals the recomputed one", "statemachine/writes.go", []edit{
		{"	s.running.sub(it.chunks(k, full))\n", ""},
	}, []string{"statemachine TestCommands"}},
	{"an entry is applied twice", "entries are applied one by one, in order", "statemachine/machine.go", []edit{
		{"case e.Index != at.Index+1 || e.Term < at.Term:", "case e.Index > at.Index+1 || e.Term < at.Term:"},
	}, []string{"statemachine TestUnknownCommandStops"}},
	{"an unknown command is skipped", "an entry of unknown meaning is never skipped", "statemachine/machine.go", []edit{
		{"		m.stop(e, unknown.Error())\n", "		_ = unknown\n"},
	}, []string{"statemachine TestUnknownCommandStops"}},
	{"a key outlives its deadline", "only applied time decides what has expired", "statemachine/state.go", []edit{
		{"it.deadline != 0 && it.deadline <= s.nowMillis() }", "it.deadline != 0 && it.deadline+1000 <= s.nowMillis() }"},
	}, []string{"statemachine TestCommands"}},
	{"an append writes into the frozen view", "a frozen view is a point in time", "statemachine/writes.go", []edit{
		{"	s.view.keepKey(it)\n	k := xxh3.HashString128(it.key())\n", "	k := xxh3.HashString128(it.key())\n"},
	}, []string{"statemachine TestFrozenViewIsAPointInTime"}},
	{"a session is changed under the frozen view", "a frozen view is a point in time", "statemachine/sessions.go", []edit{
		{"func (s *state) touch(e *session) {\n	s.view.keepSession(e)\n", "func (s *state) touch(e *session) {\n"},
	}, []string{"statemachine TestFrozenViewIsAPointInTime"}},
	{"a counter overflows", "a command that can't be does nothing", "statemachine/writes.go", []edit{
		{"	if c.Num > 0 && old > math.MaxInt64-c.Num || c.Num < 0 && old < math.MinInt64-c.Num {", "	if false {"},
	}, []string{"statemachine TestCommands"}},
	{"a value above the cap is stored", "everything has a limit, the same on every node", "statemachine/writes.go", []edit{
		{"	if int64(valueBytes) > l.ValueBytes {", "	if false {"},
	}, []string{"statemachine TestCapsChangeNothing"}},
	{"MSETNX writes what it may", "a command takes effect whole or not at all", "statemachine/writes.go", []edit{
		{"			if _, live := m.st.find(c.Args[i]); live {\n				return appendInt(dst, 0)\n			}\n", "			_ = i\n"},
	}, []string{"statemachine TestMachineAgainstModel"}},
	{"a value stays in the log's memory", "of an entry that a snapshot covers nothing is kept", "statemachine/writes.go", []edit{
		{"	v := make([]byte, len(value))\n	copy(v, value)\n	return v\n", "	return value\n"},
	}, []string{"statemachine TestASnapshotSettlesWhatTheLogLent"}},
	{"a copied key borrows of an older entry", "of an entry that a snapshot covers nothing is kept", "statemachine/keyspace.go", []edit{
		{"	it.settle() // the other item is another version\n	// Both", "	// Both"},
	}, []string{"statemachine TestASnapshotSettlesWhatTheLogLent"}},
}
