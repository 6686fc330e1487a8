package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/internal/identity"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raftlog"
	"github.com/raftkv/raftkv/snapshot"
)

// What a majority is for can't be had without one: these commands go on without
// it. They are for a node that is stopped, and say what may be lost before they do anything.

const acceptFlag = "i-accept-data-loss"

func newRecover() *cobra.Command {
	var dir string
	var accept bool
	c := &cobra.Command{
		Use:   "recover-cluster --dir DIR",
		Short: "Make a new cluster of one node when a majority is lost for good; may lose data",
		Long: "When most voters are lost with their disks, the rest can't go on: nobody can tell what the lost ones had\n" +
			"acknowledged. recover-cluster makes a new cluster of one voter from the data directory of one node that is stopped.\n" +
			"It keeps everything that this node has. Writes that only the others had are lost.\n\n" +
			"Take the node whose last entry is the highest (raftkv data check DIR on each), and never do it on two: they would\n" +
			"be two clusters. The new cluster has a UUID of its own; members of the old one are refused for ever.\n" +
			"Without --" + acceptFlag + " it tells what it would do and does none of it; opening\nthe directory only tidies what a start of the node would tidy.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return recoverCluster(c.OutOrStdout(), dir, accept) },
	}
	offlineFlags(c, &dir, &accept)
	return c
}

func newLiftFence() *cobra.Command {
	var dir string
	var accept bool
	c := &cobra.Command{
		Use:   "lift-fence --dir DIR",
		Short: "Let a node vote again whose disk may have forgotten a promise; may lose data",
		Long: "A node is fenced when its disk may have forgotten a vote or an acknowledgement: it neither votes nor stands. Such a fence\n" +
			"ends by itself when the node has caught up with a leader, or by removing the node and adding it anew. Only where the\n" +
			"others can't elect a leader without it, or it is alone, lift-fence ends it by hand: if the node did forget something,\n" +
			"acknowledged writes may be lost. Without --" + acceptFlag + " it tells what it would do and does none of it; opening\nthe directory only tidies what a start of the node would tidy.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return liftFence(c.OutOrStdout(), dir, accept) },
	}
	offlineFlags(c, &dir, &accept)
	return c
}

func offlineFlags(c *cobra.Command, dir *string, accept *bool) {
	c.Flags().StringVar(dir, "dir", "", "data `directory` of the node, which must be stopped")
	c.Flags().BoolVar(accept, acceptFlag, false, "do it")
	if err := c.MarkFlagRequired("dir"); err != nil {
		panic(err)
	}
}

// errNotAccepted is the end of a dry run.
var errNotAccepted = exitWith(exitCondition, errors.New("none of it was done; to do it, say --"+acceptFlag))

// stopped is the data of a node that does not run.
type stopped struct {
	id      *identity.Offline
	log     *raftlog.Bolt
	durable raft.Durable
	core    raft.Status
	time    raft.Time // of the last entry
}

// openStopped takes a data directory and reads what the node would start from.
func openStopped(dir string) (_ *stopped, err error) {
	s := &stopped{}
	s.id, err = identity.Take(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is no data directory: %w", dir, err)
	case err != nil:
		return nil, exitWith(identityCode(err), err)
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	rec := s.id.Record()
	if rec.Birth == nil {
		return nil, fmt.Errorf("%s belongs to no cluster yet: there is nothing to recover", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, divergedFile)); err == nil {
		return nil, exitWith(exitDamaged, fmt.Errorf("%s has a file %q: the state of this node is known to be wrong; take another node", dir, divergedFile))
	}
	if s.log, err = raftlog.Open(filepath.Join(dir, logDir), raftlog.Options{Logger: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, exitWith(logCode(err), err)
	}
	if s.durable, err = s.log.Load(); err != nil {
		return nil, exitWith(logCode(err), err)
	}
	snapshots, err := snapshot.OpenDir(snapshot.OS(), filepath.Join(dir, snapshotDir), snapshot.Options{})
	if err != nil {
		return nil, err
	}
	switch meta, err := snapshots.Newest(); {
	case err == nil:
		s.durable.Snapshot = meta
	case errors.Is(err, snapshot.ErrNotFound), errors.Is(err, snapshot.ErrDamaged):
		s.durable.Snapshot = raft.SnapshotMeta{Config: rec.Birth.Configuration()}
	default:
		return nil, err
	}
	// The core fits log and snapshot together, as at a start.
	free := s.durable
	free.Fence = raft.FenceNone
	cfg := raft.DefaultConfig()
	cfg.ID, cfg.Boot = identity.NodeIDOf(rec.Node), 1
	core, err := raft.New(cfg, free)
	if err != nil {
		return nil, exitWith(exitDamaged, err)
	}
	s.core, s.time = core.Status(), core.LastTime()
	return s, nil
}

// Close gives the directory free.
func (s *stopped) Close() error {
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	return errors.Join(err, s.id.Close())
}

func recoverCluster(w io.Writer, dir string, accept bool) (err error) {
	s, err := openStopped(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	rec, st := s.id.Record(), s.core
	self, member := st.Config.Find(st.ID)
	switch {
	case st.Refetch:
		return exitWith(exitDamaged, fmt.Errorf("%s has a log from entry %d on and no usable snapshot of what lies before: the state can't be made of it; take another node",
			dir, st.Base.Index+1))
	case !member:
		return fmt.Errorf("node %s (%v) is not in its own newest configuration (%v): it was removed, or knows too little; take another node", rec.Name, st.ID, st.Config)
	}
	fmt.Fprintf(w, "node      %s (%v) of cluster %v\n", rec.Name, st.ID, rec.Birth.Cluster)
	fmt.Fprintf(w, "has       entries up to %v, committed for certain up to %d\n", st.Last, st.Commit)
	fmt.Fprintln(w, "keeps     all of them, those that were never acknowledged too")
	fmt.Fprintf(w, "LOSES     whatever was acknowledged by others without this node, if anything; nobody can tell from here\n")
	gone := slices.Clone(st.Config.Removed)
	for _, m := range st.Config.Members {
		if m.ID == st.ID {
			continue
		}
		gone = append(gone, m.ID)
		fmt.Fprintf(w, "expels    %s (%v) at %s: it can come back with an empty data directory only\n", m.Name, m.ID, m.Peer)
	}
	slices.Sort(gone)
	if !accept {
		return errNotAccepted
	}
	// First the identity. Were the process to end in between, this node would be
	// refused by the old members and could not lead the new ones: safe, and the command can be
	// given again. The other way round it would lead a cluster of one under the old UUID.
	cluster, err := s.id.Refound(identity.Place{Name: rec.Name, Peer: self.Peer, Client: self.Client, HTTP: self.HTTP})
	if err != nil {
		return err
	}
	self.Learner = false
	e := raft.Entry{
		EntryID: raft.EntryID{Term: st.Term + 1, Index: st.Last.Index + 1},
		Type:    raft.EntryConfig, Time: s.time,
		Data: raft.AppendConfiguration(nil, raft.Configuration{Members: []raft.Member{self}, Removed: slices.Compact(gone)}),
	}
	write := &raft.Write{Seq: s.durable.Seq + 1, State: raft.HardState{Term: e.Term}, Entries: []raft.Entry{e}}
	if st.Base != s.durable.Base { // the log ends before the snapshot, so it is dropped, as at a start
		write.Reset, write.Base = true, st.Base
	}
	err = s.log.Write(write)
	if err != nil {
		return exitWith(exitDisk, fmt.Errorf("%w; give the command again", err))
	}
	fmt.Fprintf(w, "done      cluster %v of one voter, %s; entry %v says so\n\n", cluster, rec.Name, e.EntryID)
	fmt.Fprintf(w, "Start it (raftkv serve), look at the data, then add nodes with empty data directories and cluster.join: true:\n"+
		"raftkv member add NAME PEER_ADDRESS, and raftkv member promote NAME once it has caught up.\n")
	return nil
}

// beyondMemory is far above the number of every write that another node may have
// heard of: those that this disk forgot are explained by it.
const beyondMemory = 1 << 40

func liftFence(w io.Writer, dir string, accept bool) (err error) {
	s, err := openStopped(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	rec := s.id.Record()
	fmt.Fprintf(w, "node      %s (%v), entries up to %v, term %d\n", rec.Name, s.core.ID, s.core.Last, s.core.Term)
	switch s.durable.Fence {
	case raft.FenceNone:
		fmt.Fprintln(w, "fence     none: nothing to do")
		return nil
	case raft.FenceOneBack:
		fmt.Fprintln(w, "fence     one write may be forgotten: a vote, or entries that were acknowledged")
	default:
		fmt.Fprintln(w, "fence     the disk is an older copy: votes and acknowledged entries are forgotten")
	}
	fmt.Fprintln(w, "MAY LOSE  acknowledged writes, if a leader is elected with this node's vote that lacks them")
	if !accept {
		return errNotAccepted
	}
	if err := s.log.Write(&raft.Write{Seq: s.durable.Seq + beyondMemory, State: s.durable.State}); err != nil {
		return exitWith(exitDisk, fmt.Errorf("%w; give the command again", err))
	}
	fmt.Fprintln(w, "done      the fence is lifted")
	return nil
}
