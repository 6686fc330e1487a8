package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/internal/identity"
	"github.com/raftkv/raftkv/raftlog"
	"github.com/raftkv/raftkv/snapshot"
)

// newData looks at the data directory of a node that does not run.
func newData() *cobra.Command {
	c := &cobra.Command{
		Use:   "data",
		Short: "Look at the data directory of a node that is stopped; recover without a majority",
	}
	var o raftlog.DumpOptions
	check := &cobra.Command{
		Use:   "check DIR",
		Short: "Read and verify everything in a data directory; exit 65 if something is damaged",
		Long: "check reads identity, log and snapshots of a node that is stopped, verifies every checksum and says what is there.\n" +
			"It changes nothing.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return checkData(c.OutOrStdout(), args[0], o) },
	}
	check.Flags().BoolVar(&o.Entries, "entries", false, "one line for each entry of the log")
	check.Flags().IntVar(&o.Data, "bytes", 0, "with --entries: so many bytes of each entry's data, quoted")
	c.AddCommand(check, newRecover(), newLiftFence())
	return c
}

// checkData tells what a data directory holds. The error carries the code of the first fault.
func checkData(w io.Writer, dir string, o raftlog.DumpOptions) error {
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	var errs []error
	rec, err := identity.Read(dir)
	if err != nil {
		errs = append(errs, exitWith(identityCode(err), err))
		fmt.Fprintf(w, "identity: FAULT %v\n", err)
	} else {
		fmt.Fprintf(w, "identity: node %s, id %v\n", rec.Name, identity.NodeIDOf(rec.Node))
		if rec.Birth != nil {
			fmt.Fprintf(w, "          cluster %v, joined later: %v\n", rec.Birth.Cluster, rec.Joined)
		}
	}
	fmt.Fprintln(w, "log:")
	if err := raftlog.Dump(filepath.Join(dir, logDir), w, o); err != nil {
		errs = append(errs, exitWith(logCode(err), err))
		fmt.Fprintf(w, "FAULT %v\n", err)
	}
	errs = append(errs, checkSnapshots(w, filepath.Join(dir, snapshotDir)))
	return errors.Join(errs...)
}

// checkSnapshots verifies every complete snapshot, without touching any.
func checkSnapshots(w io.Writer, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "snapshots:")
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	defer tw.Flush()
	var errs []error
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return exitWith(daemonCode(err), err)
		}
		info, err := snapshot.Verify(f)
		f.Close() // only read
		if err != nil {
			fmt.Fprintf(tw, "  %s\tFAULT %v\n", filepath.Base(path), err)
			errs = append(errs, exitWith(exitDamaged, fmt.Errorf("%s: %w", path, err)))
			continue
		}
		fmt.Fprintf(tw, "  %s\tup to entry %v\t%d members\t%d bytes\n", filepath.Base(path), info.Meta.Last, len(info.Meta.Config.Members), info.Bytes)
	}
	return errors.Join(errs...)
}
