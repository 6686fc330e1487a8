package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peterh/liner"
	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/resp"
)

const shellHelp = `put KEY VALUE [NX|XX] [PX ms|EX s|KEEPTTL]   set a key
append KEY VALUE                append to a key
get KEY                         print a key
del KEY...                      delete keys
cas KEY OLD NEW                 set a key if it holds OLD
incr KEY [DELTA]                add to a number
txn WORD...                     several operations at one moment: raftkv txn --help
scan [PREFIX]                   list keys
watch [PREFIX]                  print changes until Ctrl-C
expire KEY SECONDS              let a key live so long
status                          every node
member list|add|promote|remove  the members; DRYRUN behind a change only asks
transfer [NODE]                 hand leadership over
help, exit
Anything else is sent as a command of the Redis protocol, such as INCRBY n 5 or SCAN 0,
but for what changes the connection (MULTI, SUBSCRIBE, READONLY ...).
The writes above take effect exactly once. "..." knows \n and \x41, '...' only \'.`

func newShell() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:   "shell",
		Short: "Talk to a cluster line by line, with history and completion",
		Long: "shell reads commands line by line, on a terminal with history and completion, else from standard input.\nFrom standard input it exits with the code of the first line that failed.\n" +
			"-o table shows replies as redis-cli does on a terminal, plain as they are; json is for status and member list.\n\n" + shellHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			defer c.Close()
			out := cmd.OutOrStdout()
			s := &shell{c: c, out: out, output: f.output, quote: f.output == outTable || f.output == "" && isTerminal(out)}
			if isTerminal(cmd.InOrStdin()) && isTerminal(out) {
				return s.interactive(cmd.Context())
			}
			return s.script(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
		},
	}
	return f.add(cmd)
}

// shell runs lines.
type shell struct {
	c      *client.Client
	out    io.Writer
	output string
	quote  bool // strings in quotes, as for people
}

// errExit ends the shell.
var errExit = errors.New("exit")

// lineMax bounds a line of a script, in bytes.
const lineMax = 64 << 20

// script runs lines from a file or pipe, all of them, whatever fails.
func (s *shell) script(ctx context.Context, in io.Reader, errOut io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, lineMax)
	var first error
	for n := 1; lines.Scan(); n++ {
		err := s.line(ctx, lines.Text())
		if err == errExit {
			break
		}
		if err != nil {
			fmt.Fprintf(errOut, "line %d: %v\n", n, err)
			if first == nil {
				first = exitWith(codeOf(withCode(err)), nil)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read commands: %w", err)
	}
	return first
}

// interactive is a conversation on a terminal.
func (s *shell) interactive(ctx context.Context) error {
	l := liner.NewLiner()
	defer l.Close()
	l.SetCtrlCAborts(true)
	l.SetCompleter(completer(s.words(ctx)))
	history := historyFile()
	if f, err := os.Open(history); err == nil {
		l.ReadHistory(f)
		f.Close()
	}
	defer func() {
		if f, err := os.OpenFile(history, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err == nil {
			l.WriteHistory(f)
			f.Close()
		}
	}()
	fmt.Fprintln(s.out, `type "help" for what there is`)
	for {
		line, err := l.Prompt("raftkv> ")
		switch {
		case err == liner.ErrPromptAborted || err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read a line: %w", err)
		}
		if strings.TrimSpace(line) != "" {
			l.AppendHistory(line)
		}
		// Ctrl-C ends the command that is under way, not the shell.
		lineCtx, stop := signal.NotifyContext(ctx, os.Interrupt)
		err = s.line(lineCtx, line)
		stop()
		if err == errExit {
			return nil
		}
		if err != nil {
			fmt.Fprintf(s.out, "(error) %v\n", err)
		}
	}
}

// historyFile is where the history is kept; empty if this user has no home.
func historyFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	dir = filepath.Join(dir, "raftkv")
	if os.MkdirAll(dir, 0o700) != nil {
		return ""
	}
	return filepath.Join(dir, "history")
}

// words are what a line may begin with: our verbs and the server's commands.
func (s *shell) words(ctx context.Context) []string {
	list := []string{"put ", "append ", "get ", "del ", "cas ", "incr ", "txn ", "scan ", "watch ", "expire ", "status", "member list", "member add ", "member promote ", "member remove ", "transfer ", "help", "exit"}
	if v, err := s.c.Do(ctx, "COMMAND", "LIST"); err == nil {
		for _, e := range v.Array {
			list = append(list, strings.ToLower(strings.ReplaceAll(e.Text(), "|", " "))+" ")
		}
	}
	slices.Sort(list)
	return slices.CompactFunc(list, func(a, b string) bool { return strings.TrimSpace(a) == strings.TrimSpace(b) })
}

func completer(words []string) liner.Completer {
	return func(line string) []string {
		var found []string
		for _, w := range words {
			if len(line) <= len(w) && strings.EqualFold(w[:len(line)], line) {
				found = append(found, w)
			}
		}
		return found
	}
}

// line runs one line.
func (s *shell) line(ctx context.Context, line string) error {
	words, ok := resp.SplitWords(line)
	if !ok {
		return usageError(errors.New("a quote is not closed, or something follows it directly"))
	}
	if len(words) == 0 {
		return nil
	}
	args := make([]string, len(words))
	for i, w := range words {
		args[i] = string(w)
	}
	verb, rest := strings.ToLower(args[0]), args[1:]
	switch {
	case verb == "exit" || verb == "quit":
		return errExit
	case verb == "help":
		_, err := fmt.Fprintln(s.out, shellHelp)
		return err
	case verb == "status" && len(rest) == 0:
		return showStatus(ctx, s.c, s.out, s.output)
	case verb == "member":
		return s.member(ctx, rest)
	case verb == "transfer":
		return s.say(s.c.Transfer(ctx, strings.Join(rest, " ")))
	case verb == "put" && len(rest) > 1, verb == "set" && len(rest) == 2:
		opts, err := putOptions(rest[2:])
		if err != nil {
			return err
		}
		if err := s.c.Put(ctx, rest[0], []byte(rest[1]), opts...); err != nil {
			return err
		}
		return s.show(resp.Value{Kind: resp.KindStatus, Bytes: []byte("OK")}, "")
	case verb == "put":
		return usageError(errors.New("put takes: KEY VALUE [NX|XX] [PX ms|EX s|KEEPTTL]"))
	case verb == "append" && len(rest) == 2:
		return s.number(s.c.Append(ctx, rest[0], []byte(rest[1])))
	case (verb == "del" || verb == "unlink") && len(rest) > 0:
		return s.number(s.c.Delete(ctx, rest...))
	case verb == "incr" && len(rest) == 1:
		return s.number(s.c.Incr(ctx, rest[0], 1))
	case (verb == "incr" || verb == "incrby") && len(rest) == 2:
		delta, err := strconv.ParseInt(rest[1], 10, 64)
		if err != nil {
			return usageError(fmt.Errorf("delta %q is not an integer of 64 bits", rest[1]))
		}
		return s.number(s.c.Incr(ctx, rest[0], delta))
	case verb == "cas" && len(rest) == 3:
		if err := s.c.CompareAndSwap(ctx, rest[0], []byte(rest[1]), []byte(rest[2])); err != nil {
			return err
		}
		return s.show(resp.Value{Kind: resp.KindStatus, Bytes: []byte("OK")}, "")
	case verb == "cas":
		return usageError(errors.New("cas takes: KEY OLD NEW"))
	case verb == "txn":
		return runTxn(ctx, s.c, s.out, s.output, rest)
	case verb == "scan" && (len(rest) == 0 || len(rest) == 1 && !isNumber(rest[0])):
		return scan(ctx, s.c, s.out, s.output, client.ScanOptions{Prefix: strings.Join(rest, "")}, false, 0)
	case verb == "watch" && len(rest) < 2:
		// The connection is everybody's: Redis's WATCH would mean nothing on it.
		err := watch(ctx, s.c, s.out, s.output, client.WatchOptions{Prefix: strings.Join(rest, "")}, 0)
		if ctx.Err() != nil {
			return nil // Ctrl-C
		}
		return err
	case verb == "expire" && len(rest) == 2:
		n, err := strconv.ParseInt(rest[1], 10, 32)
		if err != nil {
			return usageError(fmt.Errorf("%q is not a number of seconds", rest[1]))
		}
		if err := s.c.Expire(ctx, rest[0], time.Duration(n)*time.Second); err != nil {
			return err
		}
		return s.number(1, nil)
	case verb == "get" && len(rest) == 1:
		v, err := s.c.Get(ctx, rest[0])
		if errors.Is(err, client.ErrNotFound) {
			return s.show(resp.Value{Kind: resp.KindNull}, "")
		} else if err != nil {
			return err
		}
		return s.show(resp.Value{Kind: resp.KindBulk, Bytes: v}, "")
	}
	v, err := s.c.Do(ctx, args...)
	if err != nil {
		return err
	}
	if v.Kind == resp.KindError {
		return &client.ReplyError{Text: v.Text()}
	}
	return s.show(v, "")
}

// isNumber tells a cursor of Redis's SCAN from a prefix.
func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

// putOptions reads what may stand behind a value.
func putOptions(words []string) (opts []client.PutOption, err error) {
	for i := 0; i < len(words); i++ {
		switch w := strings.ToUpper(words[i]); w {
		case "NX":
			opts = append(opts, client.IfMissing())
		case "XX":
			opts = append(opts, client.IfExists())
		case "KEEPTTL":
			opts = append(opts, client.KeepTTL())
		case "PX", "EX":
			unit := time.Millisecond
			if w == "EX" {
				unit = time.Second
			}
			if i++; i == len(words) {
				return nil, usageError(fmt.Errorf("%s needs a number", w))
			}
			n, err := strconv.ParseInt(words[i], 10, 64)
			if err != nil || n <= 0 || n > int64(100*365*24*time.Hour/unit) {
				return nil, usageError(fmt.Errorf("%s %s is not a time", w, words[i]))
			}
			opts = append(opts, client.TTL(time.Duration(n)*unit))
		default:
			return nil, usageError(fmt.Errorf("put doesn't know %q", words[i]))
		}
	}
	return opts, nil
}

func (s *shell) member(ctx context.Context, args []string) error {
	dry := false
	if n := len(args); n > 1 && (strings.EqualFold(args[n-1], "dryrun") || args[n-1] == "--dry-run") {
		dry, args = true, args[:n-1]
	}
	verb := ""
	if len(args) > 0 {
		verb = strings.ToLower(args[0])
	}
	switch {
	case verb == "list" && len(args) == 1:
		return showMembers(ctx, s.c, s.out, s.output)
	case verb == "add" && len(args) == 3:
		return s.say(s.c.AddMember(ctx, args[1], args[2], dry))
	case verb == "promote" && len(args) == 2:
		return s.say(s.c.Promote(ctx, args[1], dry))
	case verb == "remove" && len(args) == 2:
		return s.say(s.c.Remove(ctx, args[1], dry))
	}
	return usageError(errors.New("member takes: list | add NAME PEER | promote NAME | remove NAME, and DRYRUN behind a change"))
}

func (s *shell) say(text string, err error) error {
	if err == nil {
		_, err = fmt.Fprintln(s.out, text)
	}
	return err
}

func (s *shell) number(n int64, err error) error {
	if err != nil {
		return err
	}
	return s.show(resp.Value{Kind: resp.KindInt, Int: n}, "")
}

// show writes a reply as redis-cli does: for people with kinds and quotes, else as it is.
func (s *shell) show(v resp.Value, indent string) error {
	var b strings.Builder
	s.format(&b, v, indent)
	_, err := io.WriteString(s.out, b.String())
	return err
}

func (s *shell) format(b *strings.Builder, v resp.Value, indent string) {
	text := v.Text()
	switch v.Kind {
	case resp.KindNull:
		if text = ""; s.quote {
			text = "(nil)"
		}
	case resp.KindInt:
		if s.quote {
			text = "(integer) " + text
		}
	case resp.KindBulk:
		if s.quote {
			text = strconv.Quote(text)
		}
	case resp.KindError:
		if s.quote {
			text = "(error) " + text
		}
	case resp.KindArray, resp.KindMap, resp.KindPush:
		if len(v.Array) == 0 && s.quote {
			b.WriteString("(empty array)\n")
			return
		}
		for i, e := range v.Array {
			number := ""
			if s.quote {
				if i > 0 {
					b.WriteString(indent)
				}
				number = fmt.Sprintf("%d) ", i+1)
			}
			b.WriteString(number)
			s.format(b, e, indent+strings.Repeat(" ", len(number)))
		}
		return
	}
	b.WriteString(text)
	b.WriteByte('\n')
}
