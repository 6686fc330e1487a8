// Package snapshot keeps snapshot files that are complete or not there.
//
//	<term>-<index>.snap          complete: header, blocks, footer, all checksummed
//	<term>-<index>.snap.tmp      Save is, or was, writing it; swept at start
//	<term>-<index>.snap.part     Receive is, or was, fetching it; the next Receive goes on with it
//	<term>-<index>.snap.damaged  failed its checksums; nothing reads it
//
// A file is written under another name, synced, renamed, and its directory
// synced: only then does Save or Receive return nil, and only then may anyone
// drop the log below it. A crash at any step leaves what was there before or
// the new file, each of them whole. Files with other names are left alone.
//
// Nothing here knows what the content means, who leads, or how bytes travel.
//
// Read Dir first, then Dir.Save, then scanner, then Dir.Receive. The bytes are
// described in docs/formats-snapshot.md.
package snapshot
