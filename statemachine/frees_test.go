package statemachine

import "testing"

// A nearly full disk must not keep people from deleting, inside a session or not.
func TestFrees(t *testing.T) {
	key := [][]byte{[]byte("k")}
	pair := [][]byte{[]byte("k"), []byte("v")}
	del := AppendCommand(nil, Command{Op: OpDel, Args: key})
	set := AppendCommand(nil, Command{Op: OpSet, Args: pair})
	for _, tc := range []struct {
		name string
		cmd  []byte
		want bool
	}{
		{"del", del, true},
		{"set", set, false},
		{"append", AppendCommand(nil, Command{Op: OpAppend, Args: pair}), false},
		{"open a session", AppendCommand(nil, Command{Op: OpSessionOpen}), true},
		{"once del", AppendCommand(nil, Command{Op: OpOnce, Num: 1, Seq: 1, Args: [][]byte{del}}), true},
		{"once set", AppendCommand(nil, Command{Op: OpOnce, Num: 1, Seq: 1, Args: [][]byte{set}}), false},
		{"lock a user out", AppendCommand(nil, Command{Op: OpUserSet, Args: pair}), true},
		{"publish", AppendCommand(nil, Command{Op: OpPublish, Args: pair}), false},
		{"no command", []byte("x"), false},
	} {
		if got := Frees(tc.cmd); got != tc.want {
			t.Errorf("%s: Frees is %v, want %v", tc.name, got, tc.want)
		}
	}
}
