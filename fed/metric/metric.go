// Package metric measures how well scores tell positives from negatives: the
// figures and curves that a credit-risk committee asks for. It is for the party
// that holds both scores and labels. It speaks no protocol: where labels and
// scores are with different parties, this is the wrong package.
//
// # Conventions
//
// A label is 1 (positive, in credit: default) or 0. A higher score means more
// likely positive. A row counts as predicted positive where score >= threshold.
// Rows with equal scores are one tie: no figure here depends on the order in
// which rows are given. P and N are the numbers of positives and negatives,
// TPR = TP/P, FPR = FP/N.
//
// Functions of the order of scores alone ([AUC], [KS], [Gini], [AveragePrecision],
// [Gains], the curves) take any scores but NaN. Those that read a score as a
// probability ([LogLoss], [Brier], [Calibration], [Evaluate]) want it in [0, 1].
//
// # Formulas
//
//   - AUC = U/(PN), U the Mann-Whitney statistic in which a tied pair counts one half
//     (Hanley & McNeil, Radiology 143, 1982); its variance after DeLong, DeLong &
//     Clarke-Pearson (Biometrics 44, 1988).
//   - Gini = 2 AUC - 1, also called accuracy ratio (Engelmann, Hayden & Tasche, 2003).
//   - KS = max over thresholds of TPR - FPR: the Kolmogorov-Smirnov distance in the
//     direction of the score. A ranking that is upside down has a KS near 0, not a
//     high one, so that KS never praises a model that its threshold would not serve.
//   - Log-loss = -mean(y ln p + (1-y) ln(1-p)), p clipped to [1e-15, 1-1e-15].
//   - Brier = mean((p-y)²) (Brier, Monthly Weather Review 78, 1950).
//   - Average precision = Σ (Rᵢ - Rᵢ₋₁) Pᵢ over falling distinct thresholds, recall R and
//     precision P, without interpolation.
//   - Lift of a group of rows = its rate of positives over the rate of all rows.
//   - Intervals of rates are Wilson's (JASA 22, 1927), at 95 %.
//
// An [Evaluation] of few rows can give away single rows: its curves name scores,
// and between two points of a curve may lie one row. It belongs to whoever holds
// the labels.
package metric

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Errors of this package; match them with [errors.Is].
var (
	ErrEmpty       = errors.New("metric: no rows")
	ErrLength      = errors.New("metric: scores and labels differ in length")
	ErrScore       = errors.New("metric: a score is not a number")
	ErrProbability = errors.New("metric: a score is not a probability")
	ErrLabel       = errors.New("metric: a label is neither 0 nor 1")
	ErrOneClass    = errors.New("metric: all labels are equal")
	ErrThreshold   = errors.New("metric: the threshold is not a number")
	ErrCount       = errors.New("metric: a number of bins or points is too small")
)

// group is the rows that share one score.
type group struct {
	score    float64
	pos, neg int
}

// ranking is rows in falling order of score, ties joined. All figures come from it.
type ranking struct {
	groups   []group
	pos, neg int
}

func (r *ranking) rows() int { return r.pos + r.neg }

// rank checks and sorts. Positives and negatives are sorted apart and merged,
// which is faster than sorting pairs and leaves nothing to the order of rows.
func rank(scores, labels []float64) (*ranking, error) {
	if len(scores) != len(labels) {
		return nil, fmt.Errorf("%w: %d and %d", ErrLength, len(scores), len(labels))
	}
	if len(scores) == 0 {
		return nil, ErrEmpty
	}
	positives := 0
	for i, y := range labels {
		if math.IsNaN(scores[i]) {
			return nil, fmt.Errorf("%w: row %d", ErrScore, i)
		}
		switch y {
		case 1:
			positives++
		case 0:
		default:
			return nil, fmt.Errorf("%w: row %d has %v", ErrLabel, i, y)
		}
	}
	pos := make([]float64, 0, positives)
	neg := make([]float64, 0, len(labels)-positives)
	for i, y := range labels {
		if y == 1 {
			pos = append(pos, scores[i])
		} else {
			neg = append(neg, scores[i])
		}
	}
	slices.Sort(pos)
	slices.Sort(neg)
	return &ranking{groups: merge(pos, neg), pos: len(pos), neg: len(neg)}, nil
}

// merge joins two rising lists of scores into groups that fall.
func merge(pos, neg []float64) []group {
	groups := make([]group, 0, len(pos)+len(neg))
	i, j := len(pos)-1, len(neg)-1
	for i >= 0 || j >= 0 {
		var s float64
		switch {
		case j < 0 || i >= 0 && pos[i] >= neg[j]:
			s = pos[i]
		default:
			s = neg[j]
		}
		g := group{score: s}
		for ; i >= 0 && pos[i] == s; i-- {
			g.pos++
		}
		for ; j >= 0 && neg[j] == s; j-- {
			g.neg++
		}
		groups = append(groups, g)
	}
	return groups
}

// rankTwo is rank where both classes have to be present.
func rankTwo(scores, labels []float64) (*ranking, error) {
	r, err := rank(scores, labels)
	if err != nil {
		return nil, err
	}
	if r.pos == 0 || r.neg == 0 {
		return nil, fmt.Errorf("%w: %d positives, %d negatives", ErrOneClass, r.pos, r.neg)
	}
	return r, nil
}

// probabilities reports a score outside [0, 1].
func (r *ranking) probabilities() error {
	for _, g := range []group{r.groups[0], r.groups[len(r.groups)-1]} {
		if g.score < 0 || g.score > 1 {
			return fmt.Errorf("%w: %v", ErrProbability, g.score)
		}
	}
	return nil
}

func rankProbabilities(scores, labels []float64) (*ranking, error) {
	r, err := rank(scores, labels)
	if err != nil {
		return nil, err
	}
	return r, r.probabilities()
}

func ratio(a, b int) float64 { return float64(a) / float64(b) }
