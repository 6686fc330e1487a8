package access

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLSFiles name what secures the connections of clients, PEM each.
type TLSFiles struct {
	Cert string // this node's certificate, with the intermediate ones behind it
	Key  string // its private key
	CA   string // what certificates of clients are checked against; empty: clients are asked for none
	// Require refuses clients without a certificate; else only a wrong one is refused.
	Require bool
}

// ServerTLS reads the files and makes the configuration of a listener. The files
// are looked at before each handshake and read again when they have changed; if
// they can't be used then, the old ones stay in force and log is told, once a change.
func ServerTLS(files TLSFiles, log *slog.Logger) (*tls.Config, error) {
	k := &keeper{files: files, log: log}
	stamp, err := k.look()
	if err != nil {
		return nil, err
	}
	if k.config, err = k.load(); err != nil {
		return nil, err
	}
	k.stamp = stamp
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return k.current(), nil
		},
	}, nil
}

// keeper holds what the files said last. One made from the files serves until
// they change, so that clients may resume their sessions, and no longer.
type keeper struct {
	files TLSFiles
	log   *slog.Logger

	mu     sync.Mutex
	stamp  [3]fileStamp
	config *tls.Config
	failed string // the fault that was told last
}

type fileStamp struct {
	changed time.Time
	size    int64
}

func (k *keeper) look() (stamp [3]fileStamp, err error) {
	for i, name := range []string{k.files.Cert, k.files.Key, k.files.CA} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return stamp, fmt.Errorf("TLS of clients: %w", err)
		}
		stamp[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return stamp, nil
}

func (k *keeper) load() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(k.files.Cert, k.files.Key)
	if err != nil {
		return nil, fmt.Errorf("TLS of clients: certificate %s with key %s: %w", k.files.Cert, k.files.Key, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if k.files.CA == "" {
		return c, nil
	}
	if c.ClientCAs, err = ReadCA(k.files.CA); err != nil {
		return nil, fmt.Errorf("TLS of clients: %w", err)
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if k.files.Require {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// ReadCA reads the certificates of authorities, PEM.
func ReadCA(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in CA file %s", name)
	}
	return pool, nil
}

// current is what is in force now.
func (k *keeper) current() *tls.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	stamp, err := k.look()
	if err == nil && stamp != k.stamp {
		var c *tls.Config
		if c, err = k.load(); err == nil {
			k.stamp, k.config = stamp, c
			k.log.Info("TLS files of clients were read again")
		}
	}
	switch {
	case err == nil:
		k.failed = ""
	case k.failed != err.Error():
		k.failed = err.Error()
		k.log.Error("TLS files of clients were not read again; the old ones stay in force", "err", err)
	}
	return k.config
}
