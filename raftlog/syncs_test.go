package raftlog_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/internal/testenv"
)

// The calls of a child in their order: nothing is confirmed, renamed or opened
// before what it rests on was synced. A kill can't show that, only a power cut
// could; a missing sync is seen here.
func TestSyncsComeBeforeWhatRestsOnThem(t *testing.T) {
	testenv.FullOnly(t)
	testenv.Need(t, "strace")
	t.Parallel()
	dir, log := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "calls")
	const writes = 200
	e := runChild(t, 5, writes, dir, []string{"strace", "-f", "-qq", "-y", "-o", log,
		"-e", "trace=openat,pwrite64,write,fsync,fdatasync,rename,renameat,renameat2"}, -1, nil)
	if !e.finished {
		t.Fatalf("child: %+v", e)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var (
		path     = regexp.MustCompile(`<([^>]*)>`)
		quoted   = regexp.MustCompile(`"([^"]*)"`)
		unsynced = map[string]bool{} // files with bytes that no sync covers
		renamed  = map[string]bool{} // names that the directory may not have yet
		started  = map[string]string{}
		oks      int
		syncs    int // fdatasyncs since the last ok
		total    int
	)
	for _, line := range strings.Split(string(b), "\n") {
		pid, call, _ := strings.Cut(line, " ")
		call = strings.TrimLeft(call, " ")
		// A call that another thread's interrupts comes in two lines; it counts where it ends.
		if begin, ok := strings.CutSuffix(call, " <unfinished ...>"); ok {
			started[pid] = begin
			continue
		}
		if _, end, ok := strings.Cut(call, " resumed>"); ok {
			call = started[pid] + end
		}
		name, args, _ := strings.Cut(call, "(")
		file := ""
		if m := path.FindStringSubmatch(args); m != nil {
			file = m[1]
		}
		switch name {
		case "pwrite64":
			unsynced[file] = true
		case "fdatasync", "fsync":
			delete(unsynced, file)
			if name == "fdatasync" {
				syncs++
			}
			for to := range renamed {
				if filepath.Dir(to) == file {
					delete(renamed, to)
				}
			}
		case "rename", "renameat", "renameat2":
			names := quoted.FindAllStringSubmatch(args, -1)
			from, to := names[0][1], names[1][1]
			if unsynced[from] {
				t.Errorf("renamed before its bytes were synced: %s", line)
			}
			delete(unsynced, from)
			renamed[to] = true
		case "openat":
			if m := quoted.FindStringSubmatch(args); m != nil && strings.HasSuffix(m[1], ".db") && renamed[m[1]] {
				t.Errorf("opened before its name was synced: %s", line)
			}
		case "write":
			switch {
			case strings.HasPrefix(args, "1<") && strings.Contains(args, `"ok `):
				oks++
				total += syncs
				if syncs < 2 {
					t.Errorf("confirmed after %d fdatasyncs", syncs)
				}
				syncs = 0
				if renamed[filepath.Join(dir, "vote")] {
					t.Error("confirmed before the vote file's name was synced")
				}
				for file := range unsynced {
					if strings.HasSuffix(file, ".db") {
						t.Errorf("confirmed with unsynced bytes in %s", file)
					}
				}
			case strings.HasPrefix(file, dir):
				unsynced[file] = true
			}
		}
	}
	if oks != writes {
		t.Errorf("%d confirmations in the trace, want %d", oks, writes)
	}
	// What it costs: two, and now and then those of bbolt's new or larger file.
	if total > 2*writes+writes/10 {
		t.Errorf("%d fdatasyncs for %d writes, want two each", total, writes)
	}
	t.Logf("%d fdatasyncs for %d writes", total, writes)
}

// What a killed process wrote and did not sync is synced before it is believed:
// else a power cut after the start could take back what the node then promised.
func TestOpenSyncsBeforeItReads(t *testing.T) {
	testenv.FullOnly(t)
	testenv.Need(t, "strace")
	t.Parallel()
	dir, log := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "calls")
	if e := runChild(t, 5, 200, dir, nil, -1, nil); !e.finished {
		t.Fatalf("child: %+v", e)
	}
	e := runChild(t, 5, 0, dir, []string{"strace", "-f", "-qq", "-y", "-o", log, "-e", "trace=pread64,fsync,fadvise64"}, -1, nil)
	if !e.finished {
		t.Fatalf("child: %+v", e)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	calls := regexp.MustCompile(`(fsync|fadvise64|pread64)\(\d+<([^>]*\.db)>`).FindAllStringSubmatch(string(b), -1)
	order := map[string]string{}
	for _, c := range calls {
		order[c[2]] += c[1] + " "
	}
	if len(order) == 0 {
		t.Fatal("no segment was read")
	}
	for file, did := range order {
		if !strings.HasPrefix(did, "fsync fadvise64 pread64 ") {
			t.Errorf("%s: %s", file, did)
		}
	}
}
