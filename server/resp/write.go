package resp

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/raftkv/raftkv/node"
	wire "github.com/raftkv/raftkv/resp"
	"github.com/raftkv/raftkv/statemachine"
)

const (
	writeChunk = 64 << 10 // of replies gathered before they are sent
	bulkDirect = 16 << 10 // a longer value is sent from where it is
)

// desk is the room in which a writer works. One that waits has none: most
// connections do so most of the time, and it is more than all the rest that they take.
type desk struct {
	w   wire.Writer // nothing is in it while nobody has the desk
	out [64]slot
}

var desks = sync.Pool{New: func() any { return new(desk) }}

// write sends replies in the order of their slots until the reader has ended and
// all are sent, or the client takes none. It flushes once a wake-up.
func (c *conn) write() {
	for {
		d := desks.Get().(*desk)
		more, ok := c.writeReady(d)
		if !more {
			*d = desk{} // what stopped us may have left something
		}
		desks.Put(d)
		if !ok {
			c.kill()
		}
		if !more {
			return
		}
		select {
		case <-c.ring.wake:
		case <-c.ctx.Done():
			return
		}
	}
}

// writeReady sends what may be sent now. more: there will be something again. Not
// ok: the client takes nothing.
func (c *conn) writeReady(d *desk) (more, ok bool) {
	w, out := &d.w, &d.out
	for {
		n, pushes, more := c.ring.take(out[:])
		for i := range pushes {
			if w.Raw(pushes[i].b); w.Len() >= writeChunk && !c.send(w) {
				return false, false
			}
		}
		for i := range out[:n] {
			s := &out[i]
			w.Proto = int(s.proto)
			if s.slow != nil {
				c.srv.slowlog.end(s.slow)
			}
			if !c.tell(w, s) || w.Len() >= writeChunk && !c.send(w) {
				return false, false
			}
			last := s.last
			*s = slot{}
			if last {
				c.send(w)
				return false, true // the reader has ended, too
			}
		}
		if n == 0 && len(pushes) == 0 {
			ok := c.send(w)
			return more && ok, ok
		}
	}
}

// tell writes the reply of a slot. It returns false if the client is gone.
func (c *conn) tell(w *wire.Writer, s *slot) bool {
	if s.mute {
		return true
	}
	if s.local != nil {
		w.Raw(s.local)
		return true
	}
	if s.reply.Outcome != node.Applied {
		if s.cmd.name == "info" && s.cmd.parent == nil {
			s.cmd.tell(c.srv, w, statemachine.Result{Kind: statemachine.ResultNil}, s)
			return true
		}
		w.Error(outcomeText(s.reply.Outcome, s.reply.Err, s.read))
		return true
	}
	res, err := statemachine.DecodeResult(s.reply.Result)
	switch {
	case err != nil:
		w.Error("ERR node answered what can't be read: " + err.Error())
	case res.Kind == statemachine.ResultBytes && len(res.Bytes) > bulkDirect && s.cmd.tell == nil:
		w.BulkHead(len(res.Bytes))
		if !c.send(w) || !c.sendBytes(res.Bytes) {
			return false
		}
		w.BulkEnd()
	default:
		tellOne(c.srv, w, s.cmd, res, s)
	}
	return true
}

// tellOne writes the result of one command.
func tellOne(srv *Server, w *wire.Writer, cmd *command, res statemachine.Result, s *slot) {
	switch {
	case res.Kind == statemachine.ResultError:
		// The state machine has one operation for many commands.
		if text, named := bytes.CutPrefix(res.Bytes, []byte(errExpireIn)); named {
			_, text, _ = bytes.Cut(text, []byte("'"))
			w.Error(errExpireIn + cmd.fullName() + "'" + string(text))
			return
		}
		w.Error(string(res.Bytes))
	case cmd.tell != nil:
		cmd.tell(srv, w, res, s)
	default:
		tellResult(w, res)
	}
}

// errExpireIn is what the error of a wrong deadline starts with; the name of the command follows.
const errExpireIn = "ERR invalid expire time in '"

// tellResult writes a result as it is.
func tellResult(w *wire.Writer, r statemachine.Result) {
	switch r.Kind {
	case statemachine.ResultNil:
		w.Null()
	case statemachine.ResultOK:
		w.Status("OK")
	case statemachine.ResultInt:
		w.Int(r.Int)
	case statemachine.ResultBytes:
		w.Bulk(r.Bytes)
	case statemachine.ResultArray:
		w.Array(len(r.Array))
		for _, e := range r.Array {
			tellResult(w, e)
		}
	case statemachine.ResultStatus:
		w.Status(string(r.Bytes))
	default:
		w.Error(string(r.Bytes))
	}
}

func (c *conn) send(w *wire.Writer) bool {
	ok := w.Len() == 0 || c.sendBytes(w.Bytes())
	w.Reset(2 * writeChunk)
	return ok
}

// sendBytes writes b. It gives up when the client takes no byte for WriteTimeout.
func (c *conn) sendBytes(b []byte) bool {
	for len(b) > 0 {
		c.nc.SetWriteDeadline(time.Now().Add(c.srv.cfg.WriteTimeout))
		n, err := c.nc.Write(b[:min(len(b), writeChunk)])
		b = b[n:]
		if err == nil || n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.srv.stats.slow.Add(1)
			c.srv.cfg.Log.Warn("client takes no replies; connection closed", "remote", c.nc.RemoteAddr().String(), "after", c.srv.cfg.WriteTimeout)
		}
		return false
	}
	return true
}
