package httpapi

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/node"
	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/statemachine"
)

// item is a key with its value, as JSON.
type item struct {
	Key         *string `json:"key,omitempty"`
	KeyBase64   *string `json:"key_base64,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Version     uint64  `json:"version,omitempty"`
	Index       uint64  `json:"index,omitempty"`
}

func itemOf(key, value []byte, version uint64) item {
	it := item{Version: version}
	it.Key, it.KeyBase64 = text(key)
	it.Value, it.ValueBase64 = text(value)
	return it
}

// done is the answer of a write.
type done struct {
	Index   uint64 `json:"index"`
	Version uint64 `json:"version,omitempty"`
	Length  *int64 `json:"length,omitempty"`
	Value   *int64 `json:"value,omitempty"`
	Deleted *int64 `json:"deleted,omitempty"`
}

// wantsJSON tells whether the client asks for JSON rather than the bytes.
func (x *exchange) wantsJSON() bool {
	for _, v := range x.r.Header.Values("Accept") {
		for part := range strings.SplitSeq(v, ",") {
			switch t, _, _ := mime.ParseMediaType(part); t {
			case "application/json":
				return true
			case "application/octet-stream", "*/*":
				return false
			}
		}
	}
	return false
}

// get answers the value of a key.
func (x *exchange) get(key []byte) *failure {
	if f := x.mayKey("get", key, access.Read); f != nil {
		return f
	}
	known, any, conditional, f := x.match("If-None-Match")
	if f != nil {
		return f
	}
	res, index, f := x.read(statemachine.Command{Op: statemachine.OpGetV, Args: [][]byte{key}})
	if f != nil {
		return f
	}
	if res.Kind != statemachine.ResultArray || len(res.Array) != 2 {
		return notFound("key not found")
	}
	value, version := res.Array[0].Bytes, uint64(res.Array[1].Int)
	x.w.Header().Set("ETag", etag(version))
	if conditional && (any || version == known) {
		x.head()
		x.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if x.wantsJSON() {
		it := itemOf(key, value, version)
		it.Index = uint64(index)
		return x.tell(http.StatusOK, it)
	}
	x.head()
	x.w.Header().Set("Content-Type", "application/octet-stream")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(value)))
	x.w.WriteHeader(http.StatusOK)
	_, _ = x.w.Write(value) // the client may be gone; nobody is left to tell
	return nil
}

// put sets a key.
func (x *exchange) put(key []byte) *failure {
	cmd := statemachine.Command{Op: statemachine.OpSet}
	if f := life(&cmd, x.args.Get("ttl")); f != nil {
		return f
	}
	keep, f := x.flag("keepttl")
	if f != nil {
		return f
	}
	if keep {
		if cmd.Flags != 0 {
			return badRequest("ttl and keepttl exclude each other")
		}
		cmd.Flags |= statemachine.FlagKeepTTL
	}
	known, anyThere, match, f := x.match("If-Match")
	if f != nil {
		return f
	}
	_, noneThere, noneMatch, f := x.match("If-None-Match")
	if f != nil {
		return f
	}
	name := "set"
	switch {
	case match && noneMatch:
		return badRequest("If-Match and If-None-Match exclude each other")
	case noneMatch && !noneThere:
		return badRequest("a write takes If-None-Match: * alone")
	case noneMatch:
		cmd.Flags |= statemachine.FlagNX
	case anyThere:
		cmd.Flags |= statemachine.FlagXX
	case match:
		name, cmd.Op, cmd.Seq = "setv", statemachine.OpSetV, known
	}
	if f := x.mayKey(name, key, access.Write); f != nil {
		return f
	}
	value, f := x.body(x.ValueBytes)
	if f != nil {
		return f
	}
	cmd.Args = [][]byte{key, value}
	res, index, f := x.write(cmd)
	if f != nil {
		return f
	}
	out := done{Index: uint64(index)}
	switch {
	case res.Kind == statemachine.ResultNil:
		return x.notMet()
	case res.Kind == statemachine.ResultInt:
		out.Version = uint64(res.Int)
	case !x.repeatable():
		out.Version = uint64(index)
	}
	if out.Version != 0 {
		x.w.Header().Set("ETag", etag(out.Version))
	}
	return x.tell(http.StatusOK, out)
}

// notMet answers a condition of a header that was not met: nothing was changed.
func (x *exchange) notMet() *failure {
	return refuse(http.StatusPreconditionFailed, "condition", "the key is not as If-Match or If-None-Match demands; nothing was changed")
}

// delete removes a key.
func (x *exchange) delete(key []byte) *failure {
	known, any, match, f := x.match("If-Match")
	if f != nil {
		return f
	}
	cmd := statemachine.Command{Op: statemachine.OpDel, Args: [][]byte{key}}
	if match && !any {
		cmd.Op, cmd.Seq = statemachine.OpDelV, known
	}
	if f := x.mayKey("del", key, access.Write); f != nil {
		return f
	}
	res, index, f := x.write(cmd)
	switch {
	case f != nil:
		return f
	case res.Int == 0 && match:
		return x.notMet()
	case res.Int == 0:
		return notFound("key not found; nothing was deleted")
	}
	return x.tell(http.StatusOK, done{Index: uint64(index), Deleted: &res.Int})
}

// append adds the body to the end of the value.
func (x *exchange) append(key []byte) *failure {
	if f := x.mayKey("append", key, access.Write); f != nil {
		return f
	}
	value, f := x.body(x.ValueBytes)
	if f != nil {
		return f
	}
	res, index, f := x.write(statemachine.Command{Op: statemachine.OpAppend, Args: [][]byte{key, value}})
	if f != nil {
		return f
	}
	return x.tell(http.StatusOK, done{Index: uint64(index), Length: &res.Int})
}

// incr adds to a number.
func (x *exchange) incr(key []byte) *failure {
	if f := x.mayKey("incrby", key, access.Write); f != nil {
		return f
	}
	delta := int64(1)
	if v := x.args.Get("delta"); v != "" {
		var err error
		if delta, err = strconv.ParseInt(v, 10, 64); err != nil {
			return badRequest("delta %.40q is not an integer of 64 bits", v)
		}
	}
	res, index, f := x.write(statemachine.Command{Op: statemachine.OpIncrBy, Num: delta, Args: [][]byte{key}})
	if f != nil {
		return f
	}
	return x.tell(http.StatusOK, done{Index: uint64(index), Value: &res.Int})
}

// casRequest is the body of a compare and swap. Without an expected value or
// version the key must not be there.
type casRequest struct {
	Expect       *string `json:"expect"`
	ExpectBase64 *string `json:"expect_base64"`
	Version      *uint64 `json:"version"`
	Value        *string `json:"value"`
	ValueBase64  *string `json:"value_base64"`
	TTL          string  `json:"ttl"`
}

// cas sets a key if it holds what is expected.
func (x *exchange) cas(key []byte) *failure {
	var in casRequest
	if f := x.decode(&in, 2*x.CommandBytes); f != nil {
		return f
	}
	expect, byValue, f := bytesOf("expect", in.Expect, in.ExpectBase64)
	if f != nil {
		return f
	}
	value, given, f := bytesOf("value", in.Value, in.ValueBase64)
	if f != nil {
		return f
	}
	cmd := statemachine.Command{Op: statemachine.OpSet, Args: [][]byte{key, value}}
	name := "set"
	switch {
	case !given:
		return badRequest("value is missing")
	case byValue && in.Version != nil:
		return badRequest("expect and version exclude each other")
	case byValue:
		cmd.Flags |= statemachine.FlagEq
		cmd.Args = append(cmd.Args, expect)
	case in.Version != nil && *in.Version != 0:
		name, cmd.Op, cmd.Seq = "setv", statemachine.OpSetV, *in.Version
	default:
		cmd.Flags |= statemachine.FlagNX
	}
	if f := life(&cmd, in.TTL); f != nil {
		return f
	}
	if f := x.mayKey(name, key, access.Write); f != nil {
		return f
	}
	if f := x.valueSize(value); f != nil {
		return f
	}
	res, index, f := x.write(cmd)
	switch {
	case f != nil:
		return f
	case res.Kind == statemachine.ResultNil:
		return &failure{status: http.StatusConflict, code: "condition", text: "the key does not hold what was expected; nothing was changed", outcome: node.NotApplied}
	}
	out := done{Index: uint64(index)}
	if !x.repeatable() {
		out.Version = uint64(index)
		x.w.Header().Set("ETag", etag(out.Version))
	}
	return x.tell(http.StatusOK, out)
}
