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
// The result is indexed [bin][lane].
func histogram(ctx context.Context, x *Prepared, lanes int, rows []uint64, mod *[2]ring.Modulus) ([]uint64, error) {
	procs := runtime.GOMAXPROCS(0)
	groups := min(len(x.bins), procs)
	// Where there are fewer features than cores the rows are cut as well.
	spans := 1
	if groups > 0 {
		spans = max(1, min((procs+groups-1)/groups, x.rows/(4*foldRows), maxSpans))
	}
	out := make([]uint64, x.total()*lanes)
	parts := make([][]uint64, groups*spans)
	err := parallel.For(ctx, groups*spans, func(i int) error {
		g, s := i/spans, i%spans
		f0, f1 := g*len(x.bins)/groups, (g+1)*len(x.bins)/groups
		r0, r1 := s*x.rows/spans, (s+1)*x.rows/spans
		sums := make([]uint64, (x.first[f1]-x.first[f0]+f1-f0)*lanes)
		for lo := r0; lo < r1; lo += foldRows {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			hi := min(r1, lo+foldRows)
			at := 0
			for f := f0; f < f1; f++ {
				size := (x.bins[f] + 1) * lanes
				addRows(sums[at:at+size], x.col[f][lo:hi], rows[lo*lanes:hi*lanes], lanes)
				at += size
			}
			if mod != nil {
				for j := range sums {
					sums[j] = mod[j&1].Fold(sums[j])
				}
			}
		}
		parts[i] = sums
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, sums := range parts {
		g := i / spans
		for f := g * len(x.bins) / groups; f < (g+1)*len(x.bins)/groups; f++ {
			n := x.bins[f] * lanes
			dst := out[x.first[f]*lanes:][:n]
			for j, v := range sums[:n] {
				dst[j] += v
			}
			sums = sums[n+lanes:]
		}
	}
	if mod != nil {
		for j := range out {
			out[j] = mod[j&1].Reduce(out[j])
		}
	}
	return out, nil
}

// addRows adds each row's lanes to the sums of its bin. It takes the lanes 16, 8,
// 4, 2, 1 at a time, which the compiler can keep free of bounds checks.
func addRows(sums []uint64, col []uint8, rows []uint64, lanes int) {
	at := 0
	for ; lanes-at >= 16; at += 16 {
		add16(sums[at:], col, rows[at:], lanes)
	}
	if lanes-at >= 8 {
		add8(sums[at:], col, rows[at:], lanes)
		at += 8
	}
	if lanes-at >= 4 {
		add4(sums[at:], col, rows[at:], lanes)
		at += 4
	}
	if lanes-at >= 2 {
		add2(sums[at:], col, rows[at:], lanes)
		at += 2
	}
	if lanes > at {
		for i, b := range col {
			sums[at+int(b)*lanes] += rows[at+i*lanes]
		}
	}
}

func add16(sums []uint64, col []uint8, rows []uint64, lanes int) {
	for i, b := range col {
		r := (*[16]uint64)(rows[i*lanes:])
		a := (*[16]uint64)(sums[int(b)*lanes:])
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

func add8(sums []uint64, col []uint8, rows []uint64, lanes int) {
	for i, b := range col {
		r := (*[8]uint64)(rows[i*lanes:])
		a := (*[8]uint64)(sums[int(b)*lanes:])
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

func add4(sums []uint64, col []uint8, rows []uint64, lanes int) {
	for i, b := range col {
		r := (*[4]uint64)(rows[i*lanes:])
		a := (*[4]uint64)(sums[int(b)*lanes:])
		a[0] += r[0]
		a[1] += r[1]
		a[2] += r[2]
		a[3] += r[3]
	}
}

func add2(sums []uint64, col []uint8, rows []uint64, lanes int) {
	for i, b := range col {
		r := (*[2]uint64)(rows[i*lanes:])
		a := (*[2]uint64)(sums[int(b)*lanes:])
		a[0] += r[0]
		a[1] += r[1]
	}
}
