package statemachine

import (
	"encoding/binary"
	"slices"
)

// The content of a snapshot: what Step encodes and Restore reads. See
// docs/formats-statemachine.md. A file around it carries checksums.
const (
	contentMagic   = "RKVS"
	contentVersion = 1

	sectionSettings = 1
	sectionSessions = 2
	sectionKeys     = 3
	sectionUsers    = 4
	sectionBirths   = 5
	sectionEnd      = 0xff
)

// append appends everything before the first session.
func (h *header) append(dst []byte) []byte {
	dst = append(dst, contentMagic...)
	dst = append(dst, contentVersion)
	dst = binary.LittleEndian.AppendUint32(dst, h.level)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.applied.Index))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.applied.Term))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.now))
	dst = append(dst, h.hash[:]...)
	settings := h.limits.table()
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(settings)))
	dst = binary.LittleEndian.AppendUint64(dst, h.sessions)
	dst = binary.LittleEndian.AppendUint64(dst, h.keys)
	dst = append(dst, sectionSettings)
	for _, s := range settings {
		dst = binary.AppendUvarint(dst, uint64(len(s.Name)))
		dst = append(dst, s.Name...)
		dst = binary.AppendUvarint(dst, uint64(*s.at))
	}
	return append(dst, sectionSessions)
}

func appendSession(dst []byte, s *session) []byte {
	if len(s.kept) >= 16 {
		dst = slices.Grow(dst, int(s.bytes)) // at once, not by doubling
	}
	dst = binary.AppendUvarint(dst, s.id)
	dst = binary.AppendUvarint(dst, s.last)
	dst = binary.AppendUvarint(dst, s.used)
	dst = binary.AppendUvarint(dst, uint64(s.usedAt))
	dst = binary.AppendUvarint(dst, uint64(len(s.kept)))
	for _, k := range s.kept {
		dst = binary.LittleEndian.AppendUint64(dst, k.request.Hi)
		dst = binary.LittleEndian.AppendUint64(dst, k.request.Lo)
		dst = binary.AppendUvarint(dst, uint64(len(k.result)))
		dst = append(dst, k.result...)
	}
	return dst
}

// appendItemHead appends a key's record up to its value.
func appendItemHead(dst []byte, r *record) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(r.key)))
	dst = append(dst, r.key...)
	dst = binary.AppendUvarint(dst, r.version)
	dst = binary.AppendUvarint(dst, uint64(r.deadline))
	return binary.AppendUvarint(dst, uint64(len(r.value)))
}
