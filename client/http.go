package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/resp"
)

// httpSide is how this client reaches the HTTP side of nodes, which serves
// transactions and watches. The addresses are those of the members.
type httpSide struct {
	client http.Client

	mu    sync.Mutex
	nodes []string // host:port; empty: not asked yet
	at    int      // node to try next
}

// initHTTP makes connections to HTTP as the others are made.
func (c *Client) initHTTP() {
	c.http.client.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.DialTimeout, fmt.Errorf("no answer from %s within %v", addr, c.cfg.DialTimeout))
			defer cancel()
			return c.cfg.Dial(ctx, addr)
		},
		TLSClientConfig:     c.cfg.TLS,
		TLSHandshakeTimeout: c.cfg.DialTimeout,
		MaxIdleConnsPerHost: c.cfg.Sessions,
		DisableCompression:  true,
	}
	c.http.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
}

// httpNode is the node to ask next.
func (c *Client) httpNode(ctx context.Context) (string, error) {
	nodes, err := c.httpNodes(ctx)
	if err != nil {
		return "", err
	}
	c.http.mu.Lock()
	defer c.http.mu.Unlock()
	return nodes[c.http.at%len(nodes)], nil
}

// httpNodes are the addresses of all members' HTTP sides, never none. The slice is
// shared: it is not changed.
func (c *Client) httpNodes(ctx context.Context) ([]string, error) {
	h := &c.http
	h.mu.Lock()
	nodes := h.nodes
	h.mu.Unlock()
	if len(nodes) > 0 {
		return nodes, nil
	}
	ms, err := c.Members(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		if m.HTTP != "" {
			nodes = append(nodes, m.HTTP)
		}
	}
	if len(nodes) == 0 {
		return nil, errors.New("no member tells the address of its HTTP side")
	}
	h.mu.Lock()
	h.nodes = nodes
	h.mu.Unlock()
	return nodes, nil
}

// leaveHTTP makes the next attempt go to another node. Once all were tried, the
// members are asked for anew.
func (c *Client) leaveHTTP(node string) {
	h := &c.http
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.nodes) == 0 || h.nodes[h.at%len(h.nodes)] != node {
		return // somebody did already
	}
	if h.at++; h.at%len(h.nodes) == 0 {
		h.nodes = nil
	}
}

// newHTTP makes a request to a node.
func (c *Client) newHTTP(ctx context.Context, method, node, path string, body []byte) (*http.Request, error) {
	scheme := "http"
	if c.cfg.TLS != nil {
		scheme = "https"
	}
	r, err := http.NewRequestWithContext(ctx, method, scheme+"://"+node+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.cfg.User != "" || c.cfg.Password != "" {
		user := c.cfg.User
		if user == "" {
			user = "default"
		}
		r.SetBasicAuth(user, c.cfg.Password)
	}
	return r, nil
}

// httpAnswerBytes bounds an answer that is read whole.
const httpAnswerBytes = 512 << 20

// post sends a JSON document once, as the number once of a session if that is
// not empty. The reply is the body. An error answer comes as a *ReplyError in the words of the
// other protocol, so that all of this client judges it alike.
func (c *Client) post(ctx context.Context, path, once string, body []byte) (v resp.Value, sent bool, err error) {
	node, err := c.httpNode(ctx)
	if err != nil {
		return v, false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.AttemptTimeout, fmt.Errorf("no answer from %s in %v", node, c.cfg.AttemptTimeout))
	defer cancel()
	r, err := c.newHTTP(ctx, http.MethodPost, node, path, body)
	if err != nil {
		return v, false, err
	}
	r.Header.Set("Content-Type", "application/json")
	if once != "" {
		r.Header.Set("Idempotency-Key", once)
	}
	var connected atomic.Bool // before that nothing is sent
	r = r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}))
	answer, err := c.http.client.Do(r)
	if err != nil {
		c.leaveHTTP(node)
		return v, connected.Load(), err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, httpAnswerBytes))
	if err != nil {
		c.leaveHTTP(node)
		return v, true, fmt.Errorf("read from %s: %w", node, err)
	}
	if answer.StatusCode/100 == 2 {
		return resp.Value{Kind: resp.KindBulk, Bytes: b}, true, nil
	}
	e := replyOf(answer.StatusCode, b)
	if judge(e) == elsewhere {
		c.leaveHTTP(node)
	}
	return v, true, e
}

// statusText is in front of the status of an answer that isn't a node's.
const statusText = "ERR answered with HTTP status "

// replyOf turns an error of the HTTP side into the error that the Redis protocol would have carried.
func replyOf(status int, body []byte) *ReplyError {
	var doc struct {
		Error, Code, Outcome string
		Oldest               uint64
	}
	if json.Unmarshal(body, &doc) != nil || doc.Code == "" {
		if status >= 500 {
			return &ReplyError{"UNKNOWNOUTCOME answered with HTTP status " + strconv.Itoa(status)} // by something in between
		}
		return &ReplyError{statusText + strconv.Itoa(status)}
	}
	prefix := "ERR"
	switch doc.Code {
	case "no_leader", "not_ready", "shutting_down":
		prefix = "CLUSTERDOWN"
	case "busy":
		prefix = "BUSY"
	case "try_again", "timeout":
		prefix = "TRYAGAIN"
	case "unknown_outcome":
		prefix = "UNKNOWNOUTCOME"
	case "no_space":
		prefix = "NOSPACE"
	case "session_expired":
		prefix = "SESSIONEXPIRED"
	case "seq_old":
		prefix = "SEQOLD"
	case "seq_gap":
		prefix = "SEQGAP"
	case "seq_reused":
		prefix = "SEQREUSED"
	case "unauthorized":
		prefix = "WRONGPASS"
	case "no_permission":
		prefix = "NOPERM"
	case "condition":
		prefix = "CONDITION"
	}
	return &ReplyError{prefix + " " + doc.Error}
}
