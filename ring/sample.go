package ring

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// KeySize is the size of a [Source]'s key in bytes.
const KeySize = 32

// ErrRandom says that the caller gave no randomness, or that reading it failed.
var ErrRandom = errors.New("ring: no randomness")

// Source is a keyed family of pseudorandom streams: AES-256 in counter mode, one
// range of counters for each domain and index. The same key, domain and index
// always give the same stream.
type Source struct{ block cipher.Block }

// NewSource makes the family of a key.
func NewSource(key *[KeySize]byte) (*Source, error) {
	b, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("ring: keying the generator: %w", err)
	}
	return &Source{b}, nil
}

// ReadSource makes the family of a fresh key read from rand.
func ReadSource(rand io.Reader) (*Source, error) {
	if rand == nil {
		return nil, fmt.Errorf("%w: the reader is nil", ErrRandom)
	}
	var key [KeySize]byte
	if _, err := io.ReadFull(rand, key[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRandom, err)
	}
	s, err := NewSource(&key)
	clear(key[:])
	return s, err
}

// Stream returns stream index, below 2^56, of a domain, from its beginning. A
// stream is good for 2^64 blocks of 16 bytes.
func (s *Source) Stream(domain uint8, index uint64) *Stream {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[:], uint64(domain)<<56|index&(1<<56-1))
	t := &Stream{ctr: cipher.NewCTR(s.block, iv[:])}
	t.next = len(t.buf)
	return t
}

// Stream is a pseudorandom stream with the samplers on top. Not for concurrent
// use.
type Stream struct {
	ctr  cipher.Stream
	next int
	buf  [4096]byte
}

var zeros [4096]byte

func (s *Stream) refill() {
	s.ctr.XORKeyStream(s.buf[:], zeros[:])
	s.next = 0
}

// take returns between one and most units of eight bytes from the buffer.
func (s *Stream) take(most int) []byte {
	s.next = (s.next + 7) &^ 7
	if s.next >= len(s.buf) {
		s.refill()
	}
	b := s.buf[s.next:min(len(s.buf), s.next+8*most)]
	s.next += len(b)
	return b
}

// Uint64 returns the next 64 bits.
func (s *Stream) Uint64() uint64 { return binary.LittleEndian.Uint64(s.take(1)) }

// Uniform fills dst with uniform residues.
func (s *Stream) Uniform(dst []uint64, m Modulus) {
	for len(dst) > 0 {
		n := 0
		for b := s.take(len(dst)); len(b) >= 8; b = b[8:] {
			v := binary.LittleEndian.Uint64(b) & mask53
			dst[n] = v
			if v < m.q {
				n++
			}
		}
		dst = dst[n:]
	}
}

// Eta is the parameter of the centred binomial distribution: the difference of
// two sums of Eta fair bits, in [-Eta, Eta], with variance Eta/2 = 10.5, that is
// a standard deviation of 3.24.
const Eta = 21

// Binomial fills dst from the centred binomial distribution.
func (s *Stream) Binomial(dst []int8) {
	const half, all = 1<<Eta - 1, 1<<(2*Eta) - 1
	for len(dst) > 0 {
		b := s.take(len(dst))
		for i := range len(b) / 8 {
			// The sum of Eta bits less the sum of Eta others: complement the
			// others, count, take off Eta.
			v := binary.LittleEndian.Uint64(b[8*i:]) & all
			dst[i] = int8(bits.OnesCount64(v^half) - Eta)
		}
		dst = dst[len(b)/8:]
	}
}

// Ternary fills dst with uniform values from {-1, 0, 1}. It takes a byte for
// each and throws away the bytes 255.
func (s *Stream) Ternary(dst []int8) {
	for len(dst) > 0 {
		n := 0
		for _, v := range s.take((len(dst) + 7) / 8) {
			if n == len(dst) {
				break // the rest of a unit is not used
			}
			third := uint32(v) * 171 >> 9 // v/3 for v < 256
			dst[n] = int8(uint32(v)-3*third) - 1
			if v != 255 {
				n++
			}
		}
		dst = dst[n:]
	}
}
