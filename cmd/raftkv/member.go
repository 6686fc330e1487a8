package main

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
)

func newMember() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "member",
		Short: "List, add, promote and remove nodes",
		Long: "A dead node is replaced in this order:\n" +
			"  1. raftkv member remove OLD          the rest must still be a majority\n" +
			"  2. start the new node with cluster.join: true and an empty data directory\n" +
			"  3. raftkv member add NEW host:port   its peer address; it joins as a learner, which doesn't vote\n" +
			"  4. raftkv member promote NEW         once it has caught up (raftkv status: LAG)\n" +
			"An unsafe step is refused with exit 6; --dry-run only says whether it would be.",
	}
	cmd.AddCommand(newMemberList(),
		newChange("add NAME PEER", "Add an empty node as a learner; PEER is its peer address", 2,
			func(ctx context.Context, c *client.Client, args []string, dry bool) (string, error) {
				return c.AddMember(ctx, args[0], args[1], dry)
			}),
		newChange("promote NAME", "Make a learner that has caught up a voter", 1,
			func(ctx context.Context, c *client.Client, args []string, dry bool) (string, error) {
				return c.Promote(ctx, args[0], dry)
			}),
		newChange("remove NAME", "Remove a node for ever: its data directory can't come back", 1,
			func(ctx context.Context, c *client.Client, args []string, dry bool) (string, error) {
				return c.Remove(ctx, args[0], dry)
			}))
	return cmd
}

func newMemberList() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:   "list",
		Short: "List the members",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				return showMembers(ctx, c, cmd.OutOrStdout(), f.output)
			})
		},
	})
}

func showMembers(ctx context.Context, c *client.Client, w io.Writer, output string) error {
	members, err := c.Members(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(members, func(a, b client.Member) int { return strings.Compare(a.Name, b.Name) })
	if output == outJSON {
		return printJSON(w, members)
	}
	var rows [][]string
	for _, m := range members {
		kind := "voter"
		if m.Learner {
			kind = "learner"
		}
		rows = append(rows, []string{m.Name, kind, m.ID, m.Peer, dash(m.Client), dash(m.HTTP)})
	}
	return printRows(w, output == outPlain, []string{"NAME", "KIND", "ID", "PEER", "CLIENT", "HTTP"}, rows)
}

func newChange(use, short string, args int, do func(context.Context, *client.Client, []string, bool) (string, error)) *cobra.Command {
	var f clientFlags
	var dry bool
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(args),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				said, err := do(ctx, c, args, dry)
				if err != nil {
					return err
				}
				return f.say(cmd, said, map[string]any{"message": said, "dry_run": dry})
			})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would happen, or why not")
	return f.add(cmd)
}

func newTransfer() *cobra.Command {
	var f clientFlags
	return f.add(&cobra.Command{
		Use:   "transfer [NODE]",
		Short: "Hand leadership to a node, or to the best one",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			to := ""
			if len(args) > 0 {
				to = args[0]
			}
			return f.run(cmd, func(ctx context.Context, c *client.Client) error {
				said, err := c.Transfer(ctx, to)
				if err != nil {
					return err
				}
				return f.say(cmd, said, map[string]any{"message": said})
			})
		},
	})
}
