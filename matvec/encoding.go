package matvec

import (
	"context"
	"encoding/binary"
	"fmt"

	"kontor/internal/parallel"
	"kontor/ring"
)

// version is the first byte of every encoding.
const version = 1

// Hint is what a holder publishes of its matrix, once: for each bin a polynomial
// that looks uniform.
type Hint struct {
	p      Params
	bins   int
	packed []byte // [bin][coefficient], hintBits each: fractions of q
}

// Query is an encrypted batch of vectors.
type Query struct {
	p              Params
	vectors, words int
	rows           []uint64 // [row][word][prime]: residues
	mask           []uint64 // [position][word][prime]: the encryption of zero
}

// Answer is a holder's answer to a query.
type Answer struct {
	p             Params
	bins, vectors int
	c             []uint64 // [bin][word]: fractions of q
}

// HintSize returns the bytes of the encoding of a hint of so many bins, 0 for a
// number that the parameters do not allow.
func (p Params) HintSize(bins int) int {
	if p.checkBins(bins) != nil {
		return 0
	}
	return 1 + bins*ring.PackedLen(degree, p.hintBits)
}

// QuerySize returns the bytes of the encoding of a query of so many vectors, 0
// for a number that the parameters do not allow.
func (p Params) QuerySize(vectors int) int {
	if p.checkCount(vectors) != nil {
		return 0
	}
	return 1 + p.words(vectors)*p.wordSize()
}

// AnswerSize returns the bytes of the encoding of an answer, 0 for numbers that
// the parameters do not allow.
func (p Params) AnswerSize(bins, vectors int) int {
	if p.checkBins(bins) != nil || p.checkCount(vectors) != nil {
		return 0
	}
	return 1 + bins*p.words(vectors)*8
}

// wordSize is the bytes of one ring word of a query: for each prime the mask and
// then the rows.
func (p Params) wordSize() int {
	return 2 * (ring.PackedLen(degree, ring.ModulusBits) + ring.PackedLen(p.spec.Rows, ring.ModulusBits))
}

func (p Params) checkBins(bins int) error {
	if p.perWord == 0 {
		return fmt.Errorf("%w: the parameters are empty", ErrSpec)
	}
	if bins < 1 || bins > p.spec.Bins {
		return fmt.Errorf("%w: %d bins, must be from 1 to the %d planned", ErrMatrix, bins, p.spec.Bins)
	}
	return nil
}

func checkHeader(what string, b []byte, size int) error {
	if len(b) != size {
		return fmt.Errorf("%w: a %s of %d bytes, must be %d", ErrEncoding, what, len(b), size)
	}
	if b[0] != version {
		return fmt.Errorf("%w: a %s of version %d, this is version %d", ErrEncoding, what, b[0], version)
	}
	return nil
}

// MarshalBinary encodes the hint: the version and then, for each bin, N integers
// of HintBits bits.
func (h *Hint) MarshalBinary() ([]byte, error) {
	return append([]byte{version}, h.packed...), nil
}

// ParseHint decodes a hint of so many bins. The hint refers to b, which must not
// be changed any more.
func ParseHint(p Params, bins int, b []byte) (*Hint, error) {
	if err := p.checkBins(bins); err != nil {
		return nil, err
	}
	if err := checkHeader("hint", b, p.HintSize(bins)); err != nil {
		return nil, err
	}
	return &Hint{p: p, bins: bins, packed: b[1:]}, nil
}

// MarshalBinary encodes the answer: the version and then a 64-bit fraction of q,
// little-endian, for each bin and ring word.
func (a *Answer) MarshalBinary() ([]byte, error) {
	b := make([]byte, 1, 1+8*len(a.c))
	b[0] = version
	for _, v := range a.c {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b, nil
}

// ParseAnswer decodes an answer of so many bins to a query of so many vectors.
func ParseAnswer(p Params, bins, vectors int, b []byte) (*Answer, error) {
	if err := p.checkBins(bins); err != nil {
		return nil, err
	}
	if err := p.checkCount(vectors); err != nil {
		return nil, err
	}
	if err := checkHeader("answer", b, p.AnswerSize(bins, vectors)); err != nil {
		return nil, err
	}
	a := &Answer{p: p, bins: bins, vectors: vectors, c: make([]uint64, bins*p.words(vectors))}
	for i := range a.c {
		a.c[i] = binary.LittleEndian.Uint64(b[1+8*i:])
	}
	return a, nil
}

// tile is how many rows of a query are packed at a time: a multiple of eight, so
// that it ends at a byte, and few enough for all lanes to stay in the first cache.
const tile = 128

// MarshalBinary encodes the query: the version and then, for each ring word and
// prime, 53 bits for each of the N coefficients of the mask's encryption of zero,
// filled up to a byte, and 53 bits for each row, filled up to a byte.
func (q *Query) MarshalBinary() ([]byte, error) {
	b := make([]byte, q.p.QuerySize(q.vectors))
	b[0] = version
	lanes := 2 * q.words
	err := q.p.eachTile(func(lo, n, offset int, mask bool) error {
		src := q.rows
		if mask {
			src = q.mask
		}
		var x [tile]uint64
		for l := range lanes {
			for i := range n {
				x[i] = src[(lo+i)*lanes+l]
			}
			ring.Pack(b[1+l*q.p.wordSize()/2+offset:], x[:n], ring.ModulusBits)
		}
		return nil
	})
	return b, err
}

// ParseQuery decodes a query of so many vectors.
func ParseQuery(p Params, vectors int, b []byte) (*Query, error) {
	if err := p.checkCount(vectors); err != nil {
		return nil, err
	}
	if err := checkHeader("query", b, p.QuerySize(vectors)); err != nil {
		return nil, err
	}
	words := p.words(vectors)
	lanes := 2 * words
	q := &Query{
		p: p, vectors: vectors, words: words,
		rows: make([]uint64, p.spec.Rows*lanes),
		mask: make([]uint64, degree*lanes),
	}
	kern := loadKernels()
	err := p.eachTile(func(lo, n, offset int, mask bool) error {
		dst := q.rows
		if mask {
			dst = q.mask
		}
		var x [tile]uint64
		var bad uint64
		for l := range lanes {
			last := kern.ntt[l&1].Q() - 1
			ring.Unpack(x[:n], b[1+l*p.wordSize()/2+offset:], ring.ModulusBits)
			for i, v := range x[:n] {
				bad |= last - v
				dst[(lo+i)*lanes+l] = v
			}
		}
		if bad>>63 != 0 {
			return fmt.Errorf("%w: a residue of the query is not below its prime", ErrEncoding)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return q, nil
}

// eachTile calls f, from several goroutines, for each tile of the mask and of the
// rows: its first row, its length, and the offset of its bytes in the encoding of
// a lane.
func (p Params) eachTile(f func(lo, n, offset int, mask bool) error) error {
	masks, maskBounds := parallel.Chunks(degree, tile)
	rows, rowBounds := parallel.Chunks(p.spec.Rows, tile)
	return parallel.For(context.Background(), masks+rows, func(i int) error {
		if i < masks {
			lo, hi := maskBounds(i)
			return f(lo, hi-lo, ring.PackedLen(lo, ring.ModulusBits), true)
		}
		lo, hi := rowBounds(i - masks)
		at := ring.PackedLen(degree, ring.ModulusBits) + ring.PackedLen(lo, ring.ModulusBits)
		return f(lo, hi-lo, at, false)
	})
}
