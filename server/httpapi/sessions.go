package httpapi

import (
	"net/http"
	"strconv"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/statemachine"
)

// sessionDoc is a session: the id that Idempotency-Key begins with.
type sessionDoc struct {
	Session int64  `json:"session"`
	Last    *int64 `json:"last,omitempty"` // number of the newest write that ran
	Index   uint64 `json:"index,omitempty"`
}

// openSession opens one. An answer that is lost leaves one that expires.
func (x *exchange) openSession() *failure {
	if f := x.may("session|open"); f != nil {
		return f
	}
	res, index, f := x.run(node.Write, statemachine.Command{Op: statemachine.OpSessionOpen})
	if f != nil {
		return f
	}
	x.w.Header().Set("Location", "/v1/sessions/"+strconv.FormatInt(res.Int, 10))
	return x.tell(http.StatusCreated, sessionDoc{Session: res.Int, Index: uint64(index)})
}

// sessionInfo tells the number of the newest write that ran.
func (x *exchange) sessionInfo(id int64) *failure {
	if f := x.may("session|info"); f != nil {
		return f
	}
	res, index, f := x.read(statemachine.Command{Op: statemachine.OpSession, Num: id})
	if f != nil {
		return gone(f)
	}
	return x.tell(http.StatusOK, sessionDoc{Session: id, Last: &res.Int, Index: uint64(index)})
}

func (x *exchange) keepSession(id int64) *failure {
	return x.onSession("session|keepalive", statemachine.OpSessionKeep, id)
}

func (x *exchange) closeSession(id int64) *failure {
	return x.onSession("session|close", statemachine.OpSessionClose, id)
}

func (x *exchange) onSession(name string, op statemachine.Op, id int64) *failure {
	if f := x.may(name); f != nil {
		return f
	}
	_, index, f := x.run(node.Write, statemachine.Command{Op: op, Num: id})
	if f != nil {
		return gone(f)
	}
	return x.tell(http.StatusOK, sessionDoc{Session: id, Index: uint64(index)})
}

// gone makes a session that is not there a thing that is not found: it is the
// thing that was asked for, not a condition of a write.
func gone(f *failure) *failure {
	if f.code == "session_expired" {
		f.status, f.outcome = http.StatusNotFound, node.NotApplied
	}
	return f
}
