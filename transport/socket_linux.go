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

// hungUp tells whether the other side has closed the connection and sent nothing
// before that which is still to be read. It doesn't block and takes nothing away.
func hungUp(nc net.Conn) bool {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		gone = n == 0 && err == nil || err == unix.ECONNRESET
	})
	return err != nil || gone // Control fails on a socket that this side has closed
}
