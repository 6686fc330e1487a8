// Package testenv tells tests how much they may ask of the machine.
//
// There are two tiers. Tier 1 is plain `go test`: no root, no tools, seconds.
// Tier 2 is RAFTKV_TEST=full: it may take minutes and needs tools, and a tool
// that is missing fails the test, since a check that silently skips is none.
package testenv

import (
	"hash/fnv"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Full tells whether this is tier 2.
func Full() bool { return os.Getenv("RAFTKV_TEST") == "full" }

// FullOnly skips the test in tier 1 and says how to run it.
func FullOnly(t testing.TB) {
	t.Helper()
	if !Full() {
		t.Skip("tier 2: run it with RAFTKV_TEST=full go test -run '" + t.Name() + "'")
	}
}

// SameInBoth skips a test that does the same in both tiers, in a tier 2 that comes after
// a tier 1 of the same tree: .ci/run says so with RAFTKV_TIER1=done.
func SameInBoth(t testing.TB) {
	t.Helper()
	if Full() && os.Getenv("RAFTKV_TIER1") == "done" {
		t.Skip("it does the same in tier 1, which has just run")
	}
}

// Anew keeps Go's cache of test results from answering for a test in .ci/run, which gives each run
// another RAFTKV_RUN: real processes, kills and disks are another test each time. What goes by seeds is not.
func Anew() { os.Getenv("RAFTKV_RUN") }

// Half tells whether this run is one of those at each commit, which take half of each long
// sweep: .ci/run names its commit in RAFTKV_COMMIT. Without that all of it is swept.
func Half() bool { return os.Getenv("RAFTKV_COMMIT") != "" }

// Mine tells whether element i of a sweep is in the half that this run takes. Of two neighbours
// it is one; which one goes by the commit.
func Mine(i int) bool {
	k, n := Turn(2)
	return i%n == k
}

// Turn tells that this run takes element k of each n neighbours of a sweep: one of the most that
// it names, by the commit, and without a commit the first of one, which is all.
func Turn(most int) (k, n int) {
	if !Half() {
		return 0, 1
	}
	h := fnv.New32a()
	h.Write([]byte(os.Getenv("RAFTKV_COMMIT")))
	return int(h.Sum32() % uint32(most)), most
}

// FreshSeed is where the seeds of this commit begin, with room for a thousand behind it:
// those that always run find what they found.
func FreshSeed(t testing.TB) uint64 {
	t.Helper()
	commit := os.Getenv("RAFTKV_COMMIT")
	if commit == "" {
		out, err := exec.Command("git", "rev-parse", "HEAD").Output()
		if err != nil {
			t.Logf("no commit: %v", err)
			out = []byte("no commit")
		}
		commit = strings.TrimSpace(string(out))
	}
	h := fnv.New64a()
	h.Write([]byte(commit))
	return h.Sum64() >> 16 << 10
}

// MemoryDir is a directory whose syncs cost nothing, where there is one, for tests in which no disk
// could tell the difference: a process that is killed leaves there what it wrote, as anywhere.
func MemoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "raftkv-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Need makes sure of programs that a test runs. Tier 1 skips without them;
// tier 2 fails and names the Debian package to install.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if Full() {
			t.Fatalf("%s is missing: apt-get install %s", tool, debianPackage(tool))
		}
		t.Skipf("%s is missing: apt-get install %s", tool, debianPackage(tool))
	}
}

// NeedRoot is Need for tests that only root can run.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if Full() {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}

// debianPackage is where a tool comes from, if not from a package of its name.
func debianPackage(tool string) string {
	switch tool {
	case "tc", "ip", "ss":
		return "iproute2"
	case "nft":
		return "nftables"
	case "iptables":
		return "iptables"
	case "mkfs.ext4", "tune2fs", "debugfs":
		return "e2fsprogs"
	case "mount", "umount", "losetup", "blockdev", "fallocate", "unshare", "nsenter", "setpriv", "prlimit":
		return "util-linux"
	case "dmsetup":
		return "dmsetup"
	case "redis-cli", "redis-benchmark":
		return "redis-tools"
	case "nc":
		return "netcat-openbsd"
	case "openssl", "strace", "curl", "socat", "fio", "gdb", "xfsprogs":
		return tool
	case "mkfs.xfs":
		return "xfsprogs"
	case "systemd-analyze", "systemd-run", "systemctl":
		return "systemd"
	case "faketime":
		return "faketime"
	case "fusermount3":
		return "fuse3"
	case "ps", "pgrep", "pkill":
		return "procps"
	case "stress-ng":
		return "stress-ng"
	case "cc", "gcc":
		return "gcc"
	}
	return tool
}
