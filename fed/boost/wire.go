package boost

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"kontor/matvec"
)

// Tags of the messages, in the order of PROTOCOL.md.
const (
	tagShape  = "shape"
	tagPlan   = "plan"
	tagHint   = "hint"
	tagTree   = "tree"
	tagQuery  = "query"
	tagSums   = "sums"
	tagSplits = "splits"
	tagSides  = "sides"
	tagModel  = "model"
)

const wireVersion = 1

var (
	errVersion = errors.New("unknown format version")
	errLength  = errors.New("wrong length")
	errRange   = errors.New("value out of range")
)

// decode adapts a function that parses a message to a session.
type decode func(b []byte) error

func (d decode) UnmarshalBinary(b []byte) error { return d(b) }

// rowsDigest lets parties notice that they train on different rows.
func rowsDigest(rows Rows) (d [32]byte) {
	h := sha256.New()
	h.Write([]byte("kontor boost rows v1\x00"))
	var buf []byte
	for _, part := range [][]int{rows.Train, rows.Valid} {
		buf = binary.BigEndian.AppendUint64(buf[:0], uint64(len(part)))
		for _, i := range part {
			if len(buf) >= 1<<12 {
				h.Write(buf)
				buf = buf[:0]
			}
			buf = binary.BigEndian.AppendUint64(buf, uint64(i))
		}
		h.Write(buf)
	}
	h.Sum(d[:0])
	return d
}

// shape is what a host tells of its columns: the number of bins of each, in an
// order that only the host knows.
type shape struct {
	rows [32]byte // rowsDigest
	bins []int    // 1 to 254 each, at least one feature
}

const (
	shapeHead  = 1 + 32 + 4
	shapeLimit = shapeHead + maxFeatures
)

func (m *shape) MarshalBinary() ([]byte, error) {
	b := append([]byte{wireVersion}, m.rows[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.bins)))
	for _, n := range m.bins {
		b = append(b, byte(n))
	}
	return b, nil
}

func (m *shape) UnmarshalBinary(b []byte) error {
	if len(b) < shapeHead {
		return errLength
	}
	if b[0] != wireVersion {
		return errVersion
	}
	n := binary.BigEndian.Uint32(b[33:])
	if n < 1 || n > maxFeatures {
		return fmt.Errorf("%d features: %w", n, errRange)
	}
	if len(b) != shapeHead+int(n) {
		return errLength
	}
	s := shape{rows: [32]byte(b[1:33]), bins: make([]int, n)}
	for f := range s.bins {
		s.bins[f] = int(b[shapeHead+f])
		if s.bins[f] < 1 || s.bins[f] > maxBins {
			return fmt.Errorf("%d bins: %w", s.bins[f], errRange)
		}
	}
	*m = s
	return nil
}

// plan is what the guest will ask for, and what its planner made of that.
type plan struct {
	spec                    matvec.Spec
	payload, perWord, hints int
}

const planSize = 1 + 4*4 + 4

func newPlan(p matvec.Params) plan {
	return plan{p.Spec(), p.PayloadBits(), p.PerWord(), p.HintBits()}
}

func (m *plan) MarshalBinary() ([]byte, error) {
	b := []byte{wireVersion}
	for _, v := range []int{m.spec.Rows, m.spec.Features, m.spec.Bins, m.spec.Queries} {
		b = binary.BigEndian.AppendUint32(b, uint32(v))
	}
	return append(b, byte(m.spec.MeanBits), byte(m.payload), byte(m.perWord), byte(m.hints)), nil
}

func (m *plan) UnmarshalBinary(b []byte) error {
	if len(b) != planSize {
		return errLength
	}
	if b[0] != wireVersion {
		return errVersion
	}
	var v [4]int
	for i := range v {
		x := binary.BigEndian.Uint32(b[1+4*i:])
		if x < 1 || x > math.MaxInt32 {
			return errRange
		}
		v[i] = int(x)
	}
	*m = plan{matvec.Spec{Rows: v[0], Features: v[1], Bins: v[2], Queries: v[3], MeanBits: int(b[17])},
		int(b[18]), int(b[19]), int(b[20])}
	return nil
}

// treeNote says before every tree that one follows, and after the last how many
// are kept.
type treeNote struct {
	more bool
	kept int // only without more
}

const treeSize = 1 + 1 + 4

func (m *treeNote) MarshalBinary() ([]byte, error) {
	b := []byte{wireVersion, 0}
	if m.more {
		b[1] = 1
	}
	return binary.BigEndian.AppendUint32(b, uint32(m.kept)), nil
}

func (m *treeNote) UnmarshalBinary(b []byte) error {
	if len(b) != treeSize {
		return errLength
	}
	if b[0] != wireVersion {
		return errVersion
	}
	kept := binary.BigEndian.Uint32(b[2:])
	if b[1] > 1 || kept > maxTrees || b[1] == 1 && kept != 0 {
		return errRange
	}
	*m = treeNote{b[1] == 1, int(kept)}
	return nil
}

// ask names a split of a host: its feature by anonymous number, a bin, and the
// side of rows where the feature is missing.
type ask struct {
	feature, bin int
	defaultLeft  bool
}

func (a ask) compare(b ask) int {
	key := func(a ask) int {
		k := (a.feature<<8 | a.bin) << 1
		if a.defaultLeft {
			k++
		}
		return k
	}
	return key(a) - key(b)
}

// asks is a list of splits in strictly ascending order, so that it says nothing
// about which node a split is for.
type asks []ask

const (
	asksHead = 1 + 2
	askSize  = 4 + 1 + 1
)

func asksLimit(n int) int { return asksHead + n*askSize }

func (m asks) MarshalBinary() ([]byte, error) {
	b := binary.BigEndian.AppendUint16([]byte{wireVersion}, uint16(len(m)))
	for _, a := range m {
		b = binary.BigEndian.AppendUint32(b, uint32(a.feature))
		b = append(b, byte(a.bin), 0)
		if a.defaultLeft {
			b[len(b)-1] = 1
		}
	}
	return b, nil
}

// UnmarshalBinary checks form and order; whether feature and bin exist is for
// the host to say.
func (m *asks) UnmarshalBinary(b []byte) error {
	if len(b) < asksHead {
		return errLength
	}
	if b[0] != wireVersion {
		return errVersion
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if len(b) != asksLimit(n) {
		return errLength
	}
	out := make(asks, n)
	for i := range out {
		e := b[asksHead+i*askSize:]
		f := binary.BigEndian.Uint32(e)
		if f >= maxFeatures || e[5] > 1 {
			return errRange
		}
		out[i] = ask{int(f), int(e[4]), e[5] == 1}
		if i > 0 && out[i-1].compare(out[i]) >= 0 {
			return errors.New("splits are not in ascending order")
		}
	}
	*m = out
	return nil
}

// bitBytes is the length of a set of n bits.
func bitBytes(n int) int { return (n + 7) / 8 }

// parseSides cuts b into count sets of rows bits each. They refer to b.
func parseSides(b []byte, count, rows int) ([][]byte, error) {
	size := bitBytes(rows)
	if len(b) != count*size {
		return nil, errLength
	}
	sets := make([][]byte, count)
	for i := range sets {
		sets[i] = b[i*size : (i+1)*size : (i+1)*size]
		if rows%8 != 0 && sets[i][size-1]>>(rows%8) != 0 {
			return nil, errors.New("bits beyond the last row are set")
		}
	}
	return sets, nil
}

// modelNote is what both sides of a prediction tell each other first.
type modelNote struct {
	id     [32]byte
	rows   int // -1 where the guest has no columns and takes the hosts' word
	splits int // of the host; 0 from the guest
}

const modelSize = 1 + 32 + 4 + 4

func (m *modelNote) MarshalBinary() ([]byte, error) {
	b := append([]byte{wireVersion}, m.id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(int32(m.rows)))
	return binary.BigEndian.AppendUint32(b, uint32(m.splits)), nil
}

func (m *modelNote) UnmarshalBinary(b []byte) error {
	if len(b) != modelSize {
		return errLength
	}
	if b[0] != wireVersion {
		return errVersion
	}
	rows, splits := int(int32(binary.BigEndian.Uint32(b[33:]))), binary.BigEndian.Uint32(b[37:])
	if rows < -1 || rows > maxRows || splits > maxSplits {
		return errRange
	}
	*m = modelNote{[32]byte(b[1:33]), rows, int(splits)}
	return nil
}
