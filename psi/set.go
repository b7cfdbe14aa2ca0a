package psi

import (
	"context"
	"fmt"
	"io"

	"github.com/gtank/ristretto255"

	"kontor/internal/parallel"
)

// set is what both roles begin with: items in a secret order under a secret mask.
type set struct {
	salt   [32]byte
	items  []string
	order  []uint32 // order[p] is the item at position p
	secret *ristretto255.Scalar
}

func newSet(salt [32]byte, items []string, random io.Reader) (*set, error) {
	if err := checkLen(len(items)); err != nil {
		return nil, err
	}
	seen := make(map[string]uint32, len(items))
	for i, x := range items {
		if len(x) > MaxItemLen {
			return nil, fmt.Errorf("%w: item %d has %d bytes, at most %d are allowed", ErrItemLen, i, len(x), MaxItemLen)
		}
		if j, ok := seen[x]; ok {
			return nil, &DuplicateError{First: int(j), Second: i}
		}
		seen[x] = uint32(i)
	}
	s := &set{salt: salt, items: items, order: make([]uint32, len(items))}
	var err error
	if s.secret, err = newSecret(random); err != nil {
		return nil, fmt.Errorf("drawing the secret: %w", err)
	}
	for i := range s.order {
		s.order[i] = uint32(i)
	}
	if err := shuffle(s.order, random); err != nil {
		return nil, fmt.Errorf("drawing the order: %w", err)
	}
	return s, nil
}

func checkLen(items int) error {
	if items > MaxItems {
		return fmt.Errorf("%w: %d, at most %d are allowed", ErrTooMany, items, MaxItems)
	}
	return nil
}

// mask returns the masked items at positions lo up to hi.
func (s *set) mask(ctx context.Context, lo, hi int) ([]byte, error) {
	if lo < 0 || hi < lo || hi > len(s.items) {
		return nil, fmt.Errorf("%w: [%d, %d) of %d", ErrRange, lo, hi, len(s.items))
	}
	out := make([]byte, (hi-lo)*ElementLen)
	err := parallel.Workers(ctx, hi-lo, func() func(int) error {
		h, e := newHasher(hashTag, s.salt[:]), ristretto255.NewElement()
		return func(i int) error {
			h.element(e, s.items[s.order[lo+i]])
			e.ScalarMult(s.secret, e).Encode(out[i*ElementLen : i*ElementLen : (i+1)*ElementLen])
			return nil
		}
	})
	if err != nil {
		return nil, fmt.Errorf("masking items: %w", err)
	}
	return out, nil
}

// double masks the peer's masked items once more and returns their tags.
func (s *set) double(ctx context.Context, elements []byte) ([]tag, error) {
	if len(elements)%ElementLen != 0 {
		return nil, fmt.Errorf("%w: %d bytes of masked items", ErrLength, len(elements))
	}
	tags := make([]tag, len(elements)/ElementLen)
	err := parallel.Workers(ctx, len(tags), func() func(int) error {
		e := ristretto255.NewElement()
		return func(i int) error {
			if err := decode(e, elements[i*ElementLen:(i+1)*ElementLen]); err != nil {
				return err
			}
			tags[i] = doubled(e.ScalarMult(s.secret, e))
			return nil
		}
	})
	if err != nil {
		return nil, fmt.Errorf("masking the peer's items: %w", err)
	}
	return tags, nil
}
