package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// table prints the quietest repetition of every run.
func table() string {
	type key struct {
		t     string
		c, d  int
		s     string
		order int
	}
	var ks []key
	m := map[key][]rec{}
	for _, r := range recs {
		k := key{r.Test, r.Clients, r.Depth, r.System, 0}
		if m[k] == nil {
			ks = append(ks, k)
		}
		m[k] = append(m[k], r)
	}
	slices.SortStableFunc(ks, func(a, b key) int {
		if a.t != b.t {
			return strings.Compare(b.t, a.t)
		}
		if a.d != b.d {
			return max(a.d, 1) - max(b.d, 1)
		}
		return a.c - b.c
	})
	var b strings.Builder
	b.WriteString("| test | clients | depth | system | op/s | p50 ms | p99 ms | p99.9 ms | server CPU s/kop | client CPU s/kop | disk KiB/op | errors | noise cores |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	ms := func(d time.Duration) string { return fmt.Sprintf("%.3f", float64(d.Microseconds())/1000) }
	for _, k := range ks {
		v := m[k]
		// the quietest repetition, not the fastest
		r := slices.MinFunc(v, func(a, b rec) int { return int(1000 * (a.Noise - b.Noise)) })
		if *together {
			slices.SortFunc(v, func(a, b rec) int { return int(a.Rate - b.Rate) })
			r = v[len(v)/2]
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %s | %.0f | %s | %s | %s | %.3f | %.3f | %.2f | %d | %.2f |\n", r.Test, r.Clients, max(r.Depth, 1), r.System, r.Rate, ms(r.P50), ms(r.P99), ms(r.P999), r.ServerCPU, r.ClientCPU, r.Sectors, r.Errs, r.Noise)
	}
	return b.String()
}
