package metric

import "math"

// clip keeps the logarithms of [LogLoss] finite: one certain and wrong score
// costs at most 34.5.
const clip = 1e-15

// LogLoss returns the mean negative log-likelihood, in nats. One class is
// enough. Errors: [ErrLength], [ErrEmpty], [ErrScore], [ErrLabel], [ErrProbability].
func LogLoss(scores, labels []float64) (float64, error) {
	r, err := rankProbabilities(scores, labels)
	if err != nil {
		return 0, err
	}
	return r.logLoss(), nil
}

func (r *ranking) logLoss() float64 {
	var sum float64
	for _, g := range r.groups {
		p := min(max(g.score, clip), 1-clip)
		if g.pos > 0 {
			sum -= float64(g.pos) * math.Log(p)
		}
		if g.neg > 0 {
			sum -= float64(g.neg) * math.Log1p(-p)
		}
	}
	return sum / float64(r.rows())
}

// Brier returns the mean squared difference of score and label, with the errors
// of [LogLoss].
func Brier(scores, labels []float64) (float64, error) {
	r, err := rankProbabilities(scores, labels)
	if err != nil {
		return 0, err
	}
	return r.brier(), nil
}

func (r *ranking) brier() float64 {
	var sum float64
	for _, g := range r.groups {
		q := 1 - g.score
		sum += float64(g.pos)*q*q + float64(g.neg)*g.score*g.score
	}
	return sum / float64(r.rows())
}

func (r *ranking) meanScore() float64 {
	var sum float64
	for _, g := range r.groups {
		sum += float64(g.pos+g.neg) * g.score
	}
	return sum / float64(r.rows())
}

// Bin is one point of a calibration curve.
type Bin struct {
	Rows      int     `json:"rows"`
	Positives int     `json:"positives"`
	MinScore  float64 `json:"min_score"`
	MaxScore  float64 `json:"max_score"`
	Predicted float64 `json:"predicted"` // mean score
	Observed  float64 `json:"observed"`  // rate of positives
	Low       float64 `json:"low"`       // Wilson's 95 % interval of Observed
	High      float64 `json:"high"`
}

// Calibration compares predicted with observed rates in bins of about equal
// numbers of rows, lowest scores first. A tie is never divided: it stays with
// the bin that it begins in, so bins may differ in size and be fewer than asked.
// Errors as for [LogLoss], and [ErrCount] below one bin.
func Calibration(scores, labels []float64, bins int) ([]Bin, error) {
	if bins < 1 {
		return nil, ErrCount
	}
	r, err := rankProbabilities(scores, labels)
	if err != nil {
		return nil, err
	}
	return r.calibration(bins), nil
}

func (r *ranking) calibration(bins int) []Bin {
	n := r.rows()
	bins = min(bins, n)
	out := make([]Bin, 0, bins)
	var (
		b    Bin
		sum  float64
		seen int
	)
	for i := len(r.groups) - 1; i >= 0; i-- {
		g := r.groups[i]
		if b.Rows == 0 {
			b.MinScore = g.score
		}
		b.MaxScore = g.score
		b.Rows += g.pos + g.neg
		b.Positives += g.pos
		sum += float64(g.pos+g.neg) * g.score
		seen += g.pos + g.neg
		// The bin is full once the rows seen reach the next multiple of n/bins
		// after those seen when it began.
		next := (seen-b.Rows)*bins/n + 1
		if seen*bins < next*n && i > 0 {
			continue
		}
		b.Predicted = sum / float64(b.Rows)
		b.Observed = ratio(b.Positives, b.Rows)
		b.Low, b.High = Wilson(b.Positives, b.Rows)
		out = append(out, b)
		b, sum = Bin{}, 0
	}
	return out
}

// Wilson returns the 95 % score interval of a rate of which k out of n were
// seen. It is [0, 1] where n is not positive.
func Wilson(k, n int) (lo, hi float64) {
	if n <= 0 {
		return 0, 1
	}
	p, m := ratio(k, n), float64(n)
	const zz = z95 * z95
	mid := (p + zz/(2*m)) / (1 + zz/m)
	half := z95 / (1 + zz/m) * math.Sqrt(p*(1-p)/m+zz/(4*m*m))
	lo, hi = mid-half, mid+half
	// Exact at the ends, where rounding would leave a speck.
	if k <= 0 {
		lo = 0
	}
	if k >= n {
		hi = 1
	}
	return lo, hi
}

// Confusion counts rows by predicted and true class at one threshold.
type Confusion struct {
	TP        int     `json:"tp"` // predicted positive, and is
	FP        int     `json:"fp"` // predicted positive, is not
	TN        int     `json:"tn"`
	FN        int     `json:"fn"`
	Precision float64 `json:"precision"` // TP/(TP+FP); 0 where nothing is predicted positive
	Recall    float64 `json:"recall"`    // TP/(TP+FN); 0 where nothing is positive
	F1        float64 `json:"f1"`        // 2TP/(2TP+FP+FN); 0 where that is 0/0
	Accuracy  float64 `json:"accuracy"`  // (TP+TN)/n
}

// ConfusionAt counts at a threshold: positive where score >= threshold. One
// class is enough. Errors: [ErrLength], [ErrEmpty], [ErrScore], [ErrLabel], [ErrThreshold].
func ConfusionAt(scores, labels []float64, threshold float64) (Confusion, error) {
	if math.IsNaN(threshold) {
		return Confusion{}, ErrThreshold
	}
	r, err := rank(scores, labels)
	if err != nil {
		return Confusion{}, err
	}
	return r.confusion(threshold), nil
}

func (r *ranking) confusion(threshold float64) Confusion {
	var c Confusion
	for _, g := range r.groups {
		if g.score < threshold {
			break
		}
		c.TP += g.pos
		c.FP += g.neg
	}
	c.FN, c.TN = r.pos-c.TP, r.neg-c.FP
	if c.TP > 0 {
		c.Precision = ratio(c.TP, c.TP+c.FP)
		c.Recall = ratio(c.TP, r.pos)
		c.F1 = ratio(2*c.TP, 2*c.TP+c.FP+c.FN)
	}
	c.Accuracy = ratio(c.TP+c.TN, r.rows())
	return c
}
