package selftest

import "github.com/raftkv/raftkv/internal/tcpproxy"

// Fronts puts a proxy before each node's client side, so that replies can be
// lost after the request was carried out.
type Fronts struct{ proxies []*tcpproxy.Proxy }

// NewFronts makes the proxies. Close ends them.
func NewFronts(c *Cluster) (*Fronts, error) {
	f := &Fronts{}
	for _, n := range c.Nodes {
		p, err := tcpproxy.New(c.Host+":0", n.Client)
		if err != nil {
			f.Close()
			return nil, err
		}
		f.proxies = append(f.proxies, p)
	}
	return f, nil
}

// Endpoints is where clients connect.
func (f *Fronts) Endpoints() []string {
	var out []string
	for _, p := range f.proxies {
		out = append(out, p.Addr())
	}
	return out
}

// Lose lets lost decide, for each piece of a reply, whether its connection is
// reset instead. Nil ends that. lost must be safe for several goroutines.
func (f *Fronts) Lose(lost func() bool) {
	for _, p := range f.proxies {
		p.Bite(lost)
	}
}

// Lost is how many replies were lost so far.
func (f *Fronts) Lost() int {
	sum := 0
	for _, p := range f.proxies {
		sum += p.Bitten()
	}
	return sum
}

// Close ends everything.
func (f *Fronts) Close() {
	for _, p := range f.proxies {
		p.Close()
	}
}
