package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/selftest"
)

// DE-13, DE-14, DE-15 for a whole daemon that is alone: a byte is flipped in each
// page of each file of its directory, one after the other. The node refuses with
// 65, or everything that was acknowledged is there.
func TestFlippedByteInEachPage(t *testing.T) {
	testenv.FullOnly(t)
	parallel(t)
	c := prepare(t, selftest.Options{Voters: 1, YAML: strings.ReplaceAll(small, "200", "60") + quick})
	n := c.Nodes[0]
	serve := func() {
		t.Helper()
		startOne(t, c, n)
	}
	serve()
	var a acker
	if !a.run(t, n, 150) {
		t.Fatal("the connection broke")
	}
	n.Kill()
	serve() // whatever was half done is done
	n.Kill()
	whole := filepath.Join(t.TempDir(), "whole")
	copyDir(t, whole, n.Data)

	refused, harmless := map[string]int{}, map[string]int{}
	for i, p := range usedPages(t, whole) {
		if !testenv.Mine(i) {
			continue
		}
		if err := os.RemoveAll(n.Data); err != nil {
			t.Fatal(err)
		}
		copyDir(t, n.Data, whole)
		at := p.at + rand.Int64N(p.size)
		what := fmt.Sprintf("byte %d of %s flipped", at, p.name)
		flip(t, filepath.Join(n.Data, p.name), at)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, what+": ready or dead", func() (bool, error) {
			code, body, err := n.Get(t.Context(), "/readyz")
			if err == nil && code != 200 {
				err = fmt.Errorf("%s", body)
			}
			return n.Pid() == 0 || err == nil, err
		})
		kind := strings.Split(p.name, "/")[0]
		switch {
		case n.Pid() == 0:
			refused[kind]++
			if code, err := n.Wait(deadline(t)); err != nil || code != 65 {
				t.Errorf("%s: ended with %d, %v; want 65\n%s", what, code, err, n.Tail(1))
			}
		default:
			harmless[kind]++
			if gone := a.lost(t, n); len(gone) > 0 {
				t.Errorf("%s: %d acknowledged keys are lost or wrong: %v", what, len(gone), gone)
			}
			n.Kill()
		}
	}
	t.Logf("refused %v, nothing lost %v", refused, harmless)
	if len(refused) == 0 || len(harmless) == 0 {
		t.Error("a flipped byte was never found, or never harmless")
	}
}

func copyDir(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	sh(t, "chmod", "-R", "go-rwx", to)
}

// page is a part of a file that isn't all zeros.
type page struct {
	name     string
	at, size int64
}

func usedPages(t *testing.T, dir string) (pages []page) {
	t.Helper()
	const size = 4096
	zeros := make([]byte, size)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		for at := 0; at < len(b); at += size {
			part := b[at:min(at+size, len(b))]
			if !bytes.Equal(part, zeros[:len(part)]) {
				pages = append(pages, page{name, int64(at), int64(len(part))})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << rand.IntN(8)
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// DE-04, DE-18: the file of the log is cut off under a running daemon, so that the
// kernel answers its next look at a page with SIGBUS, as it does when the disk can't read one. The
// daemon ends with 74 and a sentence, and the restart finds the damage.
func TestLogCutOffUnderADaemon(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{})
	n, other := leader(t, c), follower(t, c)
	do(t, n, "SET", "a", "1")
	until(t, "its own disk to have all of it", func() (bool, error) { // the others are enough for an answer
		s, err := n.Status(t.Context())
		for _, m := range s.Members {
			if m.ID == s.ID && m.Match == s.LastIndex {
				return true, nil
			}
		}
		return err == nil && s.Role != "leader", err // only a leader tells
	})
	for f := range sizes(t, n) {
		if err := os.Truncate(f, 4096); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := selftest.Dial(deadline(t), n.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _, _ = conn.Do(attempt, "SET", "b", "2") // its fate is the others'
	code, err := n.Wait(deadline(t))
	log := string(logOf(t, n))
	if err != nil || code != 74 || !strings.Contains(log, "read of the mapped file") || strings.Contains(log, "goroutine ") {
		t.Fatalf("ended with %d, %v\n%s", code, err, log)
	}
	if got := do(t, other, "GET", "a"); got != "1" {
		t.Errorf("the others say %q", got)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if code, err := n.Wait(deadline(t)); err != nil || code != 65 || !strings.Contains(n.Tail(1), "log-") {
		t.Errorf("the restart ended with %d, %v\n%s", code, err, n.Tail(1))
	}
}
