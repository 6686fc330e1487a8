package mutants

var raftlogMutants = []mutant{
	{"entries without a checksum", "every value has a checksum over where it belongs", "raftlog/codec.go", []edit{
		{"s.sum(key, value); got != want {", "s.sum(key, value); got != want && false {"},
	}, []string{"raftlog TestValueAtAnotherPlace"}},
	{"the checksum does not cover the place", "every value has a checksum over where it belongs", "raftlog/codec.go", []edit{
		{"return crc32.Update(crc32.Update(uint32(s), castagnoli, key), castagnoli, value[4:])", "return crc32.Checksum(value[4:], castagnoli)"},
	}, []string{"raftlog TestValueAtAnotherPlace"}},
	{"the record without a checksum", "every value has a checksum over where it belongs", "raftlog/codec.go", []edit{
		{"s.sum(stateKey, value); got != want {", "s.sum(stateKey, value); got != want && false {"},
	}, []string{"raftlog TestValueAtAnotherPlace"}},
	{"a newer version is read as this one", "bytes that outlive the process have a version", "raftlog/codec.go", []edit{
		{"v := value[4]; v != chunkVersion {", "v := value[4]; v == 0 {"},
	}, []string{"raftlog TestNewerVersionIsRefusedAsSuch"}},
	{"the second copy of the vote is not written", "(term, vote, fence) stand a second time in a small file", "raftlog/bolt.go", []edit{
		{"next.term != old.term || next.vote != old.vote || next.fence != old.fence {", "false && next.term != old.term {"},
	}, []string{"raftlog TestWriteKeepsTheVoteFile"}},
	{"the second copy does not follow the vote", "(term, vote, fence) stand a second time in a small file", "raftlog/bolt.go", []edit{
		{"next.term != old.term || next.vote != old.vote || next.fence != old.fence {", "next.term != old.term || next.fence != old.fence {"},
	}, []string{"raftlog TestWriteKeepsTheVoteFile"}},
	{"no fence when the copy is newer than the log", "if one write may be forgotten the node is fenced", "raftlog/open.go", []edit{
		{"	case v.newer(r):\n", "	case v.newer(r) && false:\n"},
	}, []string{"raftlog TestDamagedMetaPageRaisesTheFence"}},
	{"no fence for one damaged meta page", "if one write may be forgotten the node is fenced", "raftlog/open.go", []edit{
		{"	for _, bad := range c.bad {", "	for _, bad := range c.bad[:0] {"},
	}, []string{"raftlog TestDamagedMetaPageRaisesTheFence"}},
	{"a failed write is tried again", "a failed write or sync is final", "raftlog/bolt.go", []edit{
		{"		b.failed = fmt.Errorf(\"write %d to the log in %s: %w\", w.Seq, b.dir, err)\n		return b.failed", "		return fmt.Errorf(\"write %d to the log in %s: %w\", w.Seq, b.dir, err)"},
	}, []string{"raftlog TestFailedWriteIsFinal"}},
	{"a removed file takes writes", "what is confirmed has a name on the disk", "raftlog/bolt.go", []edit{
		{"	if err := b.active.inPlace(); err != nil {\n		return err\n	}\n", ""},
	}, []string{"raftlog TestRemovedFileConfirmsNothing"}},
	{"what was behind new entries stays", "a write replaces everything from its first entry on", "raftlog/bolt.go", []edit{
		{"		if err := entries.Delete(k); err != nil {\n			return err\n		}\n", "		_ = k\n"},
	}, []string{"raftlog TestStores"}},
	{"a reset keeps the old log", "an installed snapshot drops the whole log", "raftlog/bolt.go", []edit{
		{"clear := w.Reset && !b.fresh", "clear := false"},
	}, []string{"raftlog TestStores"}},
	{"a write that does not follow is taken", "a write that can't be is refused before the disk believes it", "raftlog/bolt.go", []edit{
		{"	if err := b.shape.check(w); err != nil {\n		return err\n	}\n", ""},
	}, []string{"raftlog TestStores"}},
	{"a second vote in a term is taken", "one vote a term, on disk too", "raftlog/shape.go", []edit{
		{"s.state.Vote != raft.None && w.State.Vote != s.state.Vote {", "false {"},
	}, []string{"raftlog TestStores"}},
	{"a commit hint above the log is taken", "Commit never lies beyond what the disk holds", "raftlog/shape.go", []edit{
		{"w.State.Commit > last.Index {", "false {"},
	}, []string{"raftlog TestStores"}},
	{"a missing segment is not missed", "start reads and checks everything", "raftlog/chain.go", []edit{
		{"if c.has && end > c.record.base.Index+1 {", "if false {"},
	}, []string{"raftlog TestDamageInTheChainIsFound"}},
	{"segments in the wrong order are believed", "start reads and checks everything", "raftlog/chain.go", []edit{
		{"case s.record.seq >= seq:", "case false && s.record.seq >= seq:"},
	}, []string{"raftlog TestDamageInTheChainIsFound"}},
	{"a segment that is needed is given back", "only what a snapshot covers is dropped", "raftlog/bolt.go", []edit{
		{"if max(s.from, b.shape.base.Index+1) >= end {", "if s.from < end {"},
	}, []string{"raftlog TestOldLogIsGivenBack"}},
	{"the name of a new segment is not synced", "create, sync, rename, sync the directory", "raftlog/segment.go", []edit{
		{"	if err := os.Rename(temp, filepath.Join(dir, segmentName(number))); err != nil {\n		return err\n	}\n	return smallfile.SyncDir(dir)", "	return os.Rename(temp, filepath.Join(dir, segmentName(number)))"},
	}, []string{"raftlog TestSyncsComeBeforeWhatRestsOnThem full"}},
	{"the page cache is believed after a kill", "start drops the page cache first", "raftlog/segment.go", []edit{
		{"	err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)\n", "	var err error\n"},
	}, []string{"raftlog TestOpenSyncsBeforeItReads full"}},
	{"two processes open one log", "a lock with a time limit", "raftlog/open.go", []edit{
		{"err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)", "err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)"},
	}, []string{"raftlog TestDump"}},
	{"a close after a failure touches the files", "the process ends without closing anything", "raftlog/bolt.go", []edit{
		{"	if b.failed != nil && !errors.Is(b.failed, ErrMisuse) {\n		close(k.jobs)\n		return b.failed\n	}\n", ""},
	}, []string{"raftlog TestFailedWriteIsFinal"}},
}

var smallfileMutants = []mutant{
	{"a small file is not synced", "write, sync, rename, sync the directory", "internal/smallfile/smallfile.go", []edit{
		{"	if err := f.Sync(); err != nil {\n		f.Close()\n		return err\n	}\n", ""},
	}, []string{"raftlog TestSyncsComeBeforeWhatRestsOnThem full"}},
	{"a small file's name is not synced", "write, sync, rename, sync the directory", "internal/smallfile/smallfile.go", []edit{
		{"	return SyncDir(filepath.Dir(path))\n", "	_ = filepath.Dir(path)\n	return nil\n"},
	}, []string{"raftlog TestSyncsComeBeforeWhatRestsOnThem full"}},
	{"a small file is written in place", "complete or not there", "internal/smallfile/smallfile.go", []edit{
		{"	temp := path + TempSuffix\n", "	temp := path\n"},
	}, []string{"internal/smallfile TestFailedWrite"}},
	{"a small file without a checksum", "bytes that outlive the process have a checksum", "internal/smallfile/smallfile.go", []edit{
		{"want != got {\n		return nil, fmt.Errorf(\"%w: checksum", "want != want {\n		_ = got\n		return nil, fmt.Errorf(\"%w: checksum"},
	}, []string{"internal/smallfile TestEveryFlippedBitAndEveryCutIsFound"}},
	{"a small file of another kind is read", "each file says what it is", "internal/smallfile/smallfile.go", []edit{
		{"string(b[kindAt:versionAt]) != string(padded[:]) {", "false {"},
	}, []string{"internal/smallfile TestOtherKindAndOtherVersionAreRefused"}},
}

var snapshotMutants = []mutant{
	{"a snapshot is not synced", "streamed to a temporary file, synced, renamed, the folder synced", "snapshot/save.go", []edit{
		{"		return err\n	}\n	return w.f.Sync()\n}\n\n// write writes one frame", "		return err\n	}\n	return nil\n}\n\n// write writes one frame"},
	}, []string{"snapshot TestCrashInSaveLeavesOldOrNew"}},
	{"a snapshot's name is not synced", "streamed to a temporary file, synced, renamed, the folder synced", "snapshot/dir.go", []edit{
		{"	// whole, so it may stay; but nobody may rely on it, so the caller hears.\n	return d.fs.SyncDir(d.path)", "	// whole, so it may stay; but nobody may rely on it, so the caller hears.\n	return nil"},
	}, []string{"snapshot TestCrashInSaveLeavesOldOrNew"}},
	{"a fetched snapshot is not synced", "durable before it is adopted", "snapshot/receive.go", []edit{
		{"	if err == nil {\n		err = p.f.Sync()\n	} else if", "	if err == nil {\n	} else if"},
	}, []string{"snapshot TestCrashInReceiveLeavesOldOrNew"}},
	{"a damaged snapshot is not passed over", "one that fails its checksums is never used", "snapshot/dir.go", []edit{
		{"	return meta, nil, fmt.Errorf(\"verify %s: %w\", d.file(id, \"\"), err)", "	return meta, loadErr, nil"},
	}, []string{"snapshot TestNewestPassesOverDamagedOnes"}},
	{"the snapshot that was just made is retired", "only what a newer one makes needless is removed", "snapshot/dir.go", []edit{
		{"if id == made || (i < d.opt.Keep ||", "if (i < d.opt.Keep ||"},
	}, []string{"snapshot TestSnapshotJustMadeIsNotRetired"}},
	{"another snapshot is taken for the one that was asked for", "index and content are one", "snapshot/receive.go", []edit{
		{"if !had && !sameMeta(p.s.meta, p.meta) {\n			return &hopeless", "if !had && false {\n			return &hopeless"},
	}, []string{"snapshot TestWrongSnapshotFromTheSourceIsRefused"}},
	{"a part of another state is continued", "a resumed transfer is verified", "snapshot/receive.go", []edit{
		{"if !had && p.s.head && !sameMeta(p.s.meta, p.meta) {", "if false && !had {"},
	}, []string{"snapshot TestPartOfAnotherStateIsNotContinued"}},
	{"an endless source is never cut off", "everything has a limit", "snapshot/receive.go", []edit{
		{"if p.s.size > p.opt.MaxBytes {", "if p.s.size > 1000*p.opt.MaxBytes {"},
	}, []string{"snapshot TestEndlessSource"}},
	{"frames are not chained", "a frame of another file does not fit", "snapshot/format.go", []edit{
		{"	crc := c.crc\n	for _, p := range parts {", "	crc := uint32(0)\n	for _, p := range parts {"},
	}, []string{"snapshot TestBlocksOutOfPlaceAreFound"}},
	{"what a crash left of a transfer is believed", "a resumed transfer is verified", "snapshot/receive.go", []edit{
		{"	return p.cut(p.s.size)\n}\n\n// restart", "	return nil\n}\n\n// restart"},
	}, []string{"snapshot TestCrashInReceiveLeavesOldOrNew"}},
}
