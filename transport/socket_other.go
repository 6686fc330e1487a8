//go:build !linux

package transport

import (
	"net"
	"time"
)

// setSocketOptions does nothing here: keepalive and write deadlines must do.
func setSocketOptions(net.Conn, time.Duration) {}

// hungUp is not known here: a connection that is over shows at its first read.
func hungUp(net.Conn) bool { return false }
