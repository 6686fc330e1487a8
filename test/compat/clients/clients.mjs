// One check of one Node.js client, run by main.go:
//
//   node clients.mjs LIBRARY CHECK ADDRESS[,ADDRESS...]
//
// It ends with 0 and prints nothing, or fails and says why. The check "torture"
// writes until its standard input ends, prints a line for each acknowledged
// write, and then makes sure that all of them are there.
import assert from 'node:assert/strict';

const [library, check, list] = process.argv.slice(2);
const addresses = list.split(',').map((a) => {
  const at = a.lastIndexOf(':');
  return { host: a.slice(0, at), port: Number(a.slice(at + 1)) };
});
const key = (name) => `${library}:${check}:${name}`;
const later = (ms) => new Promise((done) => setTimeout(done, ms));

// What both libraries can do, each in its own words.
const libraries = {
  async ioredis(cluster) {
    const { Redis, Cluster } = await import('ioredis');
    const open = () => {
      const c = cluster ? new Cluster(addresses) : new Redis(addresses[0]);
      c.on('error', () => {}); // each is told to the call, too
      return c;
    };
    const c = open();
    const sub = open();
    return {
      set: (k, v) => c.set(k, v),
      get: (k) => c.get(k),
      append: (k, v) => c.append(k, v),
      pipeline: async (n) => {
        const p = c.pipeline();
        for (let i = 0; i < n; i++) p.incr(key('n'));
        return (await p.exec()).map(([err, v]) => {
          if (err) throw err;
          return v;
        });
      },
      transaction: async () => {
        const replies = await c.multi().set(key('{t}a'), '1').incr(key('{t}a')).get(key('{t}a')).exec();
        return replies.map(([err, v]) => {
          if (err) throw err;
          return v;
        });
      },
      subscribe: async (channel, got) => {
        await sub.subscribe(channel);
        sub.on('message', (_, text) => got(text));
      },
      publish: (channel, text) => c.publish(channel, text),
      close: async () => {
        c.disconnect();
        sub.disconnect();
      },
    };
  },
  async 'node-redis'(cluster) {
    const redis = await import('redis');
    const open = async () => {
      const c = cluster
        ? redis.createCluster({ rootNodes: addresses.map((a) => ({ url: `redis://${a.host}:${a.port}` })) })
        : redis.createClient({ socket: addresses[0] });
      c.on('error', () => {});
      await c.connect();
      return c;
    };
    const c = await open();
    const sub = await open();
    return {
      set: (k, v) => c.set(k, v),
      get: (k) => c.get(k),
      append: (k, v) => c.append(k, v),
      pipeline: (n) => Promise.all(Array.from({ length: n }, () => c.incr(key('n')))),
      transaction: () => c.multi().set(key('{t}a'), '1').incr(key('{t}a')).get(key('{t}a')).exec(),
      subscribe: (channel, got) => sub.subscribe(channel, (text) => got(text)),
      publish: (channel, text) => c.publish(channel, text),
      close: async () => {
        c.destroy();
        sub.destroy();
      },
    };
  },
};

const checks = {
  async connect(c) {
    assert.equal(await c.set(key('k'), 'välue'), 'OK');
    assert.equal(await c.get(key('k')), 'välue');
    assert.equal(await c.get(key('none')), null);
  },
  async pipeline(c) {
    assert.deepEqual(await c.pipeline(500), Array.from({ length: 500 }, (_, i) => i + 1));
  },
  async transaction(c) {
    assert.deepEqual((await c.transaction()).map(String), ['OK', '2', '2']);
  },
  async pubsub(c) {
    const got = [];
    await c.subscribe(key('channel'), (text) => got.push(text));
    for (let i = 0; i < 50; i++) await c.publish(key('channel'), `m${i}`);
    while (got.length < 50) await later(5);
    assert.deepEqual(got, Array.from({ length: 50 }, (_, i) => `m${i}`));
  },
  async torture(c) {
    let ended = false;
    process.stdin.on('end', () => (ended = true)).resume();
    const acknowledged = [];
    for (let i = 0; !ended; i++) {
      try {
        await Promise.race([
          c.set(key(i), `v${i}`),
          later(3000).then(() => {
            throw new Error('no answer');
          }),
        ]);
        acknowledged.push(i);
        console.log(i);
      } catch {
        await later(20);
      }
    }
    for (const i of acknowledged) assert.equal(await c.get(key(i)), `v${i}`, `acknowledged write ${i}`);
  },
};

const cluster = check.startsWith('cluster-');
const c = await libraries[library](cluster);
await checks[check.replace('cluster-', '')](c);
await c.close();
process.exit(0);
