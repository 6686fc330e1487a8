package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/config"
)

// The test binary is also every program that the tests start:
//
//	TEST_AS=node   serve --config FILE   a fake node, for tests of dev
//	TEST_AS=main   ...                   raftkv itself
//	TEST_AS=stuck, chatty serve ...      raftkv serve around a node that ignores its stop, or logs too much
func TestMain(m *testing.M) {
	as := os.Getenv("TEST_AS")
	serving := len(os.Args) > 1 && os.Args[1] == "serve"
	switch {
	case as == "node" && serving:
		os.Exit(fakeNode(os.Args[3]))
	case as == "main", as == "node":
		main()
	case as == "threads":
		tellThreads()
		os.Exit(0)
	case as == "stuck", as == "chatty":
		err := serve(context.Background(), os.Args[3], nil, os.Stderr, oddNode(as))
		os.Exit(int(codeOf(err)))
	}
	os.Exit(m.Run())
}

// oddNode is a node that does one thing wrong.
func oddNode(as string) func(context.Context, config.Config, *slog.Logger, func()) error {
	return func(ctx context.Context, _ config.Config, log *slog.Logger, _ func()) error {
		if as == "stuck" {
			log.Info("ready")
			<-ctx.Done()
			log.Info("asked to stop")
			select {}
		}
		for i := range 3 * logLines {
			log.Info(strings.Repeat("x", 100), "line", i)
		}
		_, err := os.Stdout.WriteString("done\n")
		return err
	}
}

// deadline is generous: it ends a test that hangs, and asserts nothing.
const deadline = time.Minute

// raftkv runs a command line in this process.
func raftkv(args ...string) (code exitCode, out, errOut string) {
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// process is the test binary as another program.
func process(t *testing.T, as string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "TEST_AS="+as)
	return cmd
}

func TestExitCodesOfCommandLines(t *testing.T) {
	good := "../../deploy/raftkv.yaml"
	for _, tc := range []struct {
		args string
		code exitCode
		want string // in what is printed
	}{
		{"", exitOK, "raftkv dev"},
		{"version", exitOK, "raftkv devel"},
		{"version -o json", exitOK, `"go":"go1.`},
		{"version -o xml", exitUsage, `output "xml", want plain or json`},
		{"version extra", exitUsage, "got 1 argument, usage: raftkv version\n"},
		{"help put", exitOK, "raftkv put KEY VALUE"},
		{"help nonsense", exitUsage, `unknown command "nonsense"`},
		{"put k", exitUsage, "got 1 argument, usage: raftkv put KEY VALUE\n"},
		{"del", exitUsage, "got 0 arguments, usage: raftkv del KEY...\n"},
		{"get k --endpoints=", exitUsage, "--endpoints is empty"},
		{"get k --endpoints h:99999", exitUsage, "not host:port"},
		{"help exit-codes", exitOK, "75  data directory locked, port taken or no file descriptor left"},
		{"nonsense", exitUsage, `unknown command "nonsense"`},
		{"config", exitUsage, "needs a command: check, print"},
		{"data", exitUsage, "needs a command: check"},
		{"config chekc", exitUsage, `unknown command "chekc"`},
		{"config check", exitUsage, "got 0 arguments, usage: raftkv config check FILE\n"},
		{"config check " + good, exitOK, "is valid"},
		{"config check ../../config/testdata/ports.bad.yaml", exitConfig, "the configuration has 2 faults:\n"},
		{"config check no-such-file", exitConfig, "no such file"},
		{"config check " + good + " --set raft.tick=1h", exitConfig, `flag --set raft.tick=1h: raft.tick = "1h": too large`},
		{"config check " + good + " --log-level loud", exitConfig, `flag --log-level: log.level = "loud"`},
		{"config print", exitOK, "\n  election_ticks: 50\n"},
		{"config print --config " + good + " --name n2 --set raft.tick=20ms", exitOK, "  tick: 20ms # from flag --set raft.tick=20ms\n"},
		{"serve", exitUsage, `required flag(s) "config"`},
		{"serve --config", exitUsage, "flag needs an argument"},
		{"serve --config x y", exitUsage, "got 1 argument, usage: raftkv serve --config FILE\n"},
		{"serve --config no-such-file", exitConfig, "no such file"},
		{"serve --config ../../config/testdata/sizes.bad.yaml", exitConfig, "8 faults"},
		{"dev --nodes 2", exitUsage, "want 1, 3 or 5"},
		{"dev --host 10.0.0.1", exitUsage, "no loopback address"},
		{"dev --base-port 65534", exitUsage, "--base-port 65534"},
		{"dev more", exitUsage, "got 1 argument, usage: raftkv dev\n"},
	} {
		code, out, errOut := raftkv(strings.Fields(tc.args)...)
		if code != tc.code || !strings.Contains(out+errOut, tc.want) {
			t.Errorf("raftkv %s: %d, want %d and %q in\n%s%s", tc.args, code, tc.code, tc.want, out, errOut)
		}
		if code == exitOK && errOut != "" && !strings.HasPrefix(errOut, "warning:") {
			t.Errorf("raftkv %s succeeded and complained: %s", tc.args, errOut)
		}
		if code != exitOK && out != "" {
			t.Errorf("raftkv %s failed and printed %s", tc.args, out)
		}
	}
}

// The numbers are a promise to scripts and units.
func TestExitCodesAreWhatIsDocumented(t *testing.T) {
	for code, want := range map[exitCode]int{
		exitOK: 0, exitFail: 1, exitUsage: 2, exitNoLeader: 4, exitNotFound: 5, exitCondition: 6, exitUnknown: 7,
		exitDamaged: 65, exitIdentity: 69, exitInternal: 70, exitDisk: 74, exitTaken: 75, exitPermission: 77, exitConfig: 78,
	} {
		if int(code) != want {
			t.Errorf("%v is %d, want %d", code, int(code), want)
		}
	}
	if len(exitCodes()) != 14 {
		t.Errorf("%d codes are documented", len(exitCodes()))
	}
	for _, e := range exitCodes() {
		stays := e.code == 65 || e.code == 69 || e.code == 77 || e.code == 78
		if e.code.restartable() == stays {
			t.Errorf("%d restartable: %v", e.code, e.code.restartable())
		}
	}
}

func TestCodeOf(t *testing.T) {
	plain := errors.New("x")
	for _, tc := range []struct {
		err  error
		want exitCode
	}{
		{nil, exitOK},
		{plain, exitFail},
		{exitWith(exitNotFound, nil), exitNotFound},
		{errors.Join(errors.New("get"), exitWith(exitUnknown, plain)), exitUnknown},
		{exitWith(exitDisk, exitWith(exitUsage, plain)), exitDisk},
	} {
		if got := codeOf(tc.err); got != tc.want {
			t.Errorf("code of %v is %d, want %d", tc.err, got, tc.want)
		}
	}
	// The process itself ends with it.
	err := process(t, "main", "config", "check", "../../config/testdata/tab.bad.yaml").Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 78 {
		t.Errorf("process ended with %v, want 78", err)
	}
}

func TestVersionOfBuild(t *testing.T) {
	if v := versionOf(nil); v.Version != "devel" || v.Go == "" {
		t.Errorf("without build information: %+v", v)
	}
	v := buildVersion{Version: "v1.2.3", Revision: "0123456789abcdef", Modified: true, Go: "go1", Platform: "a/b"}
	if got := v.String(); got != "raftkv v1.2.3 (0123456789ab, modified) go1 a/b" {
		t.Errorf("got %q", got)
	}
}
