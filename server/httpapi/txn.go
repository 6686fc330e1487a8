package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/statemachine"
)

// maxTxnOps bounds the conditions and the operations of one transaction: each costs
// the applier time in which it does nothing else.
const maxTxnOps = 1024

// txnRequest is a transaction: if all conditions are met, all operations run at
// one moment, else none does.
type txnRequest struct {
	If txnList[txnCondition] `json:"if"`
	Do txnList[txnOp]        `json:"do"`
}

// txnList is a list that is read up to its limit alone: a short body can hold so many
// empty operations that they take a hundred times its memory.
type txnList[T any] []T

// UnmarshalJSON implements json.Unmarshaler. Null is an empty list.
func (l *txnList[T]) UnmarshalJSON(b []byte) error {
	*l = nil
	if string(b) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.New("if and do are lists")
	}
	for d.More() {
		if len(*l) == maxTxnOps {
			return fmt.Errorf("a transaction has more than %d operations or conditions", maxTxnOps)
		}
		var one T
		if err := d.Decode(&one); err != nil {
			return err
		}
		*l = append(*l, one)
	}
	return nil
}

// txnCondition demands that a key has a version, 0: that it is not there.
type txnCondition struct {
	Key       *string `json:"key"`
	KeyBase64 *string `json:"key_base64"`
	Version   *uint64 `json:"version"`
}

// txnOp is one operation: get, put, append, incr or delete.
type txnOp struct {
	Op          string  `json:"op"`
	Key         *string `json:"key"`
	KeyBase64   *string `json:"key_base64"`
	Value       *string `json:"value"`
	ValueBase64 *string `json:"value_base64"`
	Delta       *int64  `json:"delta"`
	TTL         string  `json:"ttl"`
}

// txnResult is what one operation answers. Error is its own: the others ran all the same, as in Redis.
type txnResult struct {
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Version     uint64  `json:"version,omitempty"`
	Length      *int64  `json:"length,omitempty"`
	Number      *int64  `json:"number,omitempty"`
	Deleted     *int64  `json:"deleted,omitempty"`
	Error       string  `json:"error,omitempty"`
}

// txnDone is the answer of a transaction that ran.
type txnDone struct {
	Index   uint64      `json:"index"`
	Results []txnResult `json:"results"`
}

// txn runs a transaction: one entry of the log, or one read if it only reads.
func (x *exchange) txn() *failure {
	for _, command := range []string{"multi", "exec"} {
		if f := x.may(command); f != nil {
			return f
		}
	}
	var in txnRequest
	if f := x.decode(&in, 2*x.CommandBytes); f != nil {
		return f
	}
	if len(in.Do) == 0 {
		return badRequest("no operation; there must be 1 to %d operations and at most as many conditions", maxTxnOps)
	}
	block := statemachine.Command{Op: statemachine.OpReadBlock, Num: int64(len(in.If))}
	size := 0
	for i, c := range in.If {
		key, given, f := bytesOf("key", c.Key, c.KeyBase64)
		if f == nil && (!given || c.Version == nil || int64(*c.Version) < 0) {
			f = badRequest("condition %d has no key or no version", i)
		}
		if f == nil {
			f = x.mayKey("watch", key, access.Read)
		}
		if f != nil {
			return f
		}
		size += len(key)
		block.Args = append(block.Args, key, statemachine.AppendToken(nil, int64(*c.Version)))
	}
	for i, op := range in.Do {
		cmd, f := x.txnOp(i, op)
		if f != nil {
			return f
		}
		if !cmd.Op.ReadOnly() {
			block.Op = statemachine.OpBlock
		}
		b := statemachine.AppendCommand(nil, cmd)
		size += len(b)
		block.Args = append(block.Args, b)
	}
	if size > x.CommandBytes {
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "transaction of %d bytes is above the limit of %d bytes (limits.command_bytes)", size, x.CommandBytes)
	}
	run := x.write
	if block.Op == statemachine.OpReadBlock {
		run = x.read
	}
	res, index, f := run(block)
	switch {
	case f != nil:
		return f
	case res.Kind == statemachine.ResultNil:
		return &failure{status: http.StatusConflict, code: "condition", text: "a condition is not met; nothing ran", outcome: node.NotApplied}
	}
	out := txnDone{Index: uint64(index), Results: make([]txnResult, len(res.Array))}
	for i, r := range res.Array {
		out.Results[i] = txnResultOf(in.Do[i].Op, r)
	}
	return x.tell(http.StatusOK, out)
}

// txnOp makes the command of one operation.
func (x *exchange) txnOp(i int, op txnOp) (cmd statemachine.Command, f *failure) {
	key, given, f := bytesOf("key", op.Key, op.KeyBase64)
	if f != nil {
		return cmd, f
	}
	if !given {
		return cmd, badRequest("operation %d has no key", i)
	}
	if f := x.keySize(key); f != nil {
		return cmd, f
	}
	value, valued, f := bytesOf("value", op.Value, op.ValueBase64)
	if f != nil {
		return cmd, f
	}
	if f := x.valueSize(value); f != nil {
		return cmd, f
	}
	cmd.Args = [][]byte{key}
	name, need, wantsValue := op.Op, access.Write, false
	switch op.Op {
	case "get":
		cmd.Op, need = statemachine.OpGetV, access.Read
	case "put":
		name, cmd.Op, wantsValue = "set", statemachine.OpSet, true
		if f := life(&cmd, op.TTL); f != nil {
			return cmd, f
		}
	case "append":
		cmd.Op, wantsValue = statemachine.OpAppend, true
	case "incr":
		name, cmd.Op, cmd.Num = "incrby", statemachine.OpIncrBy, 1
		if op.Delta != nil {
			cmd.Num = *op.Delta
		}
	case "delete":
		name, cmd.Op = "del", statemachine.OpDel
	default:
		return cmd, badRequest("operation %d: op %.40q is not get, put, append, incr or delete", i, op.Op)
	}
	switch {
	case wantsValue != valued:
		return cmd, badRequest("operation %d: put and append have a value, the others have none", i)
	case op.TTL != "" && op.Op != "put":
		return cmd, badRequest("operation %d: only put has a ttl", i)
	case op.Delta != nil && op.Op != "incr":
		return cmd, badRequest("operation %d: only incr has a delta", i)
	case valued:
		cmd.Args = append(cmd.Args, value)
	}
	return cmd, x.mayKey(name, key, need)
}

func txnResultOf(op string, r statemachine.Result) (out txnResult) {
	if r.Kind == statemachine.ResultError {
		out.Error = string(r.Bytes)
		return out
	}
	switch op {
	case "get":
		if r.Kind == statemachine.ResultArray && len(r.Array) == 2 {
			out.Value, out.ValueBase64 = text(r.Array[0].Bytes)
			out.Version = uint64(r.Array[1].Int)
		}
	case "append":
		out.Length = &r.Int
	case "incr":
		out.Number = &r.Int
	case "delete":
		out.Deleted = &r.Int
	}
	return out
}
