package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIRECTORY",
		Short:   "Write manual pages, one a command",
		Example: "  raftkv man /usr/local/share/man/man1 && man raftkv-put",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			n, err := writeMan(cmd.Root(), args[0])
			if err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "wrote %s to %s\n", plural(n, "page"), args[0])
			return err
		},
	}
}

// writeMan writes the page of a command and of those below it. cobra has a generator,
// but it goes through Markdown and two more modules.
func writeMan(c *cobra.Command, dir string) (n int, err error) {
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(manPage(c, name)), 0o644); err != nil {
		return 0, err
	}
	n = 1
	for _, sub := range c.Commands() {
		if sub.Hidden || sub.Name() == "help" {
			continue
		}
		m, err := writeMan(sub, dir)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// roff is text that troff shows as it is.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l // not a request
		}
	}
	return strings.Join(lines, "\n")
}

// manPage is a page in the macros of man(7).
func manPage(c *cobra.Command, name string) string {
	var b strings.Builder
	section := func(title string) { fmt.Fprintf(&b, ".SH %s\n", title) }
	asIs := func(text string) { fmt.Fprintf(&b, ".nf\n%s\n.fi\n", roff(strings.Trim(text, "\n"))) }
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"raftkv %s\" \"raftkv\"\n", roff(strings.ToUpper(name)), roff(readVersion().String()))
	section("NAME")
	fmt.Fprintf(&b, "%s \\- %s\n", roff(name), roff(c.Short))
	section("SYNOPSIS")
	fmt.Fprintf(&b, ".B %s\n", roff(c.UseLine()))
	section("DESCRIPTION")
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	asIs(long)
	options := func(title string, flags *pflag.FlagSet) {
		if !flags.HasAvailableFlags() {
			return
		}
		section(title)
		flags.VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			kind, usage := pflag.UnquoteUsage(f)
			flag := "--" + f.Name
			if f.Shorthand != "" {
				flag = "-" + f.Shorthand + ", " + flag
			}
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR %s\n%s", roff(flag), roff(kind), roff(usage))
			if def := f.DefValue; def != "" && def != "false" && def != "0" && def != "[]" && def != "0s" {
				fmt.Fprintf(&b, " (default %s)", roff(def))
			}
			b.WriteString("\n")
		})
	}
	options("OPTIONS", c.NonInheritedFlags())
	options("OPTIONS OF ALL COMMANDS", c.InheritedFlags())
	if c.Example != "" {
		section("EXAMPLES")
		asIs(c.Example)
	}
	section("EXIT STATUS")
	b.WriteString("0 after success. The other codes are in\n.BR raftkv\\-exit\\-codes (1).\n")
	section("SEE ALSO")
	var see []string
	if c.HasParent() {
		see = append(see, strings.ReplaceAll(c.Parent().CommandPath(), " ", "-"))
	}
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			see = append(see, strings.ReplaceAll(sub.CommandPath(), " ", "-"))
		}
	}
	for i, s := range see {
		end := ","
		if i == len(see)-1 {
			end = ""
		}
		fmt.Fprintf(&b, ".BR %s (1)%s\n", roff(s), end)
	}
	return b.String()
}
