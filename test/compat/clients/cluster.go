package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cluster is three daemons.
type cluster struct {
	bin   string
	host  string
	nodes []*daemon
}

type daemon struct {
	name, file, log, client, http string
	cmd                           *exec.Cmd
}

// startCluster writes the configurations, with more YAML at their end, and starts
// three nodes. Ports are 5001 and so on of an address of 127.0.0.0/8.
func startCluster(ctx context.Context, bin, dir, host, more string) (*cluster, error) {
	c := &cluster{bin: bin, host: host}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var voters strings.Builder
	for i := 1; i <= 3; i++ {
		d := &daemon{
			name: fmt.Sprintf("n%d", i), file: filepath.Join(dir, fmt.Sprintf("n%d.yaml", i)), log: filepath.Join(dir, fmt.Sprintf("n%d.log", i)),
			client: fmt.Sprintf("%s:%d", host, 5000+i), http: fmt.Sprintf("%s:%d", host, 5200+i),
		}
		c.nodes = append(c.nodes, d)
		fmt.Fprintf(&voters, "    - {name: %s, peer: \"%s:%d\", client: \"%s\", http: \"%s\"}\n", d.name, host, 5100+i, d.client, d.http)
	}
	for _, d := range c.nodes {
		yaml := fmt.Sprintf("node: {name: %s, data_dir: %s}\ncluster:\n  voters:\n%s%s", d.name, filepath.Join(dir, d.name), voters.String(), more)
		if err := os.WriteFile(d.file, []byte(yaml), 0o600); err != nil {
			return nil, err
		}
		if err := c.start(d); err != nil {
			c.stop()
			return nil, err
		}
	}
	for _, d := range c.nodes {
		if err := c.ready(ctx, d); err != nil {
			c.stop()
			return nil, err
		}
	}
	return c, nil
}

func (c *cluster) start(d *daemon) error {
	f, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	d.cmd = exec.Command(c.bin, "serve", "--config", d.file)
	d.cmd.Stderr = f
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // whatever ends us
	return d.cmd.Start()
}

func (d *daemon) kill() {
	if d.cmd != nil && d.cmd.Process != nil {
		d.cmd.Process.Kill()
		d.cmd.Wait()
		d.cmd = nil
	}
}

func (c *cluster) stop() {
	for _, d := range c.nodes {
		d.kill()
	}
}

// ready waits until a node serves linearizable reads.
func (c *cluster) ready(ctx context.Context, d *daemon) error {
	for {
		if code, _ := get(ctx, "http://"+d.http+"/readyz"); code == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			b, _ := os.ReadFile(d.log)
			return fmt.Errorf("%s is not ready: %w\n%s", d.name, ctx.Err(), b[max(0, len(b)-2000):])
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// leader is the node that leads, and a follower.
func (c *cluster) leader(ctx context.Context) (leader, follower *daemon, err error) {
	for {
		leader, follower = nil, nil
		for _, d := range c.nodes {
			_, body := get(ctx, "http://"+d.http+"/status")
			switch compact := strings.ReplaceAll(body, " ", ""); {
			case strings.Contains(compact, `"role":"leader"`):
				leader = d
			case strings.Contains(compact, `"role":"follower"`):
				follower = d
			}
		}
		if leader != nil && follower != nil {
			return leader, follower, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("no leader: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) (int, string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, ""
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(b)
}
