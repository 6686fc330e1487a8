package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/config"
	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
)

const unitFile = "../../deploy/systemd/raftkv.service"

// unit reads the settings of the unit; the last one of a name counts.
func unit(t *testing.T) (text string, settings map[string]string) {
	t.Helper()
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	settings = map[string]string{}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			settings[name] = value
		}
	}
	return string(b), settings
}

// What the unit says of codes, times and descriptors is what the program does.
func TestUnitFitsTheProgram(t *testing.T) {
	_, u := unit(t)
	var stays []string
	for _, e := range exitCodes() {
		if !e.code.restartable() {
			stays = append(stays, strconv.Itoa(int(e.code)))
		}
	}
	if got, want := u["RestartPreventExitStatus"], strings.Join(stays, " "); got != want {
		t.Errorf("RestartPreventExitStatus=%s, want %s", got, want)
	}
	c := config.Default()
	stop, err := time.ParseDuration(u["TimeoutStopSec"])
	if err != nil || stop < c.Service.StopTimeout+5*time.Second {
		t.Errorf("TimeoutStopSec=%s for a service.stop_timeout of %v", u["TimeoutStopSec"], c.Service.StopTimeout)
	}
	if n, err := strconv.Atoi(u["LimitNOFILE"]); err != nil || n < c.Redis.Clients+1000 {
		t.Errorf("LimitNOFILE=%s for %d clients", u["LimitNOFILE"], c.Redis.Clients)
	}
	if u["Type"] != "notify" || u["WatchdogSec"] == "" || u["Restart"] != "on-failure" {
		t.Errorf("Type=%s WatchdogSec=%s Restart=%s", u["Type"], u["WatchdogSec"], u["Restart"])
	}
	sample, err := config.Load(config.Options{File: "../../deploy/raftkv.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "/var/lib/" + u["StateDirectory"]; sample.Node.DataDir != want {
		t.Errorf("the sample keeps data in %s, the unit in %s", sample.Node.DataDir, want)
	}
}

func TestUnitIsVerified(t *testing.T) {
	testenv.Need(t, "systemd-analyze")
	text, _ := unit(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The program must be there, or verify complains of that alone.
	path := filepath.Join(t.TempDir(), "raftkv.service")
	text = strings.ReplaceAll(text, "/usr/local/bin/raftkv", exe)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The core's defaults are those that the configuration documents.
func TestRaftDefaultsAreOne(t *testing.T) {
	c, r := config.Default().Raft, raft.DefaultConfig()
	got := raft.Config{
		ElectionTicks: c.ElectionTicks, HeartbeatTicks: c.HeartbeatTicks,
		MaxAppendBytes: int(c.AppendBytes), MaxInflight: c.InflightMessages, MaxInflightBytes: int(c.InflightBytes),
		MaxWriteBytes: int(c.WriteBytes), MaxWrites: r.MaxWrites,
		MaxUncommittedBytes: int(c.UncommittedBytes), MaxRetainedBytes: int(c.RetainedBytes),
	}
	if got != r {
		t.Errorf("config gives %+v, raft has %+v", got, r)
	}
	if c.Tick != 10*time.Millisecond {
		t.Errorf("tick %v", c.Tick)
	}
}
