package boost

import (
	"math"
	"math/rand/v2"
)

// sums are the sums of first and second derivatives over some rows, quantised.
type sums struct{ g, h int64 }

func (a sums) minus(b sums) sums { return sums{a.g - b.g, a.h - b.h} }
func (a sums) plus(b sums) sums  { return sums{a.g + b.g, a.h + b.h} }

// exactLimit bounds the sums of fixed-point gradients under Params.Exact.
const exactLimit = 1<<62 - 1

// quantise writes v, scaled and rounded to integers, to dst[lane], dst[lane+2],
// ... and returns the scale, such that the magnitudes add up to at most limit.
// With a source of randomness a number is rounded up with the probability of
// its fraction, so that sums are unbiased (Shi et al. 2022); without one it is
// rounded to the nearest integer.
func quantise(dst []int64, lane int, v []float64, limit int64, rng *rand.Rand) (scale float64) {
	total := 0.0
	for _, x := range v {
		total += math.Abs(x)
	}
	if total == 0 {
		for i := range v {
			dst[2*i+lane] = 0
		}
		return 1
	}
	// Rounding adds less than one a row in the worst case. Stochastic rounding
	// adds nothing on average, with a deviation of at most √n/2.
	room := float64(len(v))
	if rng != nil {
		room = min(room, 4*math.Sqrt(room))
	}
	target := float64(limit) - room
	if target < float64(limit)/2 {
		target = float64(limit) / 2
	}
	for {
		scale = target / total
		if round(dst, lane, v, scale, rng) <= limit {
			return scale
		}
		target *= 15.0 / 16
		if target < 1.0/16 { // more rows than the limit has units: a vector of zeros is all that fits
			scale, rng = 1/(16*total), nil
			round(dst, lane, v, scale, nil)
			return scale
		}
	}
}

func round(dst []int64, lane int, v []float64, scale float64, rng *rand.Rand) (magnitude int64) {
	u := 0.5
	for i, x := range v {
		if rng != nil {
			u = rng.Float64()
		}
		// The conversion keeps the product from being fused with the sum, so that
		// every processor rounds alike.
		q := int64(math.Floor(float64(x*scale) + u))
		dst[2*i+lane] = q
		magnitude += max(q, -q)
	}
	return magnitude
}

// rounding returns the source of randomness for one tree and one lane.
func rounding(seed uint64, tree, lane int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(tree)<<1|uint64(lane)))
}
