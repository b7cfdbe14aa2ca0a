package align

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kontor/internal/fault"
	"kontor/psi"
	"kontor/session"
)

// Tags of the messages, in the order of PROTOCOL.md.
const (
	tagSize    = "align/size"    // host → guest
	tagStart   = "align/start"   // guest → host
	tagGuest   = "align/guest"   // guest → host, the guest's masked ids
	tagHost    = "align/host"    // host → guest, the host's masked ids and the guest's doubly masked
	tagOutcome = "align/outcome" // guest → host
	tagRows    = "align/rows"    // guest → host
)

const (
	formatVersion = 1
	chunkItems    = 1 << 11 // ids in a message
	chunkRows     = 1 << 16 // positions in a message
	sizeLen       = 1 + 1 + 4 + 4
	verdictLen    = 1 + 2 + 4 + 4
	startLen      = verdictLen + 4
)

var errMalformed = errors.New("malformed message")

// reason is why the step cannot go on.
type reason byte

const (
	fit reason = iota
	emptyID
	duplicateID
	longID
	tooManyRows
	fewRows
	fewJoint
	reasons // the number of reasons
)

// cure is what the users may do about r.
func (r reason) cure() string {
	switch r {
	case emptyID:
		return "give every row an id, or remove the rows without"
	case duplicateID:
		return "keep one row of each id"
	case longID:
		return fmt.Sprintf("use ids of at most %d bytes", psi.MaxItemLen)
	case tooManyRows:
		return fmt.Sprintf("split the table into parts of at most %d rows", psi.MaxItems)
	case fewRows:
		return "check that the right table was named, or agree on a lower minimum"
	}
	return "check that all parties use the same kind of id, written in the same way " +
		"(letter case, spaces, leading zeros), or agree on a lower minimum"
}

// size is a host's first message.
type size struct {
	unfit reason
	rows  int // of its table
	need  int // the least number of joint rows it agrees to
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (m size) MarshalBinary() ([]byte, error) {
	b := []byte{formatVersion, byte(m.unfit)}
	b = binary.BigEndian.AppendUint32(b, uint32(m.rows))
	return binary.BigEndian.AppendUint32(b, uint32(m.need)), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (m *size) UnmarshalBinary(b []byte) error {
	if len(b) != sizeLen {
		return fmt.Errorf("%w: %d bytes", errMalformed, len(b))
	}
	if b[0] != formatVersion {
		return fmt.Errorf("%w: version %d of the protocol, this is %d", errMalformed, b[0], formatVersion)
	}
	v := size{reason(b[1]), int(binary.BigEndian.Uint32(b[2:])), int(binary.BigEndian.Uint32(b[6:]))}
	if v.unfit >= fewRows {
		return fmt.Errorf("%w: reason %d", errMalformed, v.unfit)
	}
	if v.rows > psi.MaxItems || v.need < 1 || v.need > psi.MaxItems {
		return fmt.Errorf("%w: %d rows, at least %d wanted", errMalformed, v.rows, v.need)
	}
	*m = v
	return nil
}

// verdict is the guest's word on whether the step goes on.
type verdict struct {
	unfit reason
	party int // index of the party concerned, 0 with fewJoint
	rows  int // with fewRows of that party's table; with fewJoint, and when all is well, of the intersection
	need  int // rows that are needed
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (m verdict) MarshalBinary() ([]byte, error) {
	b := binary.BigEndian.AppendUint16([]byte{byte(m.unfit)}, uint16(m.party))
	b = binary.BigEndian.AppendUint32(b, uint32(m.rows))
	return binary.BigEndian.AppendUint32(b, uint32(m.need)), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (m *verdict) UnmarshalBinary(b []byte) error {
	if len(b) != verdictLen {
		return fmt.Errorf("%w: %d bytes", errMalformed, len(b))
	}
	v := verdict{reason(b[0]), int(binary.BigEndian.Uint16(b[1:])),
		int(binary.BigEndian.Uint32(b[3:])), int(binary.BigEndian.Uint32(b[7:]))}
	if v.unfit >= reasons {
		return fmt.Errorf("%w: reason %d", errMalformed, v.unfit)
	}
	if v.rows > psi.MaxItems || v.need < 1 || v.need > psi.MaxItems {
		return fmt.Errorf("%w: %d rows, at least %d wanted", errMalformed, v.rows, v.need)
	}
	*m = v
	return nil
}

// fault returns the error with which every party ends the step.
func (m verdict) fault(parties []session.Party) error {
	f := &fault.Error{Kind: fault.Data, Cure: m.unfit.cure()}
	if m.unfit != fewJoint {
		f.Party = parties[m.party].Name
	}
	switch m.unfit {
	case emptyID:
		f.What = "its table has rows without an id"
	case duplicateID:
		f.What = "its table has an id more than once"
	case longID:
		f.What = "its table has an id that is too long"
	case tooManyRows:
		f.What = "its table has too many rows"
	case fewRows:
		f.What = fmt.Sprintf("its table has %s, at least %d are needed", rowsText(m.rows), m.need)
	case fewJoint:
		f.What = fmt.Sprintf("the intersection has %s, at least %d are needed", rowsText(m.rows), m.need)
	}
	return f
}

func rowsText(n int) string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprint(n, " rows")
}

// start is the guest's first message.
type start struct {
	verdict
	guestRows int
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (m start) MarshalBinary() ([]byte, error) {
	b, err := m.verdict.MarshalBinary()
	return binary.BigEndian.AppendUint32(b, uint32(m.guestRows)), err
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (m *start) UnmarshalBinary(b []byte) error {
	if len(b) != startLen {
		return fmt.Errorf("%w: %d bytes", errMalformed, len(b))
	}
	var v start
	if err := v.verdict.UnmarshalBinary(b[:verdictLen]); err != nil {
		return err
	}
	if v.guestRows = int(binary.BigEndian.Uint32(b[verdictLen:])); v.guestRows > psi.MaxItems {
		return fmt.Errorf("%w: %d rows", errMalformed, v.guestRows)
	}
	*m = v
	return nil
}

// The two streams from a host to the guest; they share a tag so that the host
// may send each part as soon as it has it.
const (
	streamMasked  = 'm'
	streamDoubled = 'd'
)

// part is the next part of one of a host's streams.
type part struct {
	stream byte
	data   []byte
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (m part) MarshalBinary() ([]byte, error) { return append([]byte{m.stream}, m.data...), nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler. It keeps b.
func (m *part) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != streamMasked && b[0] != streamDoubled {
		return fmt.Errorf("%w: no stream named", errMalformed)
	}
	m.stream, m.data = b[0], b[1:]
	return nil
}

// positions are places in a host's shuffled list.
type positions []uint32

// MarshalBinary implements encoding.BinaryMarshaler.
func (m positions) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, 4*len(m))
	for _, p := range m {
		b = binary.BigEndian.AppendUint32(b, p)
	}
	return b, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (m *positions) UnmarshalBinary(b []byte) error {
	if len(b)%4 != 0 {
		return fmt.Errorf("%w: %d bytes", errMalformed, len(b))
	}
	v := make(positions, len(b)/4)
	for i := range v {
		v[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	*m = v
	return nil
}
