package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/raftkv/raftkv/server/access"
	"github.com/raftkv/raftkv/server/resp"
)

// maxPasswordFile bounds a file of one password, in bytes.
const maxPasswordFile = 4 << 10

// openAccess makes what decides on clients: users, who come with the state, the
// password that holds before there are any, and TLS.
func (d *daemon) openAccess() error {
	password, err := readPassword(d.cfg.Redis.PasswordFile)
	if err != nil {
		return fileFault("redis.password_file", err)
	}
	if name := d.cfg.Redis.PasswordFile; name != "" {
		if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
			d.log.Warn("other users of this machine can read the password; chmod 600 it", "file", name, "mode", info.Mode().Perm().String())
		}
	}
	d.access = access.NewStore(resp.Catalog(), password, d.log)
	t := d.cfg.TLS.Client
	if t.Cert == "" {
		return nil
	}
	d.clientTLS, err = access.ServerTLS(access.TLSFiles{Cert: t.Cert, Key: t.Key, CA: t.CA, Require: t.RequireCert}, d.log)
	if err != nil {
		return fileFault("tls.client", err)
	}
	return nil
}

// fileFault is the fault of a file that the configuration names.
func fileFault(key string, err error) error {
	code := exitConfig
	if errors.Is(err, fs.ErrPermission) {
		code = exitPermission
	}
	return exitWith(code, fmt.Errorf("%s: %w", key, err))
}

// readPassword is the first line of a file; without a file there is none. The
// error never holds it.
func readPassword(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	switch {
	case len(b) > maxPasswordFile:
		return "", fmt.Errorf("%s has %d bytes, at most %d are a password", file, len(b), maxPasswordFile)
	case line == "":
		return "", fmt.Errorf("the first line of %s is empty, want a password", file)
	}
	return line, nil
}
