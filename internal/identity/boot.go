package identity

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/raftkv/raftkv/internal/smallfile"
)

// BootFile keeps the number of the newest boot of a data directory.
const BootFile = "boot"

const bootKind = "boot"

// NextBoot draws the number of this start of the process and makes it durable
// before anybody hears of it. It is above those of all earlier starts of this
// directory: a message of a process that is gone can then be told from the present one's.
//
//	63 ............... 32 31 ............... 0
//	 seconds of the clock |  random: a copy of the directory draws another
//
// The upper half is the clock, but above the one before, so that a clock that was
// set back does not matter as long as the file is there, nor a lost file as long as the clock is
// right. The caller holds the lock of the directory.
func NextBoot(dir string, now time.Time) (uint64, error) {
	path := filepath.Join(dir, BootFile)
	before := uint64(0)
	b, err := smallfile.Read(path, bootKind)
	switch {
	case err == nil && len(b) == 8:
		before = binary.BigEndian.Uint64(b)
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, smallfile.ErrDamaged):
		// Nothing rests on this file that the clock does not give as well.
	default:
		return 0, fmt.Errorf("read the number of the last start: %w", err)
	}
	var random [4]byte
	_, _ = crand.Read(random[:]) // never fails: crypto/rand ends the program instead
	boot := max(uint64(max(now.Unix(), 1)), before>>32+1)<<32 | uint64(binary.BigEndian.Uint32(random[:]))
	if err := smallfile.Write(path, bootKind, binary.BigEndian.AppendUint64(nil, boot)); err != nil {
		return 0, fmt.Errorf("store the number of this start: %w", err)
	}
	return boot, nil
}
