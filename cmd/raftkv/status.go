package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
)

func newStatus() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:   "status",
		Short: "Show every node: role, term, indexes, sizes",
		Long: "status asks every node of the cluster. One that can't be reached is a row with the reason.\n" +
			"LAG is how many entries a node's state is behind the newest commit that any node knows.\n" +
			"What a node tells may be a tenth of a second old: under load a LAG means little.\n" +
			"Exit 4 if no node answers, or none of them knows a leader.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				return showStatus(ctx, c, cmd.OutOrStdout(), f.output)
			})
		},
	})
}

func showStatus(ctx context.Context, c *client.Client, w io.Writer, output string) error {
	rows, err := c.Status(ctx)
	if output == outJSON {
		if e := printJSON(w, rows); e != nil {
			return e
		}
	} else if e := printRows(w, output == outPlain,
		[]string{"NAME", "ROLE", "LEADER", "TERM", "LAST", "COMMIT", "APPLIED", "LAG", "LOG", "SNAPSHOT", "VERSION", "ENDPOINT", "ERROR"},
		statusRows(rows)); e != nil {
		return e
	}
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.Error == "" && r.Leader != "" {
			return nil
		}
	}
	return exitWith(exitNoLeader, errors.New("no node knows a leader at present"))
}

func statusRows(nodes []client.NodeStatus) [][]string {
	commit := uint64(0)
	for _, s := range nodes {
		commit = max(commit, s.CommitIndex)
	}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	var rows [][]string
	for _, s := range nodes {
		if s.Error != "" {
			rows = append(rows, []string{dash(s.Name), "unreachable", "-", "-", "-", "-", "-", "-", "-", "-", "-", s.Endpoint, s.Error})
			continue
		}
		note := "-"
		switch {
		case s.Fence != "":
			note = "fenced: " + s.Fence
		case len(s.Differ) > 0:
			note = "its state differs from that of " + strings.Join(s.Differ, ", ")
		case s.LowSpace:
			note = "disk space is low"
		case !s.Ready:
			note = "not ready"
		}
		leader := s.LeaderName
		if leader == "" {
			leader = s.Leader
		}
		rows = append(rows, []string{dash(s.Name), s.Role, dash(leader), number(s.Term), number(s.LastIndex), number(s.CommitIndex), number(s.AppliedIndex),
			number(commit - min(s.AppliedIndex, commit)), bytesText(s.LogBytes), bytesText(s.SnapshotBytes), shortVersion(s.Version), s.Endpoint, note})
	}
	return rows
}

// shortVersion is the number alone: name, compiler and platform make a row too wide.
func shortVersion(s string) string {
	words := strings.Fields(strings.TrimPrefix(s, "raftkv "))
	if len(words) == 0 {
		return "-"
	}
	return words[0]
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// bytesText is a size for people.
func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1fGiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1fKiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%dB", n)
}
