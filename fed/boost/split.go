package boost

import (
	"math"
)

// minGain is the least gain of a split beyond Params.Gamma: below it a gain is
// the rounding error of two equal scores.
const minGain = 1e-10

// scales turn quantised sums into sums of derivatives.
type scales struct{ g, h float64 }

// split is a candidate: owner 0 is the guest, owner k its k-th host. feature
// counts the owner's usable features.
type split struct {
	owner, feature, bin int
	defaultLeft         bool
	gain                float64 // 0 for none
}

// score is G²/(H+λ), twice what the best leaf takes off the objective.
func (p *Params) score(g, h float64) float64 {
	d := h + p.Lambda
	if d <= 0 {
		return 0
	}
	return float64(g*g) / d
}

// maxLeaf bounds a leaf, as log-odds. Without it a lambda of 0 lets a leaf of
// rows that the model is sure and wrong about grow beyond all numbers.
const maxLeaf = 100

// leaf returns the weight of a leaf from exact sums.
func (p *Params) leaf(g, h float64) float64 {
	d := h + p.Lambda
	if d <= 0 {
		return 0
	}
	return max(-maxLeaf, min(maxLeaf, -p.LearningRate*g/d))
}

// bestSplit returns the best split of a node by one feature, whose histogram
// holds a pair (g, h) for each bin; what it lacks of the node's total belongs to
// rows where the feature is missing. Of equal gains the lowest bin wins, and
// missing-left before missing-right.
func (p *Params) bestSplit(hist []int64, total sums, sc scales) split {
	var all sums
	for b := 0; b < len(hist); b += 2 {
		all.g += hist[b]
		all.h += hist[b+1]
	}
	missing := total.minus(all)
	parent := p.score(float64(total.g)/sc.g, float64(total.h)/sc.h)
	best := split{}
	try := func(l sums, bin int, defaultLeft bool) {
		r := total.minus(l)
		if l.h <= 0 || r.h <= 0 {
			return // no rows, or rows whose label the model already knows
		}
		hl, hr := float64(l.h)/sc.h, float64(r.h)/sc.h
		if hl < p.MinChildWeight || hr < p.MinChildWeight {
			return
		}
		gain := 0.5*(p.score(float64(l.g)/sc.g, hl)+p.score(float64(r.g)/sc.g, hr)-parent) - p.Gamma
		if gain > minGain && gain > best.gain && gain <= math.MaxFloat64 {
			best = split{bin: bin, defaultLeft: defaultLeft, gain: gain}
		}
	}
	var l sums
	last := len(hist)/2 - 1
	for b := 0; b <= last; b++ {
		l.g += hist[2*b]
		l.h += hist[2*b+1]
		if b < last { // at the last bin missing-left would send every row left
			try(l.plus(missing), b, true)
		}
		try(l, b, false)
	}
	return best
}
