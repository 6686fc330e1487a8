package mutants

var transportMutants = []mutant{
	{"frames without a checksum", "frames have a checksum", "transport/frame.go", []edit{
		{"body); got != want {\n		return 0, nil", "body); got != want && false {\n		return 0, nil"},
	}, []string{"transport TestBadFrames"}},
	{"a frame of any length is read", "everything has a limit", "transport/frame.go", []edit{
		{"case uint64(size) > uint64(f.max):", "case false:"},
	}, []string{"transport TestBadFrames"}},
	{"a length field allocates", "no allocation from a length field", "transport/frame.go", []edit{
		{"const eagerBody = 1 << 20", "const eagerBody = 1 << 40"},
	}, []string{"transport TestLengthFieldAllocatesLittle"}},
	{"another cluster is let in", "handshakes refuse another cluster", "transport/hello.go", []edit{
		{"	case h.Cluster != self.Cluster:", "	case false:"},
	}, []string{"transport TestRefusals"}},
	{"a removed node is let in", "handshakes refuse a removed id", "transport/hello.go", []edit{
		{"	case t.cfg.Removed != nil && t.cfg.Removed(id):", "	case false:"},
	}, []string{"transport TestRefusals"}},
	{"another version of the protocol is let in", "handshakes refuse another protocol version", "transport/accept.go", []edit{
		{"if c.version = commonVersion(w); c.version == 0 {", "if c.version = max(commonVersion(w), minProtocol); c.version == 0 {"},
	}, []string{"transport TestRefusals"}},
	{"a dial that reached another node goes on", "handshakes: the address leads to the node that was meant", "transport/accept.go", []edit{
		{"	if raft.NodeID(w.To) != id.self.ID {", "	if false {"},
	}, []string{"transport TestRefusals"}},
	{"what waits when a link breaks is sent on the next", "written once to one connection and never resent", "transport/queue.go", []edit{
		{"	q.lanes, q.messages, q.packets = batch{}, usage{}, usage{}\n", ""},
	}, []string{"transport TestDrainedQueueIsEmpty"}},
	{"a packet without a connection waits for one", "no byte written means surely not applied", "transport/queue.go", []edit{
		{"	case q.conn == 0:\n		q.mu.Unlock()\n		return 0, ErrNotConnected\n", ""},
	}, []string{"transport TestPacketsAreRefusedAloud"}},
	{"a queue without a bound", "everything has a limit", "transport/queue.go", []edit{
		{"q.conn == 0 || u.count >= q.maxCount || u.count > 0 && u.bytes+cost > q.maxBytes {", "q.conn == 0 {"},
	}, []string{"transport TestPeerThatNeverReads"}},
	{"votes wait behind appends", "urgent messages overtake bulk ones", "transport/queue.go", []edit{
		{"func urgent(k raft.Kind) bool { return k != raft.MsgAppend && k != raft.MsgOffer }", "func urgent(k raft.Kind) bool { return false }"},
	}, []string{"transport TestUrgentOvertakesAppends"}},
	{"another process under the same identity is let in", "handshakes refuse a twin", "transport/hello.go", []edit{
		{"	case h.Node == self.Node || h.ID == self.ID:\n		return refuse(RefusedTwin", "	case false:\n		return refuse(RefusedTwin"},
	}, []string{"transport TestRefusals"}},
	{"a node speaks for another", "sender and receiver are the ends of the connection", "transport/wire.go", []edit{
		{"raft.Message{Kind: raft.Kind(d.wire.Kind), From: from, To: to})", "raft.Message{Kind: raft.Kind(d.wire.Kind), From: to, To: from})"},
	}, []string{"transport TestMessagesArrive"}},
}

var identityMutants = []mutant{
	{"a copy of a data directory founds a cluster", "one identity, one node", "internal/identity/decide.go", []edit{
		{"		if other, ok := ids[a.Node]; ok {", "		if other, ok := ids[a.Node]; ok && false {"},
	}, []string{"internal/identity TestCopiedDirectories"}},
	{"a node that is not listed first founds", "the first listed voter gathers the UUIDs", "internal/identity/decide.go", []edit{
		{"	if !cfg.founder() {", "	if false {"},
	}, []string{"internal/identity TestFounderThatOthersDoNotSeeDoubts"}},
	{"a cluster is founded without all voters", "Birth names every voter", "internal/identity/decide.go", []edit{
		{"	if missing != nil {\n		return verdict{wait", "	if len(missing) > 9 {\n		return verdict{wait"},
	}, []string{"internal/identity TestWipedNodeWaitsAndIsAdded"}},
	{"two clusters are born from two lists", "from the same YAML on all nodes", "internal/identity/decide.go", []edit{
		{"		case listHash(a.List) != listHash(cfg.Voters):", "		case false:"},
	}, []string{"internal/identity TestDisagreementsAreRefused"}},
	{"nodes of two clusters are mixed", "handshakes and births refuse another cluster", "internal/identity/decide.go", []edit{
		{"		if holder != nil && a.Birth.Cluster != holder.Birth.Cluster {", "		if false {"},
	}, []string{"internal/identity TestForeignClusterIsRefused"}},
	{"a voter that lost its disk comes back", "a node that lost its disk is added as a learner", "internal/identity/decide.go", []edit{
		{"	if member {\n		return verdict{birth: b, joined: true}, true\n	}", "	if true {\n		return verdict{birth: b, joined: true}, true\n	}"},
	}, []string{"internal/identity TestWipedNodeWaitsAndIsAdded"}},
	{"a second Birth is stored", "a node stores at most one Birth, ever", "internal/identity/identity.go", []edit{
		{"	case r.Birth != nil && (!r.Birth.equal(birth) || r.Joined != joined):", "	case false:"},
	}, []string{"internal/identity TestAdoptIsForOneNodeOnly"}},
	{"a Birth that does not name the node is stored", "an empty node stores only a Birth that names its UUID", "internal/identity/identity.go", []edit{
		{"	case !named && !joined:", "	case false:"},
	}, []string{"internal/identity TestContradictingRecordIsDamaged"}},
	{"a directory with data and no identity is used", "start never believes what it does not understand", "internal/identity/file.go", []edit{
		{"!slices.Contains(known, name) && !slices.Contains(s.innocent, name) {", "false && !slices.Contains(known, name) {"},
	}, []string{"internal/identity TestDataWithoutIdentityIsDamaged"}},
	{"others may read the identity", "no rights for others", "internal/identity/file.go", []edit{
		{"mode&bad != 0 {", "mode&bad == bad+1 {"},
	}, []string{"internal/identity TestModesThatLetOthersIn"}},
}

var respMutants = []mutant{
	{"an unknown outcome is told as refused", "outcomes up to the error prefix", "server/resp/errors.go", []edit{
		{"	if o == node.Unknown && !read {", "	if false {"},
	}, []string{"server/resp TestOutcomes"}},
	{"replies out of order", "connections send replies in order", "server/resp/ring.go", []edit{
		{"		if !s.done {\n			break\n		}\n", ""},
	}, []string{"server/resp TestRing"}},
	{"ONCE takes what is no write of keys", "sessions are for writes of keys", "server/resp/sessions.go", []edit{
		{"	if cmd.flags&fWrite == 0 || cmd.group == \"session\" {", "	if cmd.flags&fWrite == 0 {"},
	}, []string{"server/resp TestRepliesAreRedisReplies"}},
	{"a bulk of any length is read", "claimed lengths cost nothing", "resp/reader.go", []edit{
		{"	case n > r.lim.Bulk:", "	case false:"},
	}, []string{"resp TestRequestOverALimitIsSkipped"}},
}
