package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/selftest"
)

// What a supervisor is told (sd_notify): READY after local recovery, a STATUS
// with role and leader, a sign of life for the watchdog, STOPPING at the end.
func TestSupervisorIsTold(t *testing.T) {
	bothTiers(t)
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := prepare(t, selftest.Options{Voters: 1, Env: []string{"NOTIFY_SOCKET=" + socket}})
	n := c.Nodes[0]
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	var told []string // in which order role and readiness come is left to the machine
	await := func(what string, ok func(string) bool) {
		t.Helper()
		if slices.ContainsFunc(told, ok) {
			return
		}
		at, _ := deadline(t).Deadline()
		if err := conn.SetReadDeadline(at); err != nil {
			t.Fatal(err)
		}
		for {
			k, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %s: %v", what, err)
			}
			told = append(told, string(buf[:k]))
			if ok(string(buf[:k])) {
				return
			}
		}
	}
	await("READY", func(s string) bool { return s == "READY=1" })
	await("a status with the role", func(s string) bool {
		return strings.HasPrefix(s, "STATUS=leader of term ") && strings.Contains(s, "n1 leads")
	})
	await("a sign of life", func(s string) bool { return s == "WATCHDOG=1" })
	n.Terminate()
	await("STOPPING", func(s string) bool { return s == "STOPPING=1" })
	if code, err := n.Wait(deadline(t)); err != nil || code != 0 {
		t.Errorf("ended with %d, %v", code, err)
	}
}

// authority signs certificates for nodes.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
	n    int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, dir: t.TempDir()}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(a.dir, "ca.pem"), "CERTIFICATE", der)
	return a
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// yaml issues a certificate and returns the section that uses it.
func (a *authority) yaml(t *testing.T) string {
	t.Helper()
	a.n++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.n), Subject: pkix.Name{CommonName: "node"}, DNSNames: []string{"raftkv"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, private := filepath.Join(a.dir, fmt.Sprintf("%d.pem", a.n)), filepath.Join(a.dir, fmt.Sprintf("%d.key", a.n))
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, private, "EC PRIVATE KEY", keyDER)
	return fmt.Sprintf("\ntls: {peer: {cert: %s, key: %s, ca: %s}}\n", cert, private, filepath.Join(a.dir, "ca.pem"))
}

// SE-01: nodes with certificates of one authority work together; one with a
// certificate of another never gets in, and doesn't disturb.
func TestPeersAuthenticate(t *testing.T) {
	bothTiers(t)
	c := start(t, selftest.Options{YAML: newAuthority(t).yaml(t)})
	fill(t, leader(t, c), "k", 20)
	stranger := follower(t, c)
	stranger.Kill()
	b, err := os.ReadFile(stranger.Config)
	if err != nil {
		t.Fatal(err)
	}
	own, _, _ := strings.Cut(string(b), "\ntls:")
	if err := os.WriteFile(stranger.Config, []byte(own+newAuthority(t).yaml(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the stranger to say why", func() (bool, error) {
		return strings.Contains(stranger.Tail(40), "certificate"), nil
	})
	fill(t, leader(t, c), "after", 20)
	if _, body, err := stranger.Get(t.Context(), "/readyz"); err != nil || strings.Contains(string(body), "ok") {
		t.Errorf("the stranger is ready: %s, %v", body, err)
	}
	// With the right one it is back.
	stranger.Kill()
	if err := os.WriteFile(stranger.Config, b, 0o600); err != nil {
		t.Fatal(err)
	}
	startOne(t, c, stranger)
	caughtUp(t, stranger, leader(t, c))
}
