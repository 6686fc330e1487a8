package load

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

type etcdConn struct {
	c   *clientv3.Client
	own bool
}

// DialEtcd opens an etcd client.
func DialEtcd(addr string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
}

func (c *etcdConn) close() {
	if c.own {
		c.c.Close()
	}
}

func (c *etcdConn) batch(n int, k []Kind, keys, vals [][]byte) error {
	ctx := context.Background()
	for i := 0; i < n; i++ {
		var err error
		switch k[i] {
		case Set:
			_, err = c.c.Put(ctx, string(keys[i]), string(vals[i]))
		case Get:
			_, err = c.c.Get(ctx, string(keys[i]))
		case StaleGet:
			_, err = c.c.Get(ctx, string(keys[i]), clientv3.WithSerializable())
		default:
			err = errors.New("not supported")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
