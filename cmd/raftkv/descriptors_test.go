package main

import "testing"

// Whatever the limit of open files is, clients leave some to the node.
func TestClientsLeaveDescriptors(t *testing.T) {
	for _, tc := range []struct {
		limit                  uint64
		clients, connections   int
		wantClients, wantHTTPs int
	}{
		{1 << 63, 10_000, 10_000, 10_000, 10_000},
		{65_536, 10_000, 10_000, 10_000, 10_000},
		{20_256, 10_000, 10_000, 10_000, 10_000},
		{20_255, 10_000, 10_000, 10_000, 4999},
		{4096, 10_000, 10_000, 2880, 960},
		{1024, 700, 10, 700, 10},
		{1024, 10_000, 10, 758, 10},
		{1024, 10, 10_000, 10, 192},
		{256, 10_000, 10_000, 96, 32},
		{1, 10_000, 10_000, 1, 1},
	} {
		clients, connections := shareDescriptors(tc.limit, tc.clients, tc.connections)
		if clients != tc.wantClients || connections != tc.wantHTTPs {
			t.Errorf("%d open files: %d clients, %d over HTTP; want %d, %d", tc.limit, clients, connections, tc.wantClients, tc.wantHTTPs)
		}
	}
}
