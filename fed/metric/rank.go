package metric

import "math"

// z95 is the 97.5 % quantile of the normal distribution.
const z95 = 1.959963984540054

// AUC returns the area under the ROC curve: the probability that a positive
// scores above a negative, ties counting one half. Errors: [ErrLength],
// [ErrEmpty], [ErrScore], [ErrLabel], [ErrOneClass].
func AUC(scores, labels []float64) (float64, error) {
	r, err := rankTwo(scores, labels)
	if err != nil {
		return 0, err
	}
	return r.auc(), nil
}

// auc counts in integers, doubled for the halves of ties; exact up to some 10^9 rows.
func (r *ranking) auc() float64 {
	var twice uint64
	above := uint64(0)
	for _, g := range r.groups {
		twice += uint64(g.neg) * (2*above + uint64(g.pos))
		above += uint64(g.pos)
	}
	return float64(twice) / (2 * float64(r.pos) * float64(r.neg))
}

// aucInterval returns DeLong's 95 % interval, cut to [0, 1]. It is [0, 1] where a
// class has a single row, which has no variance to estimate.
func (r *ranking) aucInterval() (lo, hi float64) {
	if r.pos < 2 || r.neg < 2 {
		return 0, 1
	}
	auc := r.auc()
	// A positive's placement is the share of negatives below it, a negative's the
	// share of positives above it; both average to the AUC.
	var varPos, varNeg float64
	negBelow, posAbove := r.neg, 0
	for _, g := range r.groups {
		negBelow -= g.neg
		d := (float64(negBelow)+float64(g.neg)/2)/float64(r.neg) - auc
		varPos += float64(g.pos) * d * d
		d = (float64(posAbove)+float64(g.pos)/2)/float64(r.pos) - auc
		varNeg += float64(g.neg) * d * d
		posAbove += g.pos
	}
	se := math.Sqrt(varPos/float64(r.pos-1)/float64(r.pos) + varNeg/float64(r.neg-1)/float64(r.neg))
	return math.Max(0, auc-z95*se), math.Min(1, auc+z95*se)
}

// Gini returns 2 AUC - 1, with the errors of [AUC].
func Gini(scores, labels []float64) (float64, error) {
	auc, err := AUC(scores, labels)
	if err != nil {
		return 0, err
	}
	return 2*auc - 1, nil
}

// KS returns the greatest TPR - FPR over all thresholds, and the score that is
// the threshold there: the highest one where several do. Errors as for [AUC].
func KS(scores, labels []float64) (ks, at float64, err error) {
	r, err := rankTwo(scores, labels)
	if err != nil {
		return 0, 0, err
	}
	ks, i := r.ks()
	return ks, r.groups[i].score, nil
}

// ks returns the statistic and the index of its group. The lowest score always
// gives a gap of 0, so a threshold exists. Gaps are compared as integers: two
// equal ones must not be told apart by rounding.
func (r *ranking) ks() (gap float64, at int) {
	best := int64(math.MinInt64)
	tp, fp := 0, 0
	for i, g := range r.groups {
		tp += g.pos
		fp += g.neg
		if d := int64(tp)*int64(r.neg) - int64(fp)*int64(r.pos); d > best {
			best, at = d, i
		}
	}
	return float64(best) / (float64(r.pos) * float64(r.neg)), at
}

// AveragePrecision returns the precision averaged over the positives that each
// falling threshold adds. Its value for a random ranking is the rate of
// positives. Errors as for [AUC].
func AveragePrecision(scores, labels []float64) (float64, error) {
	r, err := rankTwo(scores, labels)
	if err != nil {
		return 0, err
	}
	return r.averagePrecision(), nil
}

func (r *ranking) averagePrecision() float64 {
	var sum float64
	tp, flagged := 0, 0
	for _, g := range r.groups {
		tp += g.pos
		flagged += g.pos + g.neg
		sum += float64(g.pos) * ratio(tp, flagged)
	}
	return sum / float64(r.pos)
}

// Gain is one bucket of rows in falling order of score, and all buckets up to it.
type Gain struct {
	Bucket    int     `json:"bucket"`    // from 1, the highest scores
	Rows      int     `json:"rows"`      // in this bucket
	Positives float64 `json:"positives"` // in this bucket; a fraction where a tie was divided
	Rate      float64 `json:"rate"`      // Positives/Rows
	Lift      float64 `json:"lift"`      // Rate over the rate of all rows
	MinScore  float64 `json:"min_score"` // the lowest score in this bucket
	Share     float64 `json:"share"`     // of all rows, in the buckets up to this
	Captured  float64 `json:"captured"`  // share of all positives in the buckets up to this
	CumLift   float64 `json:"cum_lift"`  // Captured/Share
}

// Gains cuts the rows, highest scores first, into buckets (10 for deciles) that
// end at row ⌈n·k/buckets⌉. Where an end falls into a tie, the tie's positives are
// shared out evenly over its rows: the expectation over every order of the tie.
// With fewer rows than buckets the empty ones are left out. Errors as for [AUC],
// and [ErrCount] below one bucket.
func Gains(scores, labels []float64, buckets int) ([]Gain, error) {
	if buckets < 1 {
		return nil, ErrCount
	}
	r, err := rankTwo(scores, labels)
	if err != nil {
		return nil, err
	}
	return r.gains(buckets), nil
}

func (r *ranking) gains(buckets int) []Gain {
	n := r.rows()
	out := make([]Gain, 0, min(buckets, n))
	base := ratio(r.pos, n)
	var (
		i         int     // the group being dealt out
		used      int     // rows of it that are dealt out
		done      int     // rows dealt out in all
		posBefore float64 // positives dealt out in all
		posGroups int     // positives in the groups before i
	)
	for k := 1; k <= buckets; k++ {
		// ⌈n·k/buckets⌉ without an overflow for absurd numbers of buckets
		end := int(math.Ceil(float64(n) * float64(k) / float64(buckets)))
		end = min(end, n)
		if end == done {
			continue
		}
		rows := end - done
		lowest := 0.0
		for done < end {
			g := r.groups[i]
			take := min(end-done, g.pos+g.neg-used)
			used += take
			done += take
			lowest = g.score
			if used == g.pos+g.neg {
				posGroups += g.pos
				i, used = i+1, 0
			}
		}
		captured := float64(posGroups)
		if used > 0 {
			g := r.groups[i]
			captured += float64(g.pos) * ratio(used, g.pos+g.neg)
		}
		pos := captured - posBefore
		posBefore = captured
		out = append(out, Gain{
			Bucket: k, Rows: rows, Positives: pos, MinScore: lowest,
			Rate: pos / float64(rows), Lift: pos / float64(rows) / base,
			Share: ratio(done, n), Captured: captured / float64(r.pos),
			CumLift: captured / float64(done) / base,
		})
	}
	return out
}
