package tcpproxy

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
)

// echo answers every connection with what it gets.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	// Ends with the listener.
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			// Ends with its connection.
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return ln.Addr().String()
}

func relayed(t *testing.T) (*Proxy, net.Conn) {
	t.Helper()
	p, err := New("127.0.0.1:0", echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return p, c
}

// roundTrip sends size bytes and makes sure that they come back as they were.
func roundTrip(t *testing.T, c net.Conn, size int) time.Duration {
	t.Helper()
	want, got := make([]byte, size), make([]byte, size)
	for i := range want {
		want[i] = byte(i % 251)
	}
	from := time.Now()
	// Ends when all is sent; what is read below is what it sent.
	go func() { _, _ = c.Write(want) }()
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back changed", size)
	}
	return time.Since(from)
}

// A slow way is as slow as was asked, and loses and swaps nothing.
func TestSlow(t *testing.T) {
	p, c := relayed(t)
	roundTrip(t, c, 1<<20)
	if p.Moved() != 2<<20 {
		t.Errorf("%d bytes moved, want %d", p.Moved(), 2<<20)
	}
	p.Slow(20*time.Millisecond, 0)
	if took := roundTrip(t, c, 1<<20); took < 40*time.Millisecond {
		t.Errorf("there and back with 20 ms each way took %v", took)
	}
	p.Slow(0, 1<<20)
	other, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	done := make(chan struct{})
	from := time.Now()
	// Ends with its round trip; waited for below.
	go func() { defer close(done); roundTrip(t, other, 100<<10) }()
	roundTrip(t, c, 100<<10)
	<-done
	// Both share the line: 200 KiB a direction, at 1 MiB/s, but for what is before its end.
	if took := time.Since(from); took < 150*time.Millisecond {
		t.Errorf("200 KiB at 1 MiB/s took %v", took)
	}
}

// Whoever sends a file and closes has sent all of it, however slowly it is read.
func TestEndTakesNothingAway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	// Sends the file to everybody; ends with the listener.
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(file)
			c.Close()
		}
	}()
	p, err := New("127.0.0.1:0", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := 1; i <= 10; i++ {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, "all of it to be in the proxy, and in its sockets", func() bool { return p.Moved() == i*len(file) })
		got, err := io.ReadAll(c)
		c.Close()
		if err != nil || !bytes.Equal(got, file) {
			t.Errorf("%d of %d bytes came through, %v", len(got), len(file), err)
		}
	}
}
