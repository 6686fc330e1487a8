package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot is the whole tree of commands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "raftkv",
		Short: "A replicated key-value store that speaks the Redis protocol",
		Long: "raftkv keeps keys and values on several machines. What it has acknowledged survives the loss\n" +
			"of any minority of them. Try it on this machine with: raftkv dev",
		Version:       versionLine(),
		SilenceErrors: true, // run prints them
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run a cluster:"},
		&cobra.Group{ID: groupData, Title: "Keys and values:"},
		&cobra.Group{ID: groupCluster, Title: "Look after a cluster:"},
	)
	root.AddCommand(
		inGroup(groupRun, newDev()),
		inGroup(groupRun, newServe()),
		inGroup(groupRun, newConfig()),
		inGroup(groupRun, newSelfTest()),
		inGroup(groupRun, newSim()),
		inGroup(groupData, newPut()),
		inGroup(groupData, newAppend()),
		inGroup(groupData, newGet()),
		inGroup(groupData, newDel()),
		inGroup(groupData, newIncr()),
		inGroup(groupData, newCas()),
		inGroup(groupData, newTxn()),
		inGroup(groupData, newScan()),
		inGroup(groupData, newWatch()),
		inGroup(groupData, newExists()),
		inGroup(groupData, newLen()),
		inGroup(groupData, newTTL()),
		inGroup(groupData, newExpire()),
		inGroup(groupData, newDump()),
		inGroup(groupData, newLoad()),
		inGroup(groupData, newShell()),
		inGroup(groupData, newBench()),
		inGroup(groupCluster, newStatus()),
		inGroup(groupCluster, newMember()),
		inGroup(groupCluster, newTransfer()),
		inGroup(groupCluster, newData()),
		inGroup(groupCluster, newTrace()),
		newMan(),
		newVersion(),
		newExitCodes(),
	)
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Args = knownTopic
		}
	}
	return root
}

// knownTopic makes help about nothing a wrong command line.
func knownTopic(c *cobra.Command, args []string) error {
	_, _, err := c.Root().Find(args)
	return err
}

// The groups of commands in the help text.
const (
	groupRun     = "run"
	groupData    = "data"
	groupCluster = "cluster"
)

func inGroup(id string, c *cobra.Command) *cobra.Command {
	c.GroupID = id
	return c
}

// newExitCodes is a topic of help: it has no function of its own.
func newExitCodes() *cobra.Command {
	var b strings.Builder
	b.WriteString("A command ends with one of\n\n")
	for _, e := range exitCodes() {
		if e.code == exitDamaged {
			b.WriteString("\nThe daemon (raftkv serve) ends with 0 after an orderly stop, 2 for wrong usage, or\n\n")
		}
		fmt.Fprintf(&b, "  %2d  %s", e.code, e.what)
		if !e.code.restartable() {
			b.WriteString(" (a restart can't help: the unit doesn't try)")
		}
		b.WriteString("\n")
	}
	b.WriteString("\nA daemon that gets a second SIGTERM or SIGINT ends at once, with 128 and the signal's number.")
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: b.String()}
}
