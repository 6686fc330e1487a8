package transport

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// notSent is how many unsent bytes the kernel takes before a writer waits. Few,
// so that an acknowledgement does not stand behind megabytes of appends.
const notSent = 256 << 10

// setSocketOptions bounds how long the kernel goes on without an
// acknowledgement, which is about 15 minutes otherwise (a pulled cable). Errors
// are left: the connection works without, and writes have a deadline of their own.
func setSocketOptions(nc net.Conn, userTimeout time.Duration) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
	})
}
