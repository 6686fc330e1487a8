package load

import (
	"context"
	"errors"
	"io"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Probe does one write (or one linearizable read) on one node within a deadline.
type Probe struct {
	proto, addr string
	rc          *respConn
	ec          *clientv3.Client
}

// NewProbe makes a probe of a node; it connects when first used.
func NewProbe(proto, addr string) *Probe { return &Probe{proto: proto, addr: addr} }

// Do runs a SET (or GET where read) within to.
func (p *Probe) Do(read bool, key, val string, to time.Duration) error {
	if p.proto == "etcd" {
		if p.ec == nil {
			c, err := DialEtcd(p.addr)
			if err != nil {
				return err
			}
			p.ec = c
		}
		ctx, cancel := context.WithTimeout(context.Background(), to)
		defer cancel()
		if read {
			r, err := p.ec.Get(ctx, key)
			if err == nil && r.Count == 0 {
				return io.EOF
			}
			return err
		}
		_, err := p.ec.Put(ctx, key, val)
		return err
	}
	if p.rc == nil {
		c, err := DialRESP(p.addr, "", to)
		if err != nil {
			return err
		}
		p.rc = c
	}
	p.rc.c.SetDeadline(time.Now().Add(to))
	k := Set
	if read {
		k = Get
	}
	err := p.rc.batch(1, []Kind{k}, [][]byte{[]byte(key)}, [][]byte{[]byte(val)})
	var re respError
	if err != nil && !errors.As(err, &re) {
		p.rc.close()
		p.rc = nil
	}
	return err
}

// Close ends the probe.
func (p *Probe) Close() {
	if p.rc != nil {
		p.rc.close()
	}
	if p.ec != nil {
		p.ec.Close()
	}
}

// Leader finds the index of the node that leads: etcd is asked; a RESP node leads where ROLE, if it knows that
// command, says master, and a write succeeds.
func Leader(proto string, addrs []string, to time.Duration) int {
	end := time.Now().Add(to)
	for time.Now().Before(end) {
		for i, a := range addrs {
			if proto == "etcd" {
				c, err := DialEtcd(a)
				if err != nil {
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				s, err := c.Status(ctx, a)
				cancel()
				c.Close()
				if err == nil && s.Leader != 0 && s.Leader == s.Header.MemberId {
					return i
				}
				continue
			}
			if !leads(a) {
				continue
			}
			p := NewProbe(proto, a)
			err := p.Do(false, "probe", "x", time.Second)
			p.Close()
			if err == nil {
				return i
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return -1
}
