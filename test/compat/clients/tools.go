package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// tool runs a program of Debian's redis-tools with the address of a node.
func tool(ctx context.Context, name, addr, in string, args ...string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, name, append([]string{"-h", host, "-p", port}, args...)...)
	cmd.Stdin = strings.NewReader(in)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %v: %w: %s", name, args, err, out.String())
	}
	return strings.TrimSpace(out.String()), nil
}

func redisCLI(t task) error {
	p := prefix("redis-cli", t.check)
	cli := func(in string, args ...string) (string, error) {
		if strings.HasPrefix(t.check, "cluster-") {
			args = append([]string{"-c"}, args...)
		}
		return tool(t.ctx, "redis-cli", t.addrs[0], in, args...)
	}
	expect := func(want, in string, args ...string) error {
		if got, err := cli(in, args...); err != nil || got != want {
			return fmt.Errorf("%v answers %q, want %q, %w", args, got, want, err)
		}
		return nil
	}
	switch t.check {
	case "connect", "cluster-connect":
		if err := expect("OK", "", "set", p+"k", "v"); err != nil {
			return err
		}
		return expect("v", "", "-3", "get", p+"k")
	case "pipeline":
		var in strings.Builder
		for range 500 {
			fmt.Fprintf(&in, "INCR %sn\r\n", p)
		}
		out, err := cli(in.String(), "--pipe")
		if err != nil || !strings.Contains(out, "errors: 0, replies: 500") {
			return fmt.Errorf("--pipe says %q, %w", out, err)
		}
		return expect("500", "", "get", p+"n")
	case "transaction":
		return expect("OK\nQUEUED\nQUEUED\nOK\n2", fmt.Sprintf("multi\nset %sa 1\nincr %sa\nexec\n", p, p))
	case "pubsub":
		ctx, cancel := context.WithCancel(t.ctx)
		defer cancel()
		host, port, err := net.SplitHostPort(t.addrs[0])
		if err != nil {
			return err
		}
		sub := exec.CommandContext(ctx, "redis-cli", "-h", host, "-p", port, "subscribe", p+"channel")
		out, err := sub.StdoutPipe()
		if err != nil {
			return err
		}
		if err := sub.Start(); err != nil {
			return err
		}
		defer sub.Wait()
		defer cancel()
		var seen strings.Builder
		buf := make([]byte, 4096)
		read := func(until string) error {
			for !strings.Contains(seen.String(), until) {
				n, err := out.Read(buf)
				if err != nil {
					return fmt.Errorf("subscribe shows %q, then %w", seen.String(), err)
				}
				seen.Write(buf[:n])
			}
			return nil
		}
		if err := read("subscribe\n" + p + "channel\n1\n"); err != nil {
			return err
		}
		if err := expect("1", "", "publish", p+"channel", "hello"); err != nil {
			return err
		}
		return read("message\n" + p + "channel\nhello\n")
	}
	return errNotApplicable
}

func redisBenchmark(t task) error {
	args := []string{"-q", "-c", "20"}
	switch t.check {
	case "connect":
		args = append(args, "-n", "2000", "-t", "ping,set,get,incr,mset")
	case "pipeline":
		args = append(args, "-n", "20000", "-P", "16", "-t", "set,get,incr", "-r", "1000")
	default: // with --cluster it refuses a cluster of one master
		return errNotApplicable
	}
	out, err := tool(t.ctx, "redis-benchmark", t.addrs[0], "", args...)
	if err != nil {
		return err
	}
	if strings.Count(out, "requests per second") == 0 || strings.Contains(strings.ToLower(out), "error") {
		return fmt.Errorf("redis-benchmark says %q", out)
	}
	return nil
}
