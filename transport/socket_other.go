//go:build !linux

package transport

import (
	"net"
	"time"
)

// setSocketOptions does nothing here: keepalive and write deadlines must do.
func setSocketOptions(net.Conn, time.Duration) {}
