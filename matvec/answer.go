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
	w, err := newAnswering(ctx, h, q)
	if err != nil {
		return nil, err
	}
	bins := h.x.total()
	a := &Answer{p: h.p, bins: bins, vectors: q.vectors, c: make([]uint64, bins*q.words)}
	err = parallel.Workers(ctx, bins, func() func(int) error {
		rho, c := make([]int8, degree), make([]uint64, w.lanes)
		return func(r int) error {
			w.exact(c, rho, r)
			flood := src.Stream(domainFlood, uint64(r))
			for t := range q.words {
				hi, lo := h.p.flood(flood)
				for j, m := range w.mod {
					c[2*t+j] = m.Add(c[2*t+j], h.p.floodResidue(m, hi, lo))
				}
				a.c[r*q.words+t] = w.kern.pair.Fraction(c[2*t], c[2*t+1], 64)
			}
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// answering is what the rows of an answer have in common.
type answering struct {
	h     *Holder
	kern  *kernels
	mod   [2]ring.Modulus
	lanes int
	sums  []uint64 // Σ M[r,i]·b_i, [bin][word][prime]
	mask  *maskLanes
}

func newAnswering(ctx context.Context, h *Holder, q *Query) (*answering, error) {
	kern := loadKernels()
	w := &answering{h: h, kern: kern, mod: [2]ring.Modulus{kern.ntt[0].Modulus, kern.ntt[1].Modulus}, lanes: 2 * q.words}
	var err error
	if w.sums, err = histogram(ctx, h.x, w.lanes, q.rows, &w.mod); err != nil {
		return nil, err
	}
	w.mask = newMaskLanes(q.mask, w.lanes)
	return w, nil
}

// exact computes the lanes of row r of M before the flood: Σ M[r,i]·b_i plus the
// inner product of ρ_r and b″.
func (w *answering) exact(c []uint64, rho []int8, r int) {
	unpackTernary(rho, w.h.rho[r*degree/4:][:degree/4])
	w.mask.dot(c, rho, &w.mod)
	for l, v := range w.sums[r*w.lanes:][:w.lanes] {
		c[l] = w.mod[l&1].Add(c[l], v)
	}
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
