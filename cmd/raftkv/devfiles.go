package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/raftkv/raftkv/config"
)

// devLayout is what lies in the directory of a dev cluster:
//
//	raftkv-dev/dev.lock     held while raftkv dev runs there
//	raftkv-dev/node1.yaml   configuration of n1; written once, then the user's
//	raftkv-dev/node1/       its data
//	raftkv-dev/node1.log    its log, appended to; the one before is node1.log.old
type devLayout struct {
	dir      string
	count    int
	host     string
	basePort int
	given    func(flag string) bool // the flag stands on the command line
	clients  []string               // addresses for clients, of each node; prepare fills it
}

func (l *devLayout) file(i int) string { return filepath.Join(l.dir, fmt.Sprintf("node%d.yaml", i+1)) }

func (l *devLayout) check() error {
	if l.count != 1 && l.count != 3 && l.count != 5 {
		return fmt.Errorf("--nodes %d, want 1, 3 or 5", l.count)
	}
	if ip := net.ParseIP(l.host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("--host %q is no loopback address; dev is for one machine, see deploy/ for several", l.host)
	}
	if l.basePort < 1 || l.basePort > 65535-200-5 {
		return fmt.Errorf("--base-port %d, want 1 to %d", l.basePort, 65535-200-5)
	}
	return nil
}

func (l *devLayout) voter(i int) config.Voter {
	addr := func(above int) string { return net.JoinHostPort(l.host, strconv.Itoa(l.basePort+above+i+1)) }
	return config.Voter{Name: fmt.Sprintf("n%d", i+1), Client: addr(0), Peer: addr(100), HTTP: addr(200)}
}

// prepare writes what is missing and changes nothing that is there. How many
// nodes an existing cluster has, and where, is what its first file says; flags
// that say otherwise are an error.
func (l *devLayout) prepare() error {
	var voters []config.Voter
	switch old, err := loadConfig(l.file(0), nil); {
	case errors.Is(err, fs.ErrNotExist):
		for i := 1; i < 5; i++ {
			if _, err := os.Stat(l.file(i)); err == nil {
				return fmt.Errorf("%s is there, but %s is not: restore it, or take another --dir", l.file(i), l.file(0))
			}
		}
		for i := range l.count {
			voters = append(voters, l.voter(i))
		}
	case err != nil:
		return err
	default:
		voters = old.Cluster.Voters
		if err := l.matches(voters); err != nil {
			return err
		}
		l.count = len(voters)
	}
	for i, v := range voters {
		l.clients = append(l.clients, v.Client)
		if err := os.MkdirAll(l.data(i), 0o700); err != nil {
			return fmt.Errorf("prepare the cluster's directory: %w", err)
		}
		if err := writeNew(l.file(i), devYAML(i, voters)); err != nil {
			return fmt.Errorf("write the configuration of %s: %w", v.Name, err)
		}
	}
	return nil
}

// matches compares flags with a cluster that is there.
func (l *devLayout) matches(voters []config.Voter) error {
	if l.given("nodes") && l.count != len(voters) {
		return usageError(fmt.Errorf("%s holds a cluster of %s, not of %d: leave --nodes out, or take another --dir", l.dir, plural(len(voters), "node"), l.count))
	}
	if (l.given("host") || l.given("base-port")) && voters[0] != l.voter(0) {
		return usageError(fmt.Errorf("%s holds a cluster whose clients connect to %s, not %s: leave --host and --base-port out, or take another --dir",
			l.dir, voters[0].Client, l.voter(0).Client))
	}
	return nil
}

func (l *devLayout) data(i int) string { return filepath.Join(l.dir, fmt.Sprintf("node%d", i+1)) }

// devYAML is the configuration of node i; all else is at its default.
func devYAML(i int, voters []config.Voter) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by raftkv dev, which keeps what you change here.\n")
	fmt.Fprintf(&b, "# raftkv config print --config FILE shows every key.\n")
	fmt.Fprintf(&b, "node:\n  name: %s\n  data_dir: node%d\ncluster:\n  voters:\n", voters[i].Name, i+1)
	for _, v := range voters {
		fmt.Fprintf(&b, "    - {name: %s, peer: %q, client: %q, http: %q}\n", v.Name, v.Peer, v.Client, v.HTTP)
	}
	return b.Bytes()
}

// writeNew writes a file whole or not at all, and leaves one that is there.
func writeNew(path string, b []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	temp := path + ".tmp"
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// lock keeps a second dev away from the directory.
func (l *devLayout) lock() (unlock func(), err error) {
	path := filepath.Join(l.dir, "dev.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", l.dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, exitWith(exitTaken, fmt.Errorf("another raftkv dev runs in %s: stop it, or take another --dir and --base-port", l.dir))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// load reads the configurations of all nodes, with the same environment as they do.
func (l *devLayout) load() ([]*devNode, error) {
	var nodes []*devNode
	for i := range l.count {
		c, err := loadConfig(l.file(i), nil)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, &devNode{
			name: c.Node.Name, file: l.file(i), logFile: filepath.Join(l.dir, fmt.Sprintf("node%d.log", i+1)),
			redis: c.Redis.Listen, http: c.HTTP.Listen, listens: []string{c.Redis.Listen, c.Peer.Listen, c.HTTP.Listen},
			stopTimeout: c.Service.StopTimeout,
		})
	}
	return nodes, nil
}

// portsFree tells of a taken port in one sentence, where each node would end with one.
func portsFree(nodes []*devNode) error {
	for _, n := range nodes {
		for _, addr := range n.listens {
			l, err := net.Listen("tcp", addr)
			if errors.Is(err, syscall.EADDRINUSE) {
				return exitWith(exitTaken, fmt.Errorf("%s of %s is taken by another program: stop it (another raftkv dev?), or take another --dir with another --base-port", addr, n.name))
			}
			if err != nil {
				return fmt.Errorf("listen for %s: %w", n.name, err)
			}
			l.Close()
		}
	}
	return nil
}
