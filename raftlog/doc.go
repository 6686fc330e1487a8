// Package raftlog keeps the Raft log, the term and the vote on disk.
//
// One goroutine owns a Store. A Write is one transaction: once it returns nil
// all of it survives a crash; if the process dies inside it, either all of it
// shows or none. After an error nobody knows which: the store is poisoned, the
// process must end, and the next start reads what the disk really has.
// Nothing here knows of elections, peers or clients.
//
// Bolt spreads the log over segments, each a small bbolt file:
//
//	dir/LOCK                     one process at a time
//	dir/vote                     term, vote, fence: a second copy (vote.go)
//	dir/log-000000000000001a.db  sealed: only read at start, removed when its entries may go
//	dir/log-000000000000001b.db  active: every Write is one transaction here
//	dir/log-000000000000001c.db  next: made ahead of need by a helper goroutine (keeper.go)
//
// Each segment holds entries from an index on, and on them a newer segment
// overrules an older one: so a truncation that reaches back into a sealed
// segment is still one transaction in one file.
//
// Files of one directory are read with checks of our own before bbolt sees
// them (pages.go), since bbolt trusts its pages.
//
// Read Store first, then Bolt.Write, then open.go and chain.go. The bytes on disk are
// described in docs/formats-raftlog.md, why there are segments in
// docs/decisions/0001-log-compaction.md.
package raftlog
