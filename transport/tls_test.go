package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/internal/testenv"
	"github.com/raftkv/raftkv/raft"
)

// authority signs certificates for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, next: 2}
}

// issue writes a certificate, its key and the authority to dir.
func (a *authority) issue(t testing.TB, dir string, change func(*x509.Certificate)) *TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: "node"}, DNSNames: []string{"raftkv.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := &TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
	for name, block := range map[string]*pem.Block{
		files.Cert: {Type: "CERTIFICATE", Bytes: der},
		files.Key:  {Type: "PRIVATE KEY", Bytes: private},
		files.CA:   {Type: "CERTIFICATE", Bytes: a.cert.Raw},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// With certificates of one authority everything works as without.
func TestMutualTLS(t *testing.T) {
	ca := newAuthority(t)
	withName := ca.issue(t, t.TempDir(), nil)
	withName.ServerName = "raftkv.test"
	a := run(t, Config{TLS: withName}, helloOf(1))
	b := run(t, Config{
		TLS:      ca.issue(t, t.TempDir(), nil),
		Exchange: func(body []byte) []byte { return append([]byte("re: "), body...) },
		Source:   sourceOf([]byte("the whole snapshot")),
	}, helloOf(2))
	join(t, a, b)
	a.Send([]raft.Message{{Kind: raft.MsgVote, To: 2, Term: 3}})
	b.rec.until(t, "a message", func() bool { return len(b.rec.messages) == 1 })
	b.SendPacket(1, 1, []byte("p"))
	a.rec.expect(t, "packet 2", 1)
	if got, err := a.Exchange(t.Context(), b.Addr().String(), []byte("x")); err != nil || string(got) != "re: x" {
		t.Errorf("exchange gave %q, %v", got, err)
	}
	if got, err := fetchAll(t, a, 2, snapshotID, 4); err != nil || got != "whole snapshot" {
		t.Errorf("fetch gave %q, %v", got, err)
	}
	b.Close()
	a.rec.expect(t, "lost 2 conn=1", 1)
}

// Who can't show a good certificate gets nowhere, in both directions, and both
// sides say why.
func TestTLSRefusals(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := func(t *testing.T) *TLS { return ca.issue(t, t.TempDir(), nil) }
	mixed := func(t *testing.T) *TLS { // trusts us, but we have no reason to trust it
		files := other.issue(t, t.TempDir(), nil)
		files.CA = good(t).CA
		return files
	}
	for _, tc := range []struct {
		name    string
		a, b    func(t *testing.T) *TLS // a dials b
		dialler string                  // in the log of a
		other   string                  // in the log of b
	}{
		{"dialler without TLS", nil, good, "takes TLS connections only", "a raftkv node without TLS"},
		{"listener without TLS", good, nil, "speaks no TLS", "TLS is not configured here"},
		{"dialler of another authority", mixed, good, "", "unknown authority"},
		{"listener of another authority", good, mixed, "unknown authority", "bad certificate"},
		{"expired", func(t *testing.T) *TLS {
			return ca.issue(t, t.TempDir(), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		}, good, "", "expired"},
		{"client certificate of a server only", func(t *testing.T) *TLS {
			return ca.issue(t, t.TempDir(), func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] })
		}, good, "", "incompatible key usage"},
		{"wrong name", good, func(t *testing.T) *TLS {
			files := good(t)
			files.ServerName = "else.test"
			return files
		}, "", "not else.test"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var ca, cb Config
			if tc.a != nil {
				ca.TLS = tc.a(t)
			}
			if tc.b != nil {
				cb.TLS = tc.b(t)
			}
			a, b := run(t, ca, helloOf(1)), run(t, cb, helloOf(2))
			a.SetMembers(configuration(b.member()))
			testenv.Eventually(t, "the dialler's line", func() bool { return a.log.lines("level=") > 0 && strings.Contains(a.log.String(), tc.dialler) })
			testenv.Eventually(t, "the other's line", func() bool { return strings.Contains(b.log.String(), tc.other) })
			if e := append(a.rec.list(""), b.rec.list("")...); len(e) > 0 {
				t.Errorf("handlers were told %v", e)
			}
			if n := a.log.lines("level="); n != 1 {
				t.Errorf("%d lines in the dialler's log, want 1:\n%s", n, a.log)
			}
		})
	}
}

// A client that shows no certificate at all gets no hello answered.
func TestTLSWithoutClientCertificate(t *testing.T) {
	n := run(t, Config{TLS: newAuthority(t).issue(t, t.TempDir(), nil)}, helloOf(1))
	nc, err := tls.Dial("tcp", n.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		defer nc.Close()
		_, err = nc.Read(make([]byte, 1)) // TLS 1.3 tells a client only here
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("error is %v", err)
	}
}

// New files are taken when they change; broken ones leave the old in force.
func TestTLSFilesAreReadAgain(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	a := run(t, Config{TLS: ca.issue(t, dir, nil)}, helloOf(1))
	ask := func(files *TLS) error {
		c := listen(t, Config{TLS: files})
		_, err := c.Exchange(t.Context(), a.Addr().String(), nil)
		var r *RefusedError
		if errors.As(err, &r) && r.Code == RefusedNotReady {
			return nil // it got as far as the answer that nobody answers
		}
		return err
	}
	old := ca.issue(t, t.TempDir(), nil)
	if err := ask(old); err != nil {
		t.Fatalf("before: %v", err)
	}
	next := newAuthority(t)
	next.issue(t, dir, func(c *x509.Certificate) { c.Subject.CommonName = "of another length" })
	if err := ask(old); err == nil {
		t.Error("the old authority is still taken")
	}
	fresh := next.issue(t, t.TempDir(), nil)
	if err := ask(fresh); err != nil {
		t.Errorf("after: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("half a f"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ask(fresh); err != nil {
		t.Errorf("with a broken file: %v", err)
	}
	if a.log.lines("the old ones stay in force") != 1 {
		t.Errorf("log:\n%s", a.log)
	}
}

func TestTLSFilesMustBeGood(t *testing.T) {
	files := newAuthority(t).issue(t, t.TempDir(), nil)
	missing := *files
	missing.Key = files.Key + "x"
	empty := *files
	empty.CA = files.Key
	for _, c := range []*TLS{&missing, &empty} {
		if tr, err := Listen(Config{Listen: ownHost() + ":0", TLS: c}); err == nil {
			tr.Close()
			t.Errorf("%+v was taken", c)
		}
	}
}
