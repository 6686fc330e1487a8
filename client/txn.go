package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/raftkv/raftkv/resp"
)

// Txn gathers operations that run at one moment, all or none: Commit sends them as
// one entry of the log. It is made with Client.Txn and used by one goroutine.
//
//	_, err := c.Txn().IfVersion("from", v).Incr("from", -5).Incr("to", 5).Commit(ctx)
type Txn struct {
	c    *Client
	body txnBody
}

type txnBody struct {
	If []txnCondition `json:"if,omitempty"`
	Do []txnOp        `json:"do"`
}

type txnCondition struct {
	txnBytes
	Version uint64 `json:"version"`
}

type txnOp struct {
	Op string `json:"op"`
	txnBytes
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Delta       *int64  `json:"delta,omitempty"`
	TTL         string  `json:"ttl,omitempty"`
}

// txnBytes is a key in one of its two forms: JSON holds text only.
type txnBytes struct {
	Key       *string `json:"key,omitempty"`
	KeyBase64 *string `json:"key_base64,omitempty"`
}

func textOrBase64(s string) (plain, encoded *string) {
	if utf8.ValidString(s) {
		return &s, nil
	}
	b := base64.StdEncoding.EncodeToString([]byte(s))
	return nil, &b
}

func txnKey(key string) (k txnBytes) {
	k.Key, k.KeyBase64 = textOrBase64(key)
	return k
}

// Txn begins a transaction. Nothing is sent before Commit.
func (c *Client) Txn() *Txn { return &Txn{c: c} }

// IfVersion demands that a key has this version, as Versioned or a change tells it.
func (t *Txn) IfVersion(key string, version uint64) *Txn {
	t.body.If = append(t.body.If, txnCondition{txnKey(key), version})
	return t
}

// IfMissing demands that a key is not there.
func (t *Txn) IfMissing(key string) *Txn { return t.IfVersion(key, 0) }

func (t *Txn) op(o txnOp) *Txn {
	t.body.Do = append(t.body.Do, o)
	return t
}

// Get reads a key, as the operations before it have left it.
func (t *Txn) Get(key string) *Txn { return t.op(txnOp{Op: "get", txnBytes: txnKey(key)}) }

// Put sets a key. A ttl above zero lets it live so long.
func (t *Txn) Put(key string, value []byte, ttl time.Duration) *Txn {
	o := txnOp{Op: "put", txnBytes: txnKey(key)}
	o.Value, o.ValueBase64 = textOrBase64(string(value))
	if ttl != 0 {
		o.TTL = ttl.String()
	}
	return t.op(o)
}

// Append appends to a key.
func (t *Txn) Append(key string, value []byte) *Txn {
	o := txnOp{Op: "append", txnBytes: txnKey(key)}
	o.Value, o.ValueBase64 = textOrBase64(string(value))
	return t.op(o)
}

// Incr adds to the number at a key.
func (t *Txn) Incr(key string, delta int64) *Txn {
	return t.op(txnOp{Op: "incr", txnBytes: txnKey(key), Delta: &delta})
}

// Delete deletes a key.
func (t *Txn) Delete(key string) *Txn { return t.op(txnOp{Op: "delete", txnBytes: txnKey(key)}) }

// TxnResult is what one operation of a transaction answers.
type TxnResult struct {
	Value   []byte // of Get; nil: the key is not there
	Version uint64 // of Get
	Number  int64  // of Incr the sum, of Append the length, of Delete how many
	Err     error  // of this operation alone, *ReplyError; the others stand
}

// Commit runs the transaction, exactly once, and answers a result for each
// operation in order. If a condition is not met, nothing ran: ErrCondition. An
// operation that can't be done (an increment of a text) has an error of its own; the
// others stand, as in Redis. Errors are of the kinds that every write has.
func (t *Txn) Commit(ctx context.Context) ([]TxnResult, error) {
	const op = "transaction"
	body, err := json.Marshal(t.body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	reads := true
	for _, o := range t.body.Do {
		reads = reads && o.Op == "get"
	}
	var v resp.Value
	if reads {
		v, err = t.c.readWith(ctx, op, func(ctx context.Context) (resp.Value, *link, error) {
			v, _, err := t.c.post(ctx, "/v1/txn", "", body)
			return v, nil, err
		})
	} else {
		v, err = t.c.writeWith(ctx, op, func(ctx context.Context, s *session, seq uint64) (resp.Value, bool, *link, error) {
			v, sent, err := t.c.post(ctx, "/v1/txn", fmt.Sprintf("%d:%d", s.id, seq), body)
			return v, sent, nil, err
		})
	}
	if e, ok := errors.AsType[*ReplyError](err); ok && e.Code() == "CONDITION" {
		return nil, fmt.Errorf("%s: %w", op, ErrCondition)
	}
	if err != nil {
		return nil, err
	}
	var doc struct {
		Results []struct {
			Value       *string `json:"value"`
			ValueBase64 []byte  `json:"value_base64"`
			Version     uint64  `json:"version"`
			Length      int64   `json:"length"`
			Number      int64   `json:"number"`
			Deleted     int64   `json:"deleted"`
			Error       string  `json:"error"`
		} `json:"results"`
	}
	if err := json.Unmarshal(v.Bytes, &doc); err != nil || len(doc.Results) != len(t.body.Do) {
		return nil, fmt.Errorf("%s: it ran, and the answer can't be read: %.100q", op, v.Bytes)
	}
	out := make([]TxnResult, len(doc.Results))
	for i, r := range doc.Results {
		o := TxnResult{Value: r.ValueBase64, Version: r.Version, Number: r.Length + r.Number + r.Deleted} // one of them
		if r.Value != nil {
			o.Value = []byte(*r.Value)
		}
		if r.Error != "" {
			o.Err = &ReplyError{r.Error}
		}
		out[i] = o
	}
	return out, nil
}
