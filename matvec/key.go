package matvec

import (
	"context"
	"fmt"
	"sync"

	"kontor/internal/parallel"
	"kontor/ring"
)

// Key holds the secrets of one query. It opens the answers of all holders that
// were given that query, each with that holder's hint, and has to be erased then.
// It may be used from several goroutines.
type Key struct {
	p              Params
	vectors, words int

	mu sync.RWMutex
	s  *secrets // nil once erased
}

// Erase overwrites the secrets. What the garbage collector has copied, if
// anything, is beyond its reach.
func (k *Key) Erase() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.s != nil {
		k.s.erase()
	}
	k.s = nil
}

// Open takes the sums out of a holder's answer: [vector][bin], bins in the order
// of [OneHot]. An [ErrMismatch] is a hint or an answer of other parameters, of
// another number of bins, or of another number of vectors; an answer to another
// query of the same shape cannot be told and opens to noise.
func (k *Key) Open(ctx context.Context, h *Hint, a *Answer) ([][]int64, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	switch {
	case k.s == nil:
		return nil, ErrErased
	case h == nil || a == nil || h.p != k.p || a.p != k.p:
		return nil, fmt.Errorf("%w: the hint or the answer is for other parameters", ErrMismatch)
	case h.bins != a.bins:
		return nil, fmt.Errorf("%w: a hint of %d bins, an answer of %d", ErrMismatch, h.bins, a.bins)
	case a.vectors != k.vectors:
		return nil, fmt.Errorf("%w: an answer of %d vectors to a query of %d", ErrMismatch, a.vectors, k.vectors)
	}
	out := make([][]int64, k.vectors)
	for i := range out {
		out[i] = make([]int64, h.bins)
	}
	size := ring.PackedLen(degree, k.p.hintBits)
	err := parallel.Workers(ctx, h.bins, func() func(int) error {
		x, dots := make([]uint64, degree), make([]uint64, k.words)
		return func(r int) error {
			ring.Unpack(x, h.packed[r*size:][:size], k.p.hintBits)
			k.s.dot(dots, x)
			for t, d := range dots {
				c := a.c[r*k.words+t] - d<<(64-k.p.hintBits)
				k.p.split(c, func(i int, v int64) {
					if n := t*k.p.perWord + i; n < k.vectors {
						out[n][r] = v
					}
				})
			}
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// split rounds a fraction of q to the payload of its ring word and gives the
// sums in it.
func (p Params) split(c uint64, put func(i int, sum int64)) {
	w := p.wordBits()
	v := int64(c+1<<(63-w)) >> (64 - w)
	for i := range p.perWord {
		s := v << (64 - p.payload) >> (64 - p.payload)
		put(i, s)
		v = (v - s) >> p.payload
	}
}
