package statemachine

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata; read that diff like code")

// The bytes of level 1 are in logs and snapshots for ever. A change here is a
// new level or a broken cluster.
func TestBytesStayAsTheyAre(t *testing.T) {
	var out bytes.Buffer
	seeds := seedCommands()
	for _, c := range seeds[:len(seeds)-2] { // the last two are malformed
		fmt.Fprintf(&out, "command %v %x\n", Op(c[0]), c)
	}
	for _, r := range []Result{
		{Kind: ResultNil}, {Kind: ResultOK}, {Kind: ResultInt, Int: -300}, {Kind: ResultBytes, Bytes: []byte("b")},
		{Kind: ResultError, Bytes: []byte("ERR x")}, {Kind: ResultStatus, Bytes: []byte("PONG")},
		{Kind: ResultArray, Array: []Result{{Kind: ResultNil}, {Kind: ResultInt, Int: 1}}},
	} {
		fmt.Fprintf(&out, "result %x\n", AppendResult(nil, r))
	}
	m := chunky(t).m
	fmt.Fprintf(&out, "hash %x\n", m.Hash())
	fmt.Fprintf(&out, "content\n%s", hex.Dump(encode(t, sample(t).m)))

	const file = "testdata/level1.golden"
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("bytes changed; got\n%s", out.Bytes())
	}
}
