package metric

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"sort"
	"testing"
)

// sample draws scores on a grid of the given number of steps (0 for none), so
// that few steps give many ties, with labels that follow the scores loosely.
func sample(rng *rand.Rand, n, steps int) (scores, labels []float64) {
	scores, labels = make([]float64, n), make([]float64, n)
	for i := range scores {
		s := rng.Float64()
		if steps > 0 {
			s = math.Floor(s*float64(steps)) / float64(steps)
		}
		scores[i] = s
		if rng.Float64() < 0.1+0.5*s {
			labels[i] = 1
		}
	}
	labels[0], labels[n-1] = 1, 0 // both classes, always
	return scores, labels
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > 1e-12*math.Max(1, math.Abs(want)) {
		t.Errorf("%s = %.17g, want %.17g", what, got, want)
	}
}

// naive holds the figures by their definitions, in O(n²).
func naive(scores, labels []float64) (s Summary) {
	n := len(scores)
	var p, q int
	for _, y := range labels {
		if y == 1 {
			p++
		} else {
			q++
		}
	}
	s.Rows, s.Positives = n, p
	rates := func(threshold float64) (tp, fp int) {
		for i := range scores {
			if scores[i] >= threshold {
				if labels[i] == 1 {
					tp++
				} else {
					fp++
				}
			}
		}
		return tp, fp
	}
	s.KS = math.Inf(-1)
	for i := range scores {
		if labels[i] == 1 {
			tp, fp := rates(scores[i])
			s.AP += float64(tp) / float64(tp+fp) / float64(p)
			for j := range scores {
				if labels[j] == 0 {
					switch {
					case scores[i] > scores[j]:
						s.AUC++
					case scores[i] == scores[j]:
						s.AUC += 0.5
					}
				}
			}
		}
		tp, fp := rates(scores[i])
		if gap := float64(tp)/float64(p) - float64(fp)/float64(q); gap > s.KS+1e-12 || gap > s.KS-1e-12 && scores[i] > s.KSThreshold {
			s.KS, s.KSThreshold = gap, scores[i]
		}
		y := labels[i]
		s.Brier += (scores[i] - y) * (scores[i] - y) / float64(n)
		c := math.Max(1e-15, math.Min(1-1e-15, scores[i]))
		s.LogLoss -= (y*math.Log(c) + (1-y)*math.Log(1-c)) / float64(n)
		s.MeanScore += scores[i] / float64(n)
	}
	s.AUC /= float64(p) * float64(q)
	s.Gini = 2*s.AUC - 1
	return s
}

func TestAgainstDefinitions(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for trial := range 200 {
		n := 2 + rng.IntN(120)
		scores, labels := sample(rng, n, []int{0, 1, 2, 5, 20}[trial%5])
		e, err := Evaluate(scores, labels)
		if err != nil {
			t.Fatal(err)
		}
		want := naive(scores, labels)
		if e.Rows != want.Rows || e.Positives != want.Positives {
			t.Fatalf("counts %d, %d; want %d, %d", e.Rows, e.Positives, want.Rows, want.Positives)
		}
		near(t, "AUC", e.AUC, want.AUC)
		near(t, "Gini", e.Gini, want.Gini)
		near(t, "KS", e.KS, want.KS)
		near(t, "KS threshold", e.KSThreshold, want.KSThreshold)
		near(t, "average precision", e.AP, want.AP)
		near(t, "Brier", e.Brier, want.Brier)
		near(t, "log-loss", e.LogLoss, want.LogLoss)
		near(t, "mean score", e.MeanScore, want.MeanScore)
		checkDeLong(t, scores, labels, e)
		checkGains(t, scores, labels, e)
		if t.Failed() {
			t.Fatalf("trial %d: scores %v labels %v", trial, scores, labels)
		}
	}
}

// checkDeLong computes the variance from the matrix of all pairs.
func checkDeLong(t *testing.T, scores, labels []float64, e *Evaluation) {
	t.Helper()
	p, q := e.Positives, e.Rows-e.Positives
	if p < 2 || q < 2 {
		if e.AUCLow != 0 || e.AUCHigh != 1 {
			t.Errorf("interval of one row is [%v, %v]", e.AUCLow, e.AUCHigh)
		}
		return
	}
	place := func(of, over float64, sign float64) (sum float64) {
		for i := range scores {
			if labels[i] != of {
				continue
			}
			var v float64
			for j := range scores {
				if labels[j] == over {
					switch d := sign * (scores[i] - scores[j]); {
					case d > 0:
						v++
					case d == 0:
						v += 0.5
					}
				}
			}
			m := float64(q)
			if of == 0 {
				m = float64(p)
			}
			d := v/m - e.AUC
			sum += d * d
		}
		return sum
	}
	v := place(1, 0, 1)/float64(p-1)/float64(p) + place(0, 1, -1)/float64(q-1)/float64(q)
	near(t, "AUC low", e.AUCLow, math.Max(0, e.AUC-z95*math.Sqrt(v)))
	near(t, "AUC high", e.AUCHigh, math.Min(1, e.AUC+z95*math.Sqrt(v)))
}

// checkGains averages the first decile over all places a tie's positives can take:
// every row of a tie counts as the rate of its tie.
func checkGains(t *testing.T, scores, labels []float64, e *Evaluation) {
	t.Helper()
	n := len(scores)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(a, b int) bool { return scores[order[a]] > scores[order[b]] })
	expected := make([]float64, n)
	for k, i := range order {
		var pos, all float64
		for j := range scores {
			if scores[j] == scores[i] {
				pos += labels[j]
				all++
			}
		}
		expected[k] = pos / all
	}
	rows, positives := 0, 0.0
	for _, g := range e.Gains {
		var sum float64
		for k := rows; k < rows+g.Rows; k++ {
			sum += expected[k]
		}
		rows += g.Rows
		positives += sum
		near(t, "positives", g.Positives, sum)
		near(t, "captured", g.Captured, positives/float64(e.Positives))
		near(t, "lift", g.Lift, sum/float64(g.Rows)*float64(n)/float64(e.Positives))
		near(t, "min score", g.MinScore, scores[order[rows-1]])
	}
	if rows != n {
		t.Errorf("buckets hold %d of %d rows", rows, n)
	}
	near(t, "all captured", e.Gains[len(e.Gains)-1].Captured, 1)
	near(t, "lift 10", e.Lift10, e.Gains[0].CumLift)
}

// Ten rows worked out by hand, with a tie across the classes.
func TestByHand(t *testing.T) {
	t.Parallel()
	scores := []float64{0.9, 0.8, 0.7, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1}
	labels := []float64{1, 1, 1, 0, 0, 1, 0, 0, 0, 0}
	e, err := Evaluate(scores, labels)
	if err != nil {
		t.Fatal(err)
	}
	// Of 24 pairs: 6 + 6 + 5.5 + 4.
	near(t, "AUC", e.AUC, 21.5/24)
	// At 0.7: 3 of 4 positives, 1 of 6 negatives. At 0.5: 4 of 4 and 2 of 6, which is more.
	near(t, "KS", e.KS, 1-2.0/6)
	near(t, "KS threshold", e.KSThreshold, 0.5)
	// Recall rises by 1/4 at 0.9 (precision 1), 0.8 (1), 0.7 (3/4) and 0.5 (4/6).
	near(t, "average precision", e.AP, (1+1+0.75+4.0/6)/4)
	near(t, "Brier", e.Brier, (0.01+0.04+0.09+0.49+0.36+0.25+0.16+0.09+0.04+0.01)/10)
	near(t, "lift 10", e.Lift10, 2.5)
	want := Confusion{TP: 4, FP: 2, TN: 4, FN: 0, Precision: 4.0 / 6, Recall: 1, F1: 0.8, Accuracy: 0.8}
	if e.Confusion != want || e.KSConfusion != want || e.Threshold != 0.5 {
		t.Errorf("confusion %+v at %v, %+v; want %+v", e.Confusion, e.Threshold, e.KSConfusion, want)
	}
	// The tie at 0.7 has one positive in two rows: deciles 3 and 4 get half each.
	for k, want := range []float64{1, 1, 0.5, 0.5, 0, 1, 0, 0, 0, 0} {
		near(t, "decile", e.Gains[k].Positives, want)
	}
	// The tie stays in the bin that it begins in, so there are nine bins.
	if len(e.Calibration) != 9 || e.Calibration[6].Rows != 2 || e.Calibration[6].Observed != 0.5 {
		t.Errorf("calibration %+v", e.Calibration)
	}
	wantROC := []ROCPoint{
		{0, 0, math.Nextafter(0.9, 1)}, {0, 0.25, 0.9}, {0, 0.5, 0.8}, {1.0 / 6, 0.75, 0.7}, {2.0 / 6, 0.75, 0.6},
		{2.0 / 6, 1, 0.5}, {3.0 / 6, 1, 0.4}, {4.0 / 6, 1, 0.3}, {5.0 / 6, 1, 0.2}, {1, 1, 0.1},
	}
	if !reflect.DeepEqual(e.ROC, wantROC) {
		t.Errorf("ROC %v\nwant %v", e.ROC, wantROC)
	}
	if last := e.PR[len(e.PR)-1]; last != (PRPoint{1, 0.4, 0.1}) || e.PR[0] != (PRPoint{0.25, 1, 0.9}) {
		t.Errorf("PR from %v to %v", e.PR[0], last)
	}
}

func TestExtremes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		scores, labels []float64
		auc, ks, at    float64
		ap, lift       float64
	}{
		{"perfect", []float64{1, 1, 0, 0}, []float64{1, 1, 0, 0}, 1, 1, 1, 1, 2},
		{"upside down", []float64{0, 0, 1, 1}, []float64{1, 1, 0, 0}, 0, 0, 0, 0.5, 0},
		{"constant", []float64{0.3, 0.3, 0.3, 0.3}, []float64{1, 0, 0, 0}, 0.5, 0, 0.3, 0.25, 1},
		{"two rows", []float64{0.2, 0.1}, []float64{1, 0}, 1, 1, 0.2, 1, 2},
		{"signed zero", []float64{0, math.Copysign(0, -1)}, []float64{1, 0}, 0.5, 0, 0, 0.5, 1},
	} {
		e, err := Evaluate(c.scores, c.labels)
		if err != nil {
			t.Fatal(c.name, err)
		}
		near(t, c.name+" AUC", e.AUC, c.auc)
		near(t, c.name+" KS", e.KS, c.ks)
		near(t, c.name+" KS threshold", e.KSThreshold, c.at)
		near(t, c.name+" average precision", e.AP, c.ap)
		near(t, c.name+" lift", e.Lift10, c.lift)
		b, err := json.Marshal(e) // fails on NaN and infinities
		if err != nil {
			t.Fatal(c.name, err)
		}
		var back Evaluation
		if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(&back, e) {
			t.Errorf("%s: JSON does not round-trip: %v", c.name, err)
		}
	}
	// A certain and wrong score costs the clip.
	ll, err := LogLoss([]float64{0}, []float64{1})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "log-loss", ll, -math.Log(1e-15))
	// Scores that are no probabilities still rank.
	auc, err := AUC([]float64{math.Inf(1), 7, -3, math.Inf(-1)}, []float64{1, 1, 0, 0})
	if err != nil || auc != 1 {
		t.Errorf("AUC of any scores = %v, %v", auc, err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	funcs := map[string]func(s, y []float64) error{
		"AUC":              func(s, y []float64) error { _, err := AUC(s, y); return err },
		"Gini":             func(s, y []float64) error { _, err := Gini(s, y); return err },
		"KS":               func(s, y []float64) error { _, _, err := KS(s, y); return err },
		"AveragePrecision": func(s, y []float64) error { _, err := AveragePrecision(s, y); return err },
		"LogLoss":          func(s, y []float64) error { _, err := LogLoss(s, y); return err },
		"Brier":            func(s, y []float64) error { _, err := Brier(s, y); return err },
		"Gains":            func(s, y []float64) error { _, err := Gains(s, y, 10); return err },
		"Calibration":      func(s, y []float64) error { _, err := Calibration(s, y, 10); return err },
		"ConfusionAt":      func(s, y []float64) error { _, err := ConfusionAt(s, y, 0.5); return err },
		"ROC":              func(s, y []float64) error { _, err := ROC(s, y, 10); return err },
		"KSCurve":          func(s, y []float64) error { _, err := KSCurve(s, y, 10); return err },
		"PR":               func(s, y []float64) error { _, err := PR(s, y, 10); return err },
		"Evaluate":         func(s, y []float64) error { _, err := Evaluate(s, y); return err },
	}
	oneClass := map[string]bool{"LogLoss": true, "Brier": true, "Calibration": true, "ConfusionAt": true}
	probability := map[string]bool{"LogLoss": true, "Brier": true, "Calibration": true, "Evaluate": true}
	for name, f := range funcs {
		for _, c := range []struct {
			what string
			s, y []float64
			want error
		}{
			{"nothing", nil, nil, ErrEmpty},
			{"lengths", []float64{1, 2}, []float64{1}, ErrLength},
			{"NaN score", []float64{0.5, nan}, []float64{1, 0}, ErrScore},
			{"NaN label", []float64{0.5, 0.4}, []float64{1, nan}, ErrLabel},
			{"label 2", []float64{0.5, 0.4}, []float64{1, 2}, ErrLabel},
		} {
			if err := f(c.s, c.y); !errors.Is(err, c.want) {
				t.Errorf("%s of %s: %v, want %v", name, c.what, err, c.want)
			}
		}
		for _, y := range [][]float64{{0, 0}, {1, 1}} {
			var want error
			if !oneClass[name] {
				want = ErrOneClass
			}
			if err := f([]float64{0.5, 0.4}, y); !errors.Is(err, want) {
				t.Errorf("%s of one class: %v", name, err)
			}
		}
		for _, s := range []float64{-0.1, 1.1, math.Inf(1), math.Inf(-1)} {
			var want error
			if probability[name] {
				want = ErrProbability
			}
			if err := f([]float64{s, 0.4}, []float64{1, 0}); !errors.Is(err, want) {
				t.Errorf("%s of a score %v: %v", name, s, err)
			}
		}
	}
	s, y := []float64{0.5, 0.4}, []float64{1, 0}
	if _, err := Gains(s, y, 0); !errors.Is(err, ErrCount) {
		t.Error("no buckets:", err)
	}
	if _, err := Calibration(s, y, 0); !errors.Is(err, ErrCount) {
		t.Error("no bins:", err)
	}
	if _, err := ROC(s, y, 2); !errors.Is(err, ErrCount) {
		t.Error("two points:", err)
	}
	if _, err := ConfusionAt(s, y, nan); !errors.Is(err, ErrThreshold) {
		t.Error("NaN threshold:", err)
	}
}

func TestOrderOfRowsDoesNotMatter(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	scores, labels := sample(rng, 2000, 150)
	want, err := Evaluate(scores, labels)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		rng.Shuffle(len(scores), func(i, j int) {
			scores[i], scores[j] = scores[j], scores[i]
			labels[i], labels[j] = labels[j], labels[i]
		})
		if got, err := Evaluate(scores, labels); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatal("a shuffle changes the evaluation", err)
		}
	}
}

func TestCalibration(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	for _, steps := range []int{0, 3, 40} {
		scores, labels := sample(rng, 1003, steps)
		bins, err := Calibration(scores, labels, 10)
		if err != nil {
			t.Fatal(err)
		}
		if steps == 0 && len(bins) != 10 || steps == 3 && len(bins) != 3 {
			t.Errorf("%d steps give %d bins", steps, len(bins))
		}
		last := -1.0
		for _, b := range bins {
			var rows, pos int
			var sum float64
			for i, s := range scores {
				if s >= b.MinScore && s <= b.MaxScore {
					rows++
					pos += int(labels[i])
					sum += s
				}
			}
			// Bounds that count the same rows as the bin: no tie was divided.
			if rows != b.Rows || pos != b.Positives || b.MinScore <= last {
				t.Errorf("bin %+v holds %d rows, %d positives", b, rows, pos)
			}
			near(t, "predicted", b.Predicted, sum/float64(rows))
			near(t, "observed", b.Observed, float64(pos)/float64(rows))
			if steps == 0 && (rows < 100 || rows > 101) {
				t.Errorf("a bin of %d rows", rows)
			}
			if b.Low > b.Observed || b.Observed > b.High {
				t.Errorf("interval [%v, %v] around %v", b.Low, b.High, b.Observed)
			}
			last = b.MaxScore
		}
	}
}

// Values of R's prop.test(k, n, correct = FALSE).
func TestWilson(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		k, n   int
		lo, hi float64
	}{
		{0, 0, 0, 1}, {0, 10, 0, 0.2775328}, {10, 10, 0.7224672, 1}, {1, 10, 0.0178762, 0.4041500}, {50, 100, 0.4038315, 0.5961685},
	} {
		lo, hi := Wilson(c.k, c.n)
		if math.Abs(lo-c.lo) > 1e-6 || math.Abs(hi-c.hi) > 1e-6 {
			t.Errorf("Wilson(%d, %d) = %v, %v", c.k, c.n, lo, hi)
		}
	}
}
