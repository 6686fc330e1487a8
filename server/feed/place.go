package feed

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/raft"
)

// Place is where a change stands in the log: its entry, and its number among
// the changes of that entry, from 0. It is the same on every node.
type Place struct {
	Index raft.Index
	Part  uint32
}

// whole is the Part behind all changes of an entry.
const whole = math.MaxUint32

// End is the place behind all changes up to entry i.
func End(i raft.Index) Place { return Place{i, whole} }

// Before tells whether p stands in front of o.
func (p Place) Before(o Place) bool {
	return p.Index < o.Index || p.Index == o.Index && p.Part < o.Part
}

// String is what ParsePlace reads: INDEX.PART, or INDEX if that is the end of the entry.
func (p Place) String() string {
	if p.Part == whole {
		return strconv.FormatUint(uint64(p.Index), 10)
	}
	return fmt.Sprintf("%d.%d", uint64(p.Index), p.Part)
}

// ParsePlace reads what String wrote.
func ParsePlace(s string) (Place, error) {
	index, part, parted := strings.Cut(s, ".")
	i, err := strconv.ParseUint(index, 10, 64)
	if err != nil {
		return Place{}, fmt.Errorf("place %.40q is not INDEX or INDEX.PART", s)
	}
	if !parted {
		return End(raft.Index(i)), nil
	}
	p, err := strconv.ParseUint(part, 10, 32)
	if err != nil || p == whole {
		return Place{}, fmt.Errorf("place %.40q is not INDEX or INDEX.PART", s)
	}
	return Place{raft.Index(i), uint32(p)}, nil
}
