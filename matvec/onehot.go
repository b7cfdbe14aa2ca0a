package matvec

import (
	"context"
	"fmt"
)

// Missing in an index puts the row in no bin of the feature.
const Missing = 255

// OneHot is a 0/1 matrix of one-hot columns: feature f puts row i into bin
// Index[f][i], or into none if that is not below Bins[f]. The rows of the matrix,
// which sums are numbered by, are the bins of the first feature, then those of the
// second, and so on.
type OneHot struct {
	Rows  int
	Bins  []int     // bins of each feature, 1 to 255
	Index [][]uint8 // [feature][row]
}

// TotalBins returns the number of bins over all features.
func (m OneHot) TotalBins() int {
	n := 0
	for _, b := range m.Bins {
		n += b
	}
	return n
}

func (m OneHot) check() error {
	if len(m.Index) != len(m.Bins) {
		return fmt.Errorf("%w: %d index columns for %d features", ErrMatrix, len(m.Index), len(m.Bins))
	}
	for f, b := range m.Bins {
		if b < 1 || b > Missing {
			return fmt.Errorf("%w: feature %d has %d bins, must have 1 to %d", ErrMatrix, f, b, Missing)
		}
		if len(m.Index[f]) != m.Rows {
			return fmt.Errorf("%w: feature %d has %d rows, the matrix %d", ErrMatrix, f, len(m.Index[f]), m.Rows)
		}
	}
	return nil
}

// Prepare checks the matrix and copies it into the form that sums are made from.
// The error is an [ErrMatrix].
func (m OneHot) Prepare() (*Prepared, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	return prepare(m), nil
}

// Prepared is a matrix made ready for adding: rows in no bin of a feature are in
// a bin of their own behind the others, which is dropped. It is read-only.
type Prepared struct {
	rows  int
	bins  []int
	first []int     // number of a feature's first bin
	col   [][]uint8 // [feature][row], each at most bins[f]
}

// Histogram computes sums in the clear: rows holds for each row of the table its
// lanes one after the other, and the result holds for each bin the sums of its
// rows' lanes modulo 2^64, [bin][lane]. It is the kernel of [Holder.Answer]
// without the cryptography, for a party's sums over its own columns and for
// comparison. The error is an [ErrRange] or the context's.
func (x *Prepared) Histogram(ctx context.Context, lanes int, rows []uint64) ([]uint64, error) {
	if lanes < 1 || len(rows) != x.rows*lanes {
		return nil, fmt.Errorf("%w: %d words are not %d lanes of %d rows", ErrRange, len(rows), lanes, x.rows)
	}
	return histogram(ctx, x, lanes, rows, nil)
}

func prepare(m OneHot) *Prepared {
	x := &Prepared{rows: m.Rows, bins: append([]int(nil), m.Bins...), first: make([]int, len(m.Bins)+1), col: make([][]uint8, len(m.Bins))}
	for f, b := range m.Bins {
		x.first[f+1] = x.first[f] + b
		x.col[f] = make([]uint8, m.Rows)
		for i, v := range m.Index[f] {
			x.col[f][i] = min(v, uint8(b))
		}
	}
	return x
}

// total is the number of bins.
func (x *Prepared) total() int { return x.first[len(x.bins)] }
