package identity

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/raftkv/raftkv/internal/smallfile"
)

func dataDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustOpen(t *testing.T, dir string, cfg Config) *Identity {
	t.Helper()
	id, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIdentityIsDrawnOnceAndKept(t *testing.T) {
	dir, cfg := dataDir(t), listed(1)[0]
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read before: %v", err)
	}
	id := mustOpen(t, dir, cfg)
	node := id.Node()
	if other := mustOpen(t, dataDir(t), cfg); other.Node() == node || other.ID() == id.ID() {
		t.Error("two directories have one identity")
	}
	if err := id.Bootstrap(t.Context(), nil, func(string) {}); err != nil {
		t.Fatal(err)
	}
	cluster := id.Cluster()
	id.Close()
	id = mustOpen(t, dir, cfg)
	if id.Node() != node || id.Cluster() != cluster || cluster == uuid.Nil {
		t.Errorf("node %v, cluster %v; want %v, %v", id.Node(), id.Cluster(), node, cluster)
	}
	r, err := Read(dir) // while it is in use
	if err != nil || r.Node != node || r.Birth.Cluster != cluster {
		t.Errorf("read: %+v, %v", r, err)
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	dir, cfg := dataDir(t), listed(1)[0]
	id := mustOpen(t, dir, cfg)
	if _, err := Open(dir, cfg); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second: %v", err)
	}
	id.Close()
	mustOpen(t, dir, cfg)
}

func TestDirectoryOfAnotherNodeIsRefused(t *testing.T) {
	dir := dataDir(t)
	mustOpen(t, dir, listed(3)[0]).Close()
	_, err := Open(dir, listed(3)[1])
	if !errors.Is(err, ErrRefused) {
		t.Fatalf("err = %v", err)
	}
	for _, want := range []string{dir, `node "n1"`, `says "n2"`, "data_dir"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}

func TestDataOfAnotherClusterIsRefused(t *testing.T) {
	id := mustOpen(t, dataDir(t), listed(1)[0])
	if err := id.Bootstrap(t.Context(), nil, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if err := id.CheckCluster(id.Cluster()); err != nil {
		t.Error(err)
	}
	if err := id.CheckCluster(uuid.New()); !errors.Is(err, ErrRefused) {
		t.Errorf("err = %v", err)
	}
}

// A new identity over old data could not answer for the votes in it.
func TestDataWithoutIdentityIsDamaged(t *testing.T) {
	dir, cfg := dataDir(t), listed(1)[0]
	if err := os.WriteFile(filepath.Join(dir, "log.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, cfg); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "log.db") {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, FileName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an identity was written: %v", err)
	}
	id, err := Open(dir, cfg, "log.db")
	if err != nil {
		t.Fatal(err)
	}
	id.Close()
}

// A crash inside the first write leaves its temporary file.
func TestTemporaryFileIsNoData(t *testing.T) {
	dir := dataDir(t)
	if err := os.WriteFile(filepath.Join(dir, FileName+smallfile.TempSuffix), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, listed(1)[0])
}

func TestDamagedFileIsFound(t *testing.T) {
	dir, cfg := dataDir(t), listed(1)[0]
	id := mustOpen(t, dir, cfg)
	if err := id.Bootstrap(t.Context(), nil, func(string) {}); err != nil {
		t.Fatal(err)
	}
	id.Close()
	path := filepath.Join(dir, FileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, cfg); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	if err := os.WriteFile(path, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, cfg); !errors.Is(err, ErrDamaged) {
		t.Errorf("cut: %v", err)
	}
}

// Whole as bytes, and yet no record that this package wrote.
func TestContradictingRecordIsDamaged(t *testing.T) {
	node := uuid.New()
	birth := func(vs ...Voter) *Birth { return &Birth{Cluster: uuid.New(), Voters: vs} }
	for name, r := range map[string]Record{
		"no node":                   {Name: "n1"},
		"no name":                   {Node: node},
		"joined nothing":            {Node: node, Name: "n1", Joined: true},
		"voter under another name":  {Node: node, Name: "n1", Birth: birth(Voter{node, place(2)})},
		"neither voter nor joined":  {Node: node, Name: "n1", Birth: birth(Voter{uuid.New(), place(1)})},
		"joined though a voter":     {Node: node, Name: "n1", Birth: birth(Voter{node, place(1)}), Joined: true},
		"birth without any cluster": {Node: node, Name: "n1", Birth: &Birth{Voters: []Voter{{node, place(1)}}}},
	} {
		b, err := encodeRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeRecord(b); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := decodeRecord([]byte(`{"version":2,"something":"new"}`)); !errors.Is(err, ErrRefused) || errors.Is(err, ErrDamaged) {
		t.Errorf("newer version: %v", err)
	}
	if _, err := decodeRecord([]byte(`{"version":1,"node":"` + node.String() + `","name":"n1","more":1}`)); !errors.Is(err, ErrDamaged) {
		t.Errorf("unknown field: %v", err)
	}
}

// The bytes of a release must be read by every later one.
func TestGoldenRecord(t *testing.T) {
	const golden = `{"version":1,"node":"01000000-0000-0000-0000-000000000000","name":"n1","birth":{"cluster":"02000000-0000-0000-0000-000000000000",` +
		`"voters":[{"node":"03000000-0000-0000-0000-000000000000","name":"n2","peer":"h2:1","client":"h2:2","http":"h2:3"}]},"joined":true}`
	r, err := decodeRecord([]byte(golden))
	if err != nil || !r.Joined || r.Birth.Voters[0] != (Voter{uuid.UUID{3}, place(2)}) {
		t.Fatalf("%+v, %v", r, err)
	}
	if b, err := encodeRecord(r); err != nil || string(b) != golden {
		t.Errorf("%s, %v", b, err)
	}
	// The core's ids come from these bytes for ever.
	if id := NodeIDOf(uuid.UUID{1}); id.String() != goldenID {
		t.Errorf("id %v, want %v", id, goldenID)
	}
}

// goldenID is what sha256sum says of 01 and fifteen zeros, first 8 bytes.
const goldenID = "4cbbd8ca5215b8d1"

func TestModesThatLetOthersIn(t *testing.T) {
	cfg := listed(1)[0]
	dir := dataDir(t)
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, cfg); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "chmod go-w "+dir) {
		t.Errorf("directory: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, cfg).Close()
	path := filepath.Join(dir, FileName)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, cfg); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("file: %v", err)
	}
}

func TestForbiddenDirectoryNamesTheRemedy(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may do everything")
	}
	for _, mode := range []fs.FileMode{0, 0o500} {
		dir := dataDir(t)
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, listed(1)[0]); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "give "+dir) {
			t.Errorf("mode %v: %v", mode, err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrongDirectoryIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), filepath.Join(t.TempDir(), "none")} {
		if _, err := Open(dir, listed(1)[0]); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("err = %v, want one that names %s", err, dir)
		}
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	twoNames := places(3)
	twoNames[2].Name = "n2"
	twoAddrs := places(3)
	twoAddrs[2].Peer = "h2:1"
	for name, cfg := range map[string]Config{
		"not listed":    {Self: place(4), Voters: places(3)},
		"no list":       {Self: place(4)},
		"no name":       {Self: Place{Peer: "h:1"}, Voters: places(3)},
		"one name":      {Self: place(1), Voters: twoNames},
		"one address":   {Self: place(1), Voters: twoAddrs},
		"too many":      {Self: place(1), Voters: places(maxVoters + 1)},
		"name not text": {Self: Place{Name: "\xff", Peer: "h:1"}, Join: true},
		"name too long": {Self: Place{Name: strings.Repeat("n", maxName+1), Peer: "h:1"}, Join: true},
	} {
		dir := dataDir(t)
		if _, err := Open(dir, cfg); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if names, _ := os.ReadDir(dir); len(names) > 0 {
			t.Errorf("%s: an identity was drawn", name)
		}
	}
}

// The largest Birth that validates must fit into one exchange.
func TestLargestBirthFitsIntoOneMessage(t *testing.T) {
	b := &Birth{Cluster: uuid.New()}
	for i := range maxVoters {
		long := func(n int) string { return strings.Repeat("n", n-1) + string(rune('A'+i)) }
		b.Voters = append(b.Voters, Voter{uuid.New(), Place{long(maxName), long(maxAddr), long(maxAddr), long(maxAddr)}})
	}
	if err := b.validate(); err != nil {
		t.Fatal(err)
	}
	if m, err := encodeMessage(reply{Version: messageVersion, Self: b.Voters[0].Place, Birth: b}); err != nil {
		t.Errorf("%d bytes, %v", len(m), err)
	}
}
