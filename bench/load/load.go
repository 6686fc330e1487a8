// Package load is the one closed-loop load generator every system is measured with.
package load

import (
	"errors"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Kind is an operation's kind.
type Kind byte

const (
	Set Kind = iota
	Get
	StaleGet
	Append
)

// Config is one run.
type Config struct {
	Proto    string   // "resp" or "etcd"
	Addrs    []string // client addresses, the leader first
	Clients  int
	Depth    int // requests in flight on a connection (RESP pipelining)
	MaxConns int // share this many connections (0: one a client); etcd only
	Keys     int
	ValueLen int
	ReadPct  int
	Stale    bool // reads are stale, spread over all addresses
	StaleCmd string
	Append   bool
	Seq      bool // write each key once, in order, then stop
	Warm     time.Duration
	Dur      time.Duration
	PIDs     []int
}

// Result is what one run measured.
type Result struct {
	Ops, Errs    int64
	Elapsed      time.Duration
	Rate         float64
	P50, P99     time.Duration
	P999, Max    time.Duration
	ServerCPU    float64 // CPU seconds of all server processes per 1000 operations
	ClientCPU    float64
	WriteBytes   float64 // bytes the servers wrote per operation
	CtxSwitches  float64 // voluntary context switches of the servers per operation
	FirstError   string
	ServerCPUSec float64
}

type conn interface {
	// batch runs n operations, in one round trip if the protocol pipelines.
	batch(n int, k []Kind, keys, vals [][]byte) error
	close()
}

func fmtKey(b []byte, n uint64) {
	b[0] = 'k'
	for i := len(b) - 1; i > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

// Run drives one closed-loop run.
func Run(c Config) (Result, error) {
	if c.Depth < 1 {
		c.Depth = 1
	}
	// Values are windows of a random pool, wide enough that a batch does not compress.
	const window = 1 << 20
	pool := make([]byte, c.ValueLen+window)
	rand.Read(pool)
	dial := func(i int, shared []*clientv3.Client) (conn, error) {
		addr := c.Addrs[0]
		if c.Stale {
			addr = c.Addrs[i%len(c.Addrs)]
		}
		if c.Proto == "etcd" {
			if shared != nil {
				return &etcdConn{c: shared[i%len(shared)]}, nil
			}
			cl, err := DialEtcd(addr)
			if err != nil {
				return nil, err
			}
			return &etcdConn{c: cl, own: true}, nil
		}
		return DialRESP(addr, c.StaleCmd, 5*time.Second)
	}
	var shared []*clientv3.Client
	if c.Proto == "etcd" && c.MaxConns > 0 && c.Clients > c.MaxConns {
		for i := 0; i < c.MaxConns; i++ {
			addr := c.Addrs[0]
			if c.Stale {
				addr = c.Addrs[i%len(c.Addrs)]
			}
			cl, err := DialEtcd(addr)
			if err != nil {
				return Result{}, err
			}
			defer cl.Close()
			shared = append(shared, cl)
		}
	}
	conns := make([]conn, c.Clients)
	for i := range conns {
		var err error
		if conns[i], err = dial(i, shared); err != nil {
			return Result{}, err
		}
	}
	defer func() {
		for _, cn := range conns {
			cn.close()
		}
	}()
	lats := make([][]uint32, c.Clients)
	var errs, seq atomic.Int64
	var firstErr atomic.Value
	var wg sync.WaitGroup
	t0 := time.Now()
	from, to := t0.Add(c.Warm), t0.Add(c.Warm+c.Dur)
	if c.Seq {
		from, to = t0, t0.Add(24*time.Hour)
	}
	for i := range conns {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			cn := conns[i]
			x := uint64(i)*0x9E3779B97F4A7C15 + 0x1234567
			rnd := func() uint64 {
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
				return x
			}
			keys, vals, kinds := make([][]byte, c.Depth), make([][]byte, c.Depth), make([]Kind, c.Depth)
			for j := range keys {
				keys[j] = make([]byte, 16)
			}
			lat := make([]uint32, 0, 4096)
			for {
				n := c.Depth
				if c.Seq {
					b := seq.Add(int64(n)) - int64(n)
					if b >= int64(c.Keys) {
						break
					}
					n = min(n, c.Keys-int(b))
					for j := 0; j < n; j++ {
						fmtKey(keys[j], uint64(b)+uint64(j))
						kinds[j] = Set
					}
				} else {
					for j := 0; j < n; j++ {
						fmtKey(keys[j], rnd()%uint64(c.Keys))
						kinds[j] = Set
						if c.Append {
							kinds[j] = Append
						}
						if c.ReadPct > 0 && int(rnd()%100) < c.ReadPct {
							kinds[j] = Get
							if c.Stale {
								kinds[j] = StaleGet
							}
						}
					}
				}
				for j := 0; j < n; j++ {
					o := int(rnd() % window)
					vals[j] = pool[o : o+c.ValueLen]
				}
				t := time.Now()
				err := cn.batch(n, kinds, keys, vals)
				e := time.Now()
				if err != nil {
					errs.Add(int64(n))
					firstErr.CompareAndSwap(nil, err.Error())
					if e.After(to) {
						break
					}
					time.Sleep(5 * time.Millisecond)
					var re respError
					if !errors.As(err, &re) && c.Proto == "resp" {
						cn.close()
						if nc, err := dial(i, shared); err == nil {
							cn = nc
							conns[i] = nc
						}
					}
					continue
				}
				if e.After(to) {
					break
				}
				if e.After(from) {
					l := uint32(e.Sub(t) / 100)
					for j := 0; j < n; j++ {
						lat = append(lat, l)
					}
				}
			}
			lats[i] = lat
		}(i)
	}
	time.Sleep(time.Until(from))
	c0, w0, s0, st := CPUSeconds(c.PIDs), WrittenBytes(c.PIDs), selfCPU(), time.Now()
	var c1, s1 float64
	var w1 int64
	if !c.Seq {
		time.Sleep(time.Until(to))
		c1, w1, s1 = CPUSeconds(c.PIDs), WrittenBytes(c.PIDs), selfCPU()
	}
	el := time.Since(st)
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	if c.Seq {
		<-done
		el = time.Since(st)
		c1, w1, s1 = CPUSeconds(c.PIDs), WrittenBytes(c.PIDs), selfCPU()
	} else {
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			return Result{}, errors.New("clients did not stop within 30 s of the end")
		}
	}
	h := hdrhistogram.New(1, 6e9, 3)
	for _, l := range lats {
		for _, v := range l {
			h.RecordValue(int64(max(v, 1)))
		}
	}
	q := func(p float64) time.Duration { return time.Duration(h.ValueAtQuantile(p)) * 100 }
	n := h.TotalCount()
	r := Result{Ops: n, Errs: errs.Load(), Elapsed: el, Rate: float64(n) / el.Seconds(), P50: q(50), P99: q(99), P999: q(99.9), Max: time.Duration(h.Max()) * 100}
	if e, ok := firstErr.Load().(string); ok {
		r.FirstError = e
	}
	if n > 0 {
		r.ServerCPU = (c1 - c0) / float64(n) * 1000
		r.ClientCPU = (s1 - s0) / float64(n) * 1000
		r.WriteBytes = float64(w1-w0) / float64(n)
	}
	r.ServerCPUSec = c1 - c0
	return r, nil
}
