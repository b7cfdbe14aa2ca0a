package psi

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"io"

	"github.com/gtank/ristretto255"
)

const (
	// hashTag is the domain separation tag of hash_to_ristretto255.
	hashTag = "kontor-psi-v1-ristretto255_XMD:SHA-512_R255MAP_RO_"
	// doubleTag separates the hash of doubly masked items.
	doubleTag = "kontor-psi-v1-doubled"
)

// tag is the truncated hash of a doubly masked item.
type tag [TagLen]byte

// hasher is hash_to_ristretto255 with a fixed domain separation tag, over a
// fixed salt followed by the item. Not for use by several goroutines.
type hasher struct {
	head     []byte // Z_pad, salt
	dstPrime []byte
	buf      []byte
}

func newHasher(dst string, salt []byte) *hasher {
	return &hasher{
		head:     append(make([]byte, sha512.BlockSize, sha512.BlockSize+len(salt)), salt...),
		dstPrime: append([]byte(dst), byte(len(dst))),
	}
}

// element sets e to H(salt, item).
func (h *hasher) element(e *ristretto255.Element, item string) {
	u := h.expand(item, sha512.Size)
	e.FromUniformBytes(u[:])
}

// expand is expand_message_xmd with SHA-512 for up to 64 bytes: b_1 of RFC 9380,
// section 5.3.1, of which the first n bytes are the result. n takes part in the
// hash.
func (h *hasher) expand(item string, n byte) [sha512.Size]byte {
	b := append(h.buf[:0], h.head...)
	b = append(b, item...)
	b = append(b, 0, n, 0)
	b = append(b, h.dstPrime...)
	b0 := sha512.Sum512(b)
	b = append(b[:0], b0[:]...)
	b = append(b, 1)
	b = append(b, h.dstPrime...)
	h.buf = b
	return sha512.Sum512(b)
}

// doubled returns the tag of the doubly masked item e.
func doubled(e *ristretto255.Element) tag {
	var buf [len(doubleTag) + ElementLen]byte
	copy(buf[:], doubleTag)
	e.Encode(buf[len(doubleTag):len(doubleTag)])
	sum := sha256.Sum256(buf[:])
	return tag(sum[:TagLen])
}

// decode sets e to the element that b encodes. All zeros is the one encoding of
// the identity, which would show its place after any masking.
func decode(e *ristretto255.Element, b []byte) error {
	if [ElementLen]byte(b) == [ElementLen]byte{} || e.Decode(b) != nil {
		return ErrElement
	}
	return nil
}

// newSecret returns a uniform nonzero scalar.
func newSecret(random io.Reader) (*ristretto255.Scalar, error) {
	var b [64]byte
	if err := readRandom(random, b[:]); err != nil {
		return nil, err
	}
	s := ristretto255.NewScalar().FromUniformBytes(b[:])
	clear(b[:])
	if s.Equal(ristretto255.NewScalar()) == 1 {
		return nil, fmt.Errorf("%w: zero secret", ErrRandom)
	}
	return s, nil
}
