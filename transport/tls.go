package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// credentials is what the TLS files hold. They are looked at before each
// handshake and read again when they have changed; files that can't be used
// leave the old ones in force, with a line in the log.
type credentials struct {
	cfg TLS
	log *rateLog

	mu    sync.Mutex
	stamp [3]fileStamp
	cert  tls.Certificate
	roots *x509.CertPool
}

type fileStamp struct {
	changed time.Time
	size    int64
}

func loadCredentials(cfg TLS, log *rateLog) (*credentials, error) {
	c := &credentials{cfg: cfg, log: log}
	stamp, err := c.look()
	if err != nil {
		return nil, err
	}
	if err := c.load(); err != nil {
		return nil, err
	}
	c.stamp = stamp
	return c, nil
}

func (c *credentials) look() (stamp [3]fileStamp, err error) {
	for i, name := range []string{c.cfg.Cert, c.cfg.Key, c.cfg.CA} {
		info, err := os.Stat(name)
		if err != nil {
			return stamp, fmt.Errorf("TLS of peers: %w", err)
		}
		stamp[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return stamp, nil
}

func (c *credentials) load() error {
	cert, err := tls.LoadX509KeyPair(c.cfg.Cert, c.cfg.Key)
	if err != nil {
		return fmt.Errorf("TLS of peers: certificate %s with key %s: %w", c.cfg.Cert, c.cfg.Key, err)
	}
	pem, err := os.ReadFile(c.cfg.CA)
	if err != nil {
		return fmt.Errorf("TLS of peers: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("TLS of peers: no certificate in CA file %s", c.cfg.CA)
	}
	c.cert, c.roots = cert, roots
	return nil
}

// current returns what is in force now.
func (c *credentials) current() (tls.Certificate, *x509.CertPool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, err := c.look()
	if err == nil && stamp != c.stamp {
		if err = c.load(); err == nil {
			c.stamp = stamp
		}
	}
	if err != nil {
		c.log.warn("tls files", "TLS files of peers were not read again; the old ones stay in force", "error", err)
	}
	return c.cert, c.roots
}

func (c *credentials) server() (*tls.Config, error) { return c.config(x509.ExtKeyUsageClientAuth) }

func (c *credentials) client() (*tls.Config, error) { return c.config(x509.ExtKeyUsageServerAuth) }

// config serves both sides. The other side's certificate is verified here and not
// by the library, because there is no host name to compare: who dials knows an
// address only. usage is what that certificate must be good for.
func (c *credentials) config(usage x509.ExtKeyUsage) (*tls.Config, error) {
	cert, roots := c.current()
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{cert},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // VerifyConnection does it
		SessionTicketsDisabled: true, // each connection is verified
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("the other side showed no certificate")
			}
			options := x509.VerifyOptions{
				Roots: roots, DNSName: c.cfg.ServerName, KeyUsages: []x509.ExtKeyUsage{usage},
				Intermediates: x509.NewCertPool(),
			}
			for _, i := range s.PeerCertificates[1:] {
				options.Intermediates.AddCert(i)
			}
			if _, err := s.PeerCertificates[0].Verify(options); err != nil {
				return fmt.Errorf("certificate of the other side: %w", err)
			}
			return nil
		},
	}, nil
}
