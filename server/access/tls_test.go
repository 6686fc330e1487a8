package access

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testcert"
)

// shake does one handshake and tells the serial number of the server's certificate.
func shake(t *testing.T, server *tls.Config, client *tls.Config) (*big.Int, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ended := make(chan error, 1)
	// Ends with the one connection that it takes.
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			ended <- err
			return
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(time.Minute))
		c := tls.Server(nc, server)
		if err = c.Handshake(); err == nil {
			_, err = c.Write([]byte("x"))
		}
		ended <- err
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	c := tls.Client(nc, client)
	_, err = c.Read(make([]byte, 1)) // with TLS 1.3 a refused certificate shows here
	if serverErr := <-ended; err == nil {
		err = serverErr
	}
	if err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber, nil
}

func clientTLS(t *testing.T, ca *testcert.Authority, f *testcert.Files) *tls.Config {
	t.Helper()
	pool, err := ReadCA(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	if f != nil {
		cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c
}

func TestClientCertificates(t *testing.T) {
	ca, other := testcert.New(t, "ca"), testcert.New(t, "other")
	dir := t.TempDir()
	server, good, bad := ca.Issue(t, dir, "n1", 2), ca.Issue(t, dir, "client", 3), other.Issue(t, dir, "stranger", 4)
	for _, tc := range []struct {
		name    string
		files   TLSFiles
		client  *testcert.Files
		refused bool
	}{
		{"nobody is asked", TLSFiles{}, nil, false},
		{"one that nobody asked for", TLSFiles{}, &bad, false},
		{"none of an optional one", TLSFiles{CA: ca.File}, nil, false},
		{"an optional one", TLSFiles{CA: ca.File}, &good, false},
		{"a required one", TLSFiles{CA: ca.File, Require: true}, &good, false},
		{"none of a required one", TLSFiles{CA: ca.File, Require: true}, nil, true},
		{"a stranger's", TLSFiles{CA: ca.File, Require: true}, &bad, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.files.Cert, tc.files.Key = server.Cert, server.Key
			c, err := ServerTLS(tc.files, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := shake(t, c, clientTLS(t, ca, tc.client)); (err != nil) != tc.refused {
				t.Errorf("handshake: %v", err)
			}
		})
	}
	c, err := ServerTLS(TLSFiles{Cert: server.Cert, Key: server.Key}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	old := clientTLS(t, ca, nil)
	old.MaxVersion = tls.VersionTLS11
	old.MinVersion = tls.VersionTLS10
	if _, err := shake(t, c, old); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	old.MaxVersion = tls.VersionTLS12
	if _, err := shake(t, c, old); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
}

// A certificate is renewed without a restart, and a bad renewal takes nobody down.
func TestFilesAreReadAgain(t *testing.T) {
	ca := testcert.New(t, "ca")
	dir := t.TempDir()
	files := ca.Issue(t, dir, "n1", 2)
	var lines bytes.Buffer
	c, err := ServerTLS(TLSFiles{Cert: files.Cert, Key: files.Key}, slog.New(slog.NewTextHandler(&lines, nil)))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want int64) {
		t.Helper()
		got, err := shake(t, c, clientTLS(t, ca, nil))
		if err != nil || got.Int64() != want {
			t.Fatalf("certificate %v, %v; want %d", got, err, want)
		}
	}
	changed := time.Now()
	touch := func() {
		changed = changed.Add(time.Hour) // clocks of file systems are coarse
		for _, f := range []string{files.Cert, files.Key} {
			if err := os.Chtimes(f, changed, changed); err != nil {
				t.Fatal(err)
			}
		}
	}
	expect(2)
	ca.Issue(t, dir, "n1", 3)
	touch()
	expect(3)
	if err := os.WriteFile(files.Cert, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch()
	expect(3)
	expect(3)
	if n := strings.Count(lines.String(), "not read again"); n != 1 {
		t.Errorf("the fault was told %d times: %s", n, lines.String())
	}
	ca.Issue(t, dir, "n1", 4)
	touch()
	expect(4)
}

func TestFilesThatCantBeRead(t *testing.T) {
	ca := testcert.New(t, "ca")
	dir := t.TempDir()
	files := ca.Issue(t, dir, "n1", 2)
	for want, f := range map[string]TLSFiles{
		"no-such-file":      {Cert: dir + "/no-such-file", Key: files.Key},
		"no certificate in": {Cert: files.Cert, Key: files.Key, CA: files.Key},
		"with key":          {Cert: files.Cert, Key: files.Cert},
	} {
		if _, err := ServerTLS(f, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
