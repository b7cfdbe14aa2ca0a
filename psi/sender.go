package psi

import (
	"context"
	"fmt"
	"io"
)

// Sender is the party that answers one receiver and learns only how many items
// that receiver has.
type Sender struct {
	set           *set
	receiverItems int // -1 until known
	seen          map[tag]struct{}
	failed        error
}

// NewSender returns a sender of the given distinct items; see [NewReceiver] for
// the arguments.
func NewSender(salt [32]byte, items []string, random io.Reader) (*Sender, error) {
	s, err := newSet(salt, items, random)
	if err != nil {
		return nil, err
	}
	return &Sender{set: s, receiverItems: -1, seen: map[tag]struct{}{}}, nil
}

// Mask returns the masked items at positions lo up to hi, [ElementLen] bytes
// each, for [Matcher.TakeMasked]. It may be called from several goroutines.
func (s *Sender) Mask(ctx context.Context, lo, hi int) ([]byte, error) {
	return s.set.mask(ctx, lo, hi)
}

// Expect sets how many items the receiver has said it has: [Sender.Double]
// answers that many and no more. It is called once, before Double.
func (s *Sender) Expect(receiverItems int) error {
	if s.receiverItems >= 0 {
		return fmt.Errorf("%w: the number of the receiver's items is already set", ErrOrder)
	}
	if receiverItems < 0 || receiverItems > MaxItems {
		return fmt.Errorf("%w: it claims %d items, at most %d are allowed", ErrPeer, receiverItems, MaxItems)
	}
	s.receiverItems = receiverItems
	return nil
}

// Double masks the receiver's masked items at positions lo and up once more and
// returns what the receiver's [Matcher.TakeDoubled] takes, [TagLen] bytes an
// item. Calls come in the order of the positions, one at a time; Mask may run at
// the same time. After an error every further call fails with the same error,
// so that a receiver cannot have more than its share answered.
func (s *Sender) Double(ctx context.Context, lo int, elements []byte) ([]byte, error) {
	if s.failed == nil {
		tags, err := s.answer(ctx, lo, elements)
		if err == nil {
			return tags, nil
		}
		s.failed = err
	}
	return nil, s.failed
}

func (s *Sender) answer(ctx context.Context, lo int, elements []byte) ([]byte, error) {
	if s.receiverItems < 0 {
		return nil, fmt.Errorf("%w: the number of the receiver's items is not known", ErrEarly)
	}
	if n := len(elements) / ElementLen; lo != len(s.seen) || n > s.receiverItems-lo {
		return nil, fmt.Errorf("%w: %d masked items at %d, %d of %d were answered", ErrOrder, n, lo, len(s.seen), s.receiverItems)
	}
	tags, err := s.set.double(ctx, elements)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(tags)*TagLen)
	for i, t := range tags {
		if _, ok := s.seen[t]; ok {
			return nil, fmt.Errorf("%w: masked item %d", ErrRepeated, lo+i)
		}
		s.seen[t] = struct{}{}
		out = append(out, t[:]...)
	}
	return out, nil
}

// Order returns the item at each position: the receiver's [Match.Position] p is
// items[Order()[p]].
func (s *Sender) Order() []int {
	o := make([]int, len(s.set.order))
	for p, i := range s.set.order {
		o[p] = int(i)
	}
	return o
}
