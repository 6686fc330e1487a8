package transport

import (
	"reflect"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

func equalMessage(t testing.TB, got, want raft.Message) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("message is\n%+v, want\n%+v", got, want)
	}
}
