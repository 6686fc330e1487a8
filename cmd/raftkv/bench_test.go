package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
)

// sayAlways is a server that answers each line of a value of a SET alike.
func sayAlways(t *testing.T, reply string) (endpoint string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() { // ends with the listener
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer nc.Close()
				in := bufio.NewScanner(nc)
				for in.Scan() {
					if strings.HasPrefix(in.Text(), "*3") {
						if _, err := io.WriteString(nc, reply); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// The forms of output say the same, and errors are an exit code.
func TestBenchOutput(t *testing.T) {
	good := sayAlways(t, "+OK\r\n")
	bench := func(args ...string) (exitCode, string, string) {
		var out, errOut bytes.Buffer
		code := run(append([]string{"bench", "--duration", "1s", "--warm", "0s", "-c", "2", "-d", "4"}, args...), strings.NewReader(""), &out, &errOut)
		return code, out.String(), errOut.String()
	}
	code, out, _ := bench("--endpoints", good, "-o", "json")
	var j struct {
		Clients int
		Results []benchRow
	}
	if err := json.Unmarshal([]byte(out), &j); code != exitOK || err != nil || j.Clients != 2 || len(j.Results) != 1 {
		t.Fatalf("code %d, error %v: %s", code, err, out)
	}
	if r := j.Results[0]; r.Kind != "SET" || r.Ops == 0 || r.P50MS > r.P99MS || r.P99MS > r.MaxMS || r.Rate <= 0 {
		t.Errorf("result %+v", r)
	}
	code, out, _ = bench("--endpoints", good, "-o", "csv")
	if rows, err := csv.NewReader(strings.NewReader(out)).ReadAll(); code != exitOK || err != nil || len(rows) != 2 || rows[1][0] != "SET" || rows[1][1] == "0" {
		t.Errorf("code %d, error %v: %s", code, err, out)
	}
	code, out, errOut := bench("--endpoints", sayAlways(t, "-NOSPACE none\r\n"))
	if code != exitFail || !strings.Contains(out, "refused: NOSPACE") || !strings.Contains(errOut, "not answered") {
		t.Errorf("code %d: %s%s", code, out, errOut)
	}
	for _, args := range [][]string{{"-o", "plain"}, {"--reads", "101"}, {"--clients", "0"}, {"--endpoints", ""}} {
		if code, _, _ := bench(args...); code != exitUsage {
			t.Errorf("%v: code %d, want %d", args, code, exitUsage)
		}
	}
}
