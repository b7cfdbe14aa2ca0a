// Package psi finds which items two parties have in common without showing
// either party the items it does not have.
//
// It is the Diffie-Hellman protocol of Meadows (1986) and Huberman, Franklin
// and Hogg (1999) over ristretto255 (RFC 9496), items hashed to the group with
// hash_to_ristretto255 of RFC 9380, appendix B. One party, the [Receiver], learns
// which of its items the other has and at which positions of the other's
// shuffled list; the other, the [Sender], learns how many items the receiver
// has. Both follow the protocol and may try to learn more from what they see
// (semi-honest); against such parties it has 128-bit security. PROTOCOL.md has
// the messages, the assumptions and the failure probability.
//
//	Receiver (α, items x)                       Sender (β, items y)
//	Mask          α·H(x), shuffled  ──────────►  Double
//	TakeDoubled   tag(β·α·H(x))     ◄──────────
//	TakeMasked    β·H(y), shuffled  ◄──────────  Mask
//	Matches       tag(α·β·H(y)) against tag(β·α·H(x))
//
// The steps are local: the package does no I/O. Each takes a run of items, so
// that computing, sending and receiving can overlap, and uses all cores. The
// same items, masks and secrets must not serve two runs: make a new Receiver and
// Sender for each, with a salt no other run has.
//
// Not for items that a party could make up to probe the other: whoever holds
// the receiver's role chooses what it asks for. Not for 10⁸ items in minutes
// either: every item costs two scalar multiplications, one at each party.
package psi

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

// Bounds and sizes, all part of the protocol.
const (
	MaxItems   = 1 << 27 // items in one set
	MaxItemLen = 1 << 12 // bytes in one item
	ElementLen = 32      // bytes of a masked item
	TagLen     = 16      // bytes of a doubly masked item
)

// Errors about this party's own input.
var (
	ErrDuplicate = errors.New("psi: duplicate item") // found as *[DuplicateError]
	ErrItemLen   = errors.New("psi: item too long")
	ErrTooMany   = errors.New("psi: too many items")
	ErrRange     = errors.New("psi: range outside the items")
	ErrRandom    = errors.New("psi: no randomness") // the reader is nil, ended or gave a zero secret
	ErrEarly     = errors.New("psi: step before those it needs")
)

// ErrPeer is wrapped by every error about what the peer sent. The run is over
// then: neither the Receiver nor the Sender may be used again.
var ErrPeer = errors.New("psi: peer broke the protocol")

// What a peer can do wrong; each is an [ErrPeer].
var (
	ErrLength   = fmt.Errorf("%w: wrong length", ErrPeer)
	ErrOrder    = fmt.Errorf("%w: items out of order or too many", ErrPeer)
	ErrElement  = fmt.Errorf("%w: not the canonical encoding of a group element, or the identity", ErrPeer)
	ErrRepeated = fmt.Errorf("%w: the same element twice", ErrPeer)
)

// DuplicateError says which items are equal. It is an [ErrDuplicate].
type DuplicateError struct {
	First, Second int // indexes into the items
}

// Error implements error. It does not show the item.
func (e *DuplicateError) Error() string {
	return fmt.Sprintf("%v: %d and %d are equal", ErrDuplicate, e.First, e.Second)
}

// Unwrap returns [ErrDuplicate].
func (e *DuplicateError) Unwrap() error { return ErrDuplicate }

// Match is one item that both parties have.
type Match struct {
	Item     int // index into the receiver's items
	Position int // in the sender's shuffled list, see [Sender.Order]
}

// Permutation returns the numbers below n in an order drawn uniformly with 32
// bytes of random.
func Permutation(n int, random io.Reader) ([]int, error) {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	if err := shuffle(p, random); err != nil {
		return nil, err
	}
	return p, nil
}

// shuffle reorders s. ChaCha8 under a fresh seed is as good as the caller's
// randomness here and spares it a read an item.
func shuffle[T any](s []T, random io.Reader) error {
	var seed [32]byte
	if err := readRandom(random, seed[:]); err != nil {
		return err
	}
	rand.New(rand.NewChaCha8(seed)).Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	return nil
}

func readRandom(random io.Reader, p []byte) error {
	if random == nil {
		return fmt.Errorf("%w: nil reader", ErrRandom)
	}
	if _, err := io.ReadFull(random, p); err != nil {
		return fmt.Errorf("%w: %w", ErrRandom, err)
	}
	return nil
}
