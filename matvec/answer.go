package matvec

import (
	"context"
	"fmt"
	"math/bits"

	"kontor/internal/parallel"
	"kontor/ring"
)

// Answer adds up a query over every bin. It reads 32 bytes from the holder's
// reader. The query's ring words are taken off the hint's budget first, whatever
// comes of it: an [ErrBudget] if there are not enough left. An [ErrMismatch] is a
// query for other parameters.
func (h *Holder) Answer(ctx context.Context, q *Query) (*Answer, error) {
	if q == nil || q.p != h.p {
		return nil, fmt.Errorf("%w: the query is for other parameters", ErrMismatch)
	}
	src, err := h.charge(q.words)
	if err != nil {
		return nil, err
	}
	kern := loadKernels()
	mod := [2]ring.Modulus{kern.ntt[0].Modulus, kern.ntt[1].Modulus}
	lanes := 2 * q.words
	sums, err := histogram(ctx, h.x, lanes, q.rows, &mod)
	if err != nil {
		return nil, err
	}
	mask := newMaskLanes(q.mask, lanes)
	bins := h.x.total()
	a := &Answer{p: h.p, bins: bins, vectors: q.vectors, c: make([]uint64, bins*q.words)}
	err = parallel.Workers(ctx, bins, func() func(int) error {
		rho, dots := make([]int8, degree), make([]uint64, lanes)
		return func(r int) error {
			unpackTernary(rho, h.rho[r*degree/4:][:degree/4])
			mask.dot(dots, rho, &mod)
			flood := src.Stream(domainFlood, uint64(r))
			for t := range q.words {
				c := [2]uint64{}
				hi, lo := h.p.flood(flood)
				for j, m := range mod {
					v := m.Add(sums[r*lanes+2*t+j], dots[2*t+j])
					c[j] = m.Add(v, h.p.floodResidue(m, hi, lo))
				}
				a.c[r*q.words+t] = kern.pair.Fraction(c[0], c[1], 64)
			}
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// charge takes ring words off the budget and returns fresh randomness.
func (h *Holder) charge(words int) (*ring.Source, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if total := h.p.words(h.p.spec.Queries); words > total-h.used {
		return nil, fmt.Errorf("%w: %d vectors planned, %d answered, %d more asked",
			ErrBudget, h.p.spec.Queries, h.used*h.p.perWord, words*h.p.perWord)
	}
	h.used += words
	src, err := ring.ReadSource(h.rand)
	if err != nil {
		return nil, fmt.Errorf("matvec: answering: %w", err)
	}
	return src, nil
}

// flood draws the sum of three uniform integers in [0, floodTop·2^k).
func (p Params) flood(s *ring.Stream) (hi, lo uint64) {
	k := uint(p.floodLog())
	for range 3 {
		// The top is uniform in [0, floodTop) by rejection, the k bits below it are
		// free.
		top := s.Uint64() & 7
		for top >= floodTop {
			top = s.Uint64() & 7
		}
		h, l := s.Uint64(), s.Uint64()
		if k >= 64 {
			h = h&(1<<(k-64)-1) | top<<(k-64)
		} else {
			h, l = top>>(64-k), l&(1<<k-1)|top<<k
		}
		var c uint64
		lo, c = bits.Add64(lo, l, 0)
		hi += h + c
	}
	return hi, lo
}

// floodResidue is the residue of a drawn sum, moved to have its middle at zero:
// less 3·floodTop·2^(k-1).
func (p Params) floodResidue(m ring.Modulus, hi, lo uint64) uint64 {
	k := uint(p.floodLog() - 1)
	mid := m.Mul(3*floodTop, m.Pow(2, uint64(k)))
	return m.Sub(m.Reduce128(hi, lo), mid)
}
