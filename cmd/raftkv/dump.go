package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
)

func newDump() *cobra.Command {
	var f clientFlags
	var prefix string
	cmd := &cobra.Command{
		Use:   "dump [FILE]",
		Short: "Write all keys as JSON lines, for load",
		Long: "dump writes one line of JSON a key, in the order of keys, to FILE or standard output: key, value and, if it\n" +
			"expires, when. What is not UTF-8 stands in base64, so that load brings back the same bytes. It is not the state at one\n" +
			"moment: for that a node's snapshot is. A FILE that is there already is not overwritten.",
		Example: "  raftkv dump keys.jsonl\n  raftkv dump --prefix user/ | gzip > users.jsonl.gz",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.stream(cmd, func(ctx context.Context, c *client.Client) error {
				if len(args) == 0 || args[0] == "-" {
					return dump(ctx, c, cmd.OutOrStdout(), prefix, newMeter(cmd.ErrOrStderr()))
				}
				file, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return err
				}
				err = dump(ctx, c, file, prefix, newMeter(cmd.ErrOrStderr()))
				if err == nil {
					err = file.Sync()
				}
				if e := file.Close(); err == nil {
					err = e
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only keys that begin with it")
	return f.add(cmd)
}

// dumpPage is how many keys are asked for their deadlines at a time.
const dumpPage = 32

// dump writes all keys.
func dump(ctx context.Context, c *client.Client, w io.Writer, prefix string, m *meter) error {
	out := bufio.NewWriterSize(w, 64<<10)
	total, err := c.Count(ctx)
	if err != nil {
		return err
	}
	if prefix != "" {
		total = 0 // nobody knows
	}
	n := int64(0)
	var page []client.Item
	flush := func() error {
		// The deadlines go over one connection, all at once.
		expires := make([]time.Duration, len(page))
		errs := make([]error, len(page))
		asked := time.Now()
		var all sync.WaitGroup // of goroutines that end with their answer
		for i, it := range page {
			all.Go(func() { expires[i], _, errs[i] = c.TTL(ctx, it.Key) })
		}
		all.Wait()
		for i, it := range page {
			switch {
			case errors.Is(errs[i], client.ErrNotFound):
				continue // it went since
			case errs[i] != nil:
				return errs[i]
			}
			r := recordOf(it.Key, it.Value)
			if expires[i] > 0 {
				r.Expires = asked.Add(expires[i]).UnixMilli()
			}
			if err := printLine(out, r); err != nil {
				return err
			}
			n++
		}
		page = page[:0]
		m.show(n, total)
		return nil
	}
	for it, err := range c.Items(ctx, client.ScanOptions{Prefix: prefix}) {
		if err != nil {
			return fmt.Errorf("after %d keys: %w", n, err)
		}
		if page = append(page, it); len(page) == dumpPage {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	m.end("dumped", n)
	return out.Flush()
}

func newLoad() *cobra.Command {
	var f clientFlags
	var skip int64
	cmd := &cobra.Command{
		Use:   "load [FILE]",
		Short: "Set keys from JSON lines, as dump writes them",
		Long: "load sets the keys of FILE or standard input, several at a time. Each is set exactly once, however often it\n" +
			"has to be sent. A key that is there is overwritten; what has expired meanwhile is left out. If it has to stop it says with which\n" +
			"--skip it goes on, and nothing is lost if it begins anew.",
		Example: "  raftkv load keys.jsonl\n  zcat users.jsonl.gz | raftkv load --skip 120000",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if skip < 0 {
				return usageError(fmt.Errorf("skip %d is below zero", skip))
			}
			in, size := cmd.InOrStdin(), int64(0)
			if len(args) == 1 && args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
					size = info.Size()
				}
				in = file
			}
			return f.stream(cmd, func(ctx context.Context, c *client.Client) error {
				return loadKeys(ctx, c, in, size, skip, newMeter(cmd.ErrOrStderr()))
			})
		},
	}
	cmd.Flags().Int64Var(&skip, "skip", 0, "begin behind so many lines")
	return f.add(cmd)
}

const (
	loadWorkers = 32       // keys that are set at a time
	loadLineMax = 64 << 20 // bytes of a line
)

// loadLine is one line that is under way.
type loadLine struct {
	n      int64
	record record
}

// loadKeys sets the keys of a file. size is that of the file, 0 if nobody knows.
func loadKeys(ctx context.Context, c *client.Client, in io.Reader, size, skip int64, m *meter) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan loadLine)
	done := &marks{next: skip + 1, open: map[int64]bool{}}
	var all sync.WaitGroup
	for range loadWorkers {
		// Sets keys until there are no more lines; awaited below.
		all.Go(func() {
			for l := range work {
				if ctx.Err() != nil {
					continue
				}
				if err := loadOne(ctx, c, l.record); err != nil {
					cancel(fmt.Errorf("line %d: %w", l.n, err))
					continue
				}
				done.mark(l.n)
			}
		})
	}
	count := &counter{r: in}
	lines := bufio.NewScanner(count)
	lines.Buffer(nil, loadLineMax)
	n, sent := int64(0), int64(0)
	var wrong error // with the file: what came before it is still loaded
read:
	for lines.Scan() {
		if n++; n <= skip {
			continue
		}
		var r record
		if b := lines.Bytes(); len(b) > 0 {
			if err := json.Unmarshal(b, &r); err != nil {
				wrong = fmt.Errorf("line %d: %w", n, err)
				break
			}
			select {
			case work <- loadLine{n, r}:
				sent++
			case <-ctx.Done():
				break read
			}
		} else {
			done.mark(n)
		}
		if n%256 == 0 {
			m.show(count.n, size)
		}
	}
	if err := lines.Err(); err != nil {
		wrong = fmt.Errorf("read line %d: %w", n+1, err)
	}
	close(work)
	all.Wait()
	if err := cmp.Or(context.Cause(ctx), wrong); err != nil {
		m.clear()
		return fmt.Errorf("%w; go on with --skip %d", err, done.upTo())
	}
	m.end("loaded", sent)
	return nil
}

func loadOne(ctx context.Context, c *client.Client, r record) error {
	key, value, err := r.pair()
	if err != nil {
		return err
	}
	var opts []client.PutOption
	if r.Expires != 0 {
		at := time.UnixMilli(r.Expires)
		if r.Expires < 0 || !at.After(time.Now()) {
			return nil
		}
		opts = append(opts, client.ExpireAt(at))
	}
	return c.Put(ctx, key, []byte(value), opts...)
}

// marks knows up to where all lines are done, though they end in any order.
type marks struct {
	mu   sync.Mutex
	next int64          // the first line that is not done
	open map[int64]bool // done behind it
}

func (m *marks) mark(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open[n] = true
	for m.open[m.next] {
		delete(m.open, m.next)
		m.next++
	}
}

func (m *marks) upTo() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.next - 1
}

// counter counts the bytes that were read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// meter is a progress bar on a terminal; elsewhere it is quiet but for its end.
type meter struct {
	w     io.Writer
	on    bool
	drawn time.Time
}

func newMeter(w io.Writer) *meter { return &meter{w: w, on: isTerminal(w)} }

// meterEvery is the pause between two drawings.
const meterEvery = 100 * time.Millisecond

// show draws how far it is. all 0: nobody knows.
func (m *meter) show(done, all int64) {
	if !m.on || time.Since(m.drawn) < meterEvery {
		return
	}
	m.drawn = time.Now()
	fmt.Fprint(m.w, "\r\x1b[K"+meterText(done, all))
}

func meterText(done, all int64) string {
	if all <= 0 {
		return fmt.Sprint(done)
	}
	const width = 30
	full := int(min(done, all) * width / all)
	bar := make([]byte, width)
	for i := range bar {
		bar[i] = '.'
		if i < full {
			bar[i] = '#'
		}
	}
	return fmt.Sprintf("[%s] %3d %%", bar, min(done, all)*100/all)
}

func (m *meter) clear() {
	if m.on {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}

// end says what was done.
func (m *meter) end(what string, n int64) {
	m.clear()
	fmt.Fprintf(m.w, "%s %s\n", what, plural(int(n), "key"))
}
