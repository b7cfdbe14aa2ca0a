package matvec

import (
	"context"
	"runtime"

	"kontor/internal/parallel"
	"kontor/ring"
)

// foldRows is after how many rows sums of residues have to be folded: a folded
// sum and 2047 residues still fit 64 bits (see [ring.Modulus.Fold]). It is also
// the tile that stays in the second cache while all features pass over it.
const foldRows = 2047

// maxSpans is how many folded sums may be added up without folding again.
const maxSpans = 1 << 10

// histogram adds up the lanes of the rows of each bin. With mod set, lane l holds
// residues of modulus l%2 and so does the result; otherwise sums are modulo 2^64.
// The result is indexed [bin][lane]. It takes the lanes 16, 8, 4, 2, 1 at a time:
// with a constant number of them the compiler needs no checks between the
// additions.
func histogram(ctx context.Context, x *Prepared, lanes int, rows []uint64, mod *[2]ring.Modulus) ([]uint64, error) {
	h := &adder{x: x, stride: lanes, rows: rows, mod: mod, out: make([]uint64, x.total()*lanes)}
	at := 0
	for ; lanes-at >= 16; at += 16 {
		if err := addPanel(ctx, h, at, add16); err != nil {
			return nil, err
		}
	}
	for _, p := range []struct {
		width int
		run   func() error
	}{
		{8, func() error { return addPanel(ctx, h, at, add8) }},
		{4, func() error { return addPanel(ctx, h, at, add4) }},
		{2, func() error { return addPanel(ctx, h, at, add2) }},
		{1, func() error { return addPanel(ctx, h, at, add1) }},
	} {
		if lanes-at < p.width {
			continue
		}
		if err := p.run(); err != nil {
			return nil, err
		}
		at += p.width
	}
	if mod != nil {
		for j := range h.out {
			h.out[j] = mod[j&1].Reduce(h.out[j])
		}
	}
	return h.out, nil
}

// adder is what the panels of a histogram have in common.
type adder struct {
	x      *Prepared
	stride int // lanes of a row
	rows   []uint64
	mod    *[2]ring.Modulus
	out    []uint64
}

// lanes is a constant number of sums side by side.
type lanes interface {
	[1]uint64 | [2]uint64 | [4]uint64 | [8]uint64 | [16]uint64
}

// addPanel adds up the lanes from at on, as many as A has. The features are
// shared out over the cores; where there are fewer features than cores the rows
// are cut as well.
func addPanel[A lanes](ctx context.Context, h *adder, at int, add func(sums []A, col []uint8, rows []uint64, stride int)) error {
	x, procs := h.x, runtime.GOMAXPROCS(0)
	groups := min(len(x.bins), procs)
	spans := max(1, min((procs+groups-1)/groups, x.rows/(4*foldRows), maxSpans))
	parts := make([][]A, groups*spans)
	err := parallel.For(ctx, groups*spans, func(i int) error {
		f0, f1 := i/spans*len(x.bins)/groups, (i/spans+1)*len(x.bins)/groups
		r0, r1 := i%spans*x.rows/spans, (i%spans+1)*x.rows/spans
		// Each feature has a bin more for rows in none, and the end has slack so
		// that any index of eight bits is inside.
		used := x.first[f1] - x.first[f0] + f1 - f0
		sums := make([]A, used+256)
		for lo := r0; lo < r1; lo += foldRows {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			hi := min(r1, lo+foldRows)
			s := sums
			for f := f0; f < f1; f++ {
				add(s, x.col[f][lo:hi], h.rows[lo*h.stride+at:], h.stride)
				s = s[x.bins[f]+1:]
			}
			if h.mod != nil {
				foldAll(sums[:used], h.mod)
			}
		}
		parts[i] = sums
		return nil
	})
	if err != nil {
		return err
	}
	for i, sums := range parts {
		for f := i / spans * len(x.bins) / groups; f < (i/spans+1)*len(x.bins)/groups; f++ {
			for b := range x.bins[f] {
				dst := h.out[(x.first[f]+b)*h.stride+at:]
				for l := range len(sums[b]) {
					dst[l] += sums[b][l]
				}
			}
			sums = sums[x.bins[f]+1:]
		}
	}
	return nil
}

func foldAll[A lanes](sums []A, mod *[2]ring.Modulus) {
	m0, m1 := mod[0], mod[1]
	for i := range sums {
		for l := 0; l+1 < len(sums[i]); l += 2 {
			sums[i][l], sums[i][l+1] = m0.Fold(sums[i][l]), m1.Fold(sums[i][l+1])
		}
	}
}

func add16(sums [][16]uint64, col []uint8, rows []uint64, stride int) {
	sums = sums[:256]
	for i, b := range col {
		r, a := (*[16]uint64)(rows[i*stride:]), &sums[b]
		a[0] += r[0]
		a[1] += r[1]
		a[2] += r[2]
		a[3] += r[3]
		a[4] += r[4]
		a[5] += r[5]
		a[6] += r[6]
		a[7] += r[7]
		a[8] += r[8]
		a[9] += r[9]
		a[10] += r[10]
		a[11] += r[11]
		a[12] += r[12]
		a[13] += r[13]
		a[14] += r[14]
		a[15] += r[15]
	}
}

func add8(sums [][8]uint64, col []uint8, rows []uint64, stride int) {
	sums = sums[:256]
	for i, b := range col {
		r, a := (*[8]uint64)(rows[i*stride:]), &sums[b]
		a[0] += r[0]
		a[1] += r[1]
		a[2] += r[2]
		a[3] += r[3]
		a[4] += r[4]
		a[5] += r[5]
		a[6] += r[6]
		a[7] += r[7]
	}
}

func add4(sums [][4]uint64, col []uint8, rows []uint64, stride int) {
	sums = sums[:256]
	for i, b := range col {
		r, a := (*[4]uint64)(rows[i*stride:]), &sums[b]
		a[0] += r[0]
		a[1] += r[1]
		a[2] += r[2]
		a[3] += r[3]
	}
}

func add2(sums [][2]uint64, col []uint8, rows []uint64, stride int) {
	sums = sums[:256]
	for i, b := range col {
		r, a := (*[2]uint64)(rows[i*stride:]), &sums[b]
		a[0] += r[0]
		a[1] += r[1]
	}
}

func add1(sums [][1]uint64, col []uint8, rows []uint64, stride int) {
	sums = sums[:256]
	for i, b := range col {
		r, a := (*[1]uint64)(rows[i*stride:]), &sums[b]
		a[0] += r[0]
	}
}
