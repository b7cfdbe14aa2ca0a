package psi

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
)

// Receiver is the party that learns the intersection. One Receiver serves one
// run with any number of senders: its masked items are the same for all of
// them, each has a [Matcher] of its own.
type Receiver struct{ set *set }

// NewReceiver returns a receiver of the given distinct items. salt is known to
// all parties of the run and is used in no other. The secret and the order of
// the items are drawn from random, 96 bytes in all. items is kept, not copied.
func NewReceiver(salt [32]byte, items []string, random io.Reader) (*Receiver, error) {
	s, err := newSet(salt, items, random)
	if err != nil {
		return nil, err
	}
	return &Receiver{s}, nil
}

// Mask returns the masked items at positions lo up to hi, [ElementLen] bytes
// each, for all senders. It may be called from several goroutines.
func (r *Receiver) Mask(ctx context.Context, lo, hi int) ([]byte, error) {
	return r.set.mask(ctx, lo, hi)
}

// Match begins the comparison with one sender, which has said that it has
// senderItems items.
func (r *Receiver) Match(senderItems int) (*Matcher, error) {
	if senderItems < 0 || senderItems > MaxItems {
		return nil, fmt.Errorf("%w: it claims %d items, at most %d are allowed", ErrPeer, senderItems, MaxItems)
	}
	// Only the map of our own size is allocated ahead; the other grows with what
	// the sender really sends.
	return &Matcher{r: r, senderItems: senderItems,
		own: make(map[tag]uint32, len(r.set.items)), theirs: map[tag]uint32{}}, nil
}

// Matcher compares the receiver's items with those of one sender. TakeDoubled
// and TakeMasked may run at the same time, each in one goroutine at a time.
type Matcher struct {
	r           *Receiver
	senderItems int
	own         map[tag]uint32 // to the position in the receiver's order
	theirs      map[tag]uint32 // to the position in the sender's order
}

// TakeDoubled takes the sender's answer to the masked items at positions lo and
// up, [TagLen] bytes each. Answers come in the order of the positions.
func (m *Matcher) TakeDoubled(lo int, tags []byte) error {
	if len(tags)%TagLen != 0 {
		return fmt.Errorf("%w: %d bytes of doubly masked items", ErrLength, len(tags))
	}
	n := len(tags) / TagLen
	if lo != len(m.own) || n > len(m.r.set.items)-lo {
		return fmt.Errorf("%w: %d doubly masked items at %d, %d of %d were taken", ErrOrder, n, lo, len(m.own), len(m.r.set.items))
	}
	for i := range n {
		t := tag(tags[i*TagLen : (i+1)*TagLen])
		if _, ok := m.own[t]; ok {
			return fmt.Errorf("%w: doubly masked item %d", ErrRepeated, lo+i)
		}
		m.own[t] = uint32(lo + i)
	}
	return nil
}

// TakeMasked takes the sender's masked items at positions lo and up,
// [ElementLen] bytes each, in the order of the positions.
func (m *Matcher) TakeMasked(ctx context.Context, lo int, elements []byte) error {
	if n := len(elements) / ElementLen; lo != len(m.theirs) || n > m.senderItems-lo {
		return fmt.Errorf("%w: %d masked items at %d, %d of %d were taken", ErrOrder, n, lo, len(m.theirs), m.senderItems)
	}
	tags, err := m.r.set.double(ctx, elements)
	if err != nil {
		return err
	}
	for i, t := range tags {
		if _, ok := m.theirs[t]; ok {
			return fmt.Errorf("%w: masked item %d", ErrRepeated, lo+i)
		}
		m.theirs[t] = uint32(lo + i)
	}
	return nil
}

// Matches returns the items that both parties have, sorted by item. All of both
// streams must have been taken, else it fails with [ErrEarly].
func (m *Matcher) Matches() ([]Match, error) {
	if len(m.own) != len(m.r.set.items) || len(m.theirs) != m.senderItems {
		return nil, fmt.Errorf("%w: %d of %d doubly masked and %d of %d masked items were taken",
			ErrEarly, len(m.own), len(m.r.set.items), len(m.theirs), m.senderItems)
	}
	var ms []Match
	if len(m.own) <= len(m.theirs) {
		for t, i := range m.own {
			if p, ok := m.theirs[t]; ok {
				ms = append(ms, Match{int(m.r.set.order[i]), int(p)})
			}
		}
	} else {
		for t, p := range m.theirs {
			if i, ok := m.own[t]; ok {
				ms = append(ms, Match{int(m.r.set.order[i]), int(p)})
			}
		}
	}
	slices.SortFunc(ms, func(a, b Match) int { return cmp.Compare(a.Item, b.Item) })
	return ms, nil
}
