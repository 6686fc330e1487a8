package statemachine

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestUsers(t *testing.T) {
	each(t, DefaultLimits(), func(t *testing.T, r *rig, move func()) {
		r.expect("1", cmd(OpUserSet, "al", "on"))
		r.expect("nil", cmd(OpUserSet, "al", "off")) // somebody saw none, and there is one
		r.expect("3", cmd(OpUserSet, "al", "off").with(1))
		move()
		r.expect("nil", cmd(OpUserSet, "al", "late").with(1))
		r.expect("5", cmd(OpUserSet, "aa", "any").with(-1))
		r.expect(`[["aa" "any" 5] ["al" "off" 3]]`, cmd(OpUsers))
		r.expect(`[["al" "off" 3]]`, cmd(OpUsers, "al"))
		r.expect("[]", cmd(OpUsers, "bo"))
		r.expect("1", cmd(OpUserDel, "al", "al", "bo"))
		move()
		r.expect(`[["aa" "any" 5]]`, cmd(OpUsers))
		r.expect("0", cmd(OpUserDel, "al"))
		r.expect("1", cmd(OpUserDel, "aa"))
		if r.m.st.lasting != (sum{}) || r.m.st.userBytes != 0 {
			t.Errorf("no user, and a sum of %v, %d bytes", r.m.st.lasting, r.m.st.userBytes)
		}
	})
}

// Somebody may fill the log with users, but not the memory of all nodes.
func TestUsersAreBounded(t *testing.T) {
	r := newRig(t)
	r.expect("-ERR name of a user of 0 bytes, want 1 to 256", cmd(OpUserSet, "", "on"))
	r.expect("-ERR name of a user of 257 bytes, want 1 to 256", cmd(OpUserSet, strings.Repeat("n", 257), "on"))
	r.expect("-ERR rules of 65537 bytes, at most 65536", cmd(OpUserSet, "al", strings.Repeat("r", maxUserRules+1)))
	long := strings.Repeat("r", maxUserRules)
	for i := range maxUsersBytes/maxUserRules - 1 {
		r.do(cmd(OpUserSet, fmt.Sprint(i), long).with(-1))
	}
	r.do(cmd(OpUserSet, "x", long[:maxUserRules-400]).with(-1))
	r.expect("-ERR users take ", cmd(OpUserSet, "y", long).with(-1))
	r.do(cmd(OpUserDel, "x", "0", "1"))
	for i := range maxUsers {
		r.do(cmd(OpUserSet, fmt.Sprint("u", i), "on"))
	}
	r.expect("-ERR there are 1000 users already, the most there can be", cmd(OpUserSet, "one more", "on"))
	r.expect(fmt.Sprint(r.m.Applied().Index+1), cmd(OpUserSet, "u0", "off").with(-1))
	want := encode(t, r.m)
	r.moved()
	r.m.st.check(t)
	if !bytes.Equal(encode(t, r.m), want) {
		t.Error("restored users differ")
	}
}

// Who checks clients hears of every change at once, and of nothing else.
func TestOnUsersTellsEveryChange(t *testing.T) {
	r := newRig(t)
	var told []string
	r.m.OnUsers(func(list []User) {
		var s []string
		for _, u := range list {
			s = append(s, u.Name+":"+u.Rules)
		}
		told = append(told, strings.Join(s, " "))
	})
	r.do(cmd(OpUserSet, "al", "on"))
	r.do(cmd(OpSet, "k", "v"))
	r.do(cmd(OpUserSet, "al", "x").with(99))
	r.do(cmd(OpUserDel, "bo"))
	at, content := meta(r.m), encode(t, r.m)
	r.do(cmd(OpUserDel, "al"))
	if err := r.m.Restore(at, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told, "|"); got != "|al:on||al:on" {
		t.Errorf("told %q", got)
	}
}

// A snapshot has the users of its own moment, in parts of the size that was asked for.
func TestFrozenUsersStay(t *testing.T) {
	r := newRig(t)
	for i := range 20 {
		r.do(cmd(OpUserSet, fmt.Sprint(i), strings.Repeat("r", 100)))
	}
	want := encode(t, r.m)
	if err := r.m.Freeze(); err != nil {
		t.Fatal(err)
	}
	defer r.m.Thaw()
	var got []byte
	for n := 0; ; n++ {
		before := len(got)
		part, done, err := r.m.Step(got, 250)
		if err != nil {
			t.Fatal(err)
		}
		if got = part; done {
			break
		}
		if len(got)-before > 700 {
			t.Fatalf("part of %d bytes", len(got)-before)
		}
		r.do(cmd(OpUserSet, fmt.Sprint(n%20), "changed").with(-1))
		r.do(cmd(OpUserDel, fmt.Sprint(19-n%20)))
	}
	if !bytes.Equal(got, want) {
		t.Error("the view changed with the users")
	}
}
