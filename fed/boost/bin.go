package boost

import (
	"context"
	"math"
	"slices"
	"sort"

	"kontor/internal/parallel"
)

// feature is one column cut into bins. Bin b holds the values in
// (edges[b-1], edges[b]]; the last edge is the largest finite number. index
// gives the bin of every position (training rows, then validation rows), and
// len(edges) where the value is missing.
type feature struct {
	column int // index among the columns it came from
	name   string
	edges  []float64
	index  []uint8
}

// goesLeft says where a split at edge b sends position i.
func (f *feature) goesLeft(i int32, b int, defaultLeft bool) bool {
	v := int(f.index[i])
	return v <= b || (v == len(f.edges) && defaultLeft)
}

// left is the side a value takes at a threshold. It agrees with
// [feature.goesLeft] for the edge that the threshold is.
func left(x, threshold float64, defaultLeft bool) bool {
	if x != x {
		return defaultLeft
	}
	return finite(x) <= threshold
}

func finite(x float64) float64 { return max(-math.MaxFloat64, min(math.MaxFloat64, x)) }

// binColumns cuts every column by the quantiles of its training rows. A column
// that no split can divide is left out: all missing, or constant and never missing.
func binColumns(ctx context.Context, cols []Column, rows Rows, bins int) ([]*feature, error) {
	all := make([]*feature, len(cols))
	err := parallel.For(ctx, len(cols), func(c int) error {
		edges, missing := quantiles(cols[c].Values, rows.Train, bins)
		if len(edges) == 0 || len(edges) == 1 && !missing {
			return nil
		}
		f := &feature{column: c, name: cols[c].Name, edges: edges}
		f.index = make([]uint8, 0, len(rows.Train)+len(rows.Valid))
		for _, part := range [][]int{rows.Train, rows.Valid} {
			for _, i := range part {
				f.index = append(f.index, binOf(cols[c].Values[i], edges))
			}
		}
		all[c] = f
		return nil
	})
	return slices.DeleteFunc(all, func(f *feature) bool { return f == nil }), err
}

// binOf returns the first bin whose edge is not below x, len(edges) for NaN.
func binOf(x float64, edges []float64) uint8 {
	if x != x {
		return uint8(len(edges))
	}
	return uint8(sort.SearchFloat64s(edges, finite(x)))
}

// quantiles returns the upper edges of at most bins bins that hold about
// equally many of the given rows, and whether any value is missing. Equal
// values share a bin. Edges lie halfway between neighbouring values.
func quantiles(values []float64, rows []int, bins int) (edges []float64, missing bool) {
	sorted := make([]float64, 0, len(rows))
	for _, i := range rows {
		if x := values[i]; x == x {
			sorted = append(sorted, finite(x))
		}
	}
	missing = len(sorted) < len(rows)
	if len(sorted) == 0 {
		return nil, missing
	}
	slices.Sort(sorted)
	distinct := 1
	for i := 1; i < len(sorted); i++ {
		if sorted[i] != sorted[i-1] {
			distinct++
		}
	}
	for start, i := 0, 0; i < len(sorted); {
		// [i, j) is the next run of equal values; it joins the bin that began at start.
		j := i + 1
		for j < len(sorted) && sorted[j] == sorted[i] {
			j++
		}
		distinct--
		open := bins - len(edges) // bins left, this one included
		switch {
		case j == len(sorted):
			return append(edges, math.MaxFloat64), missing
		case distinct < open, full(sorted, start, j, open):
			edges = append(edges, halfway(sorted[j-1], sorted[j]))
			start = j
		}
		i = j
	}
	return edges, missing
}

// full says whether the bin [start, j) should end at j: it has its share of the
// rows left, or would overshoot that share by more with the next run of values.
func full(sorted []float64, start, j, open int) bool {
	if open <= 1 {
		return false
	}
	share := float64(len(sorted)-start) / float64(open)
	have := float64(j - start)
	if have >= share {
		return true
	}
	next := j + sort.Search(len(sorted)-j, func(k int) bool { return sorted[j+k] > sorted[j] })
	return float64(next-start)-share > share-have
}

// halfway returns a number t with a <= t < b, halfway where that is possible.
func halfway(a, b float64) float64 {
	if t := a/2 + b/2; t >= a && t < b {
		return t
	}
	return a
}
