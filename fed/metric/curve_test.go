package metric

import (
	"math"
	"math/rand/v2"
	"testing"
)

func area(roc []ROCPoint) (a float64) {
	for i := 1; i < len(roc); i++ {
		a += (roc[i].FPR - roc[i-1].FPR) * (roc[i].TPR + roc[i-1].TPR) / 2
	}
	return a
}

func TestThinningKeepsTheShape(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 8))
	for _, c := range []struct{ n, steps int }{{511, 0}, {600, 0}, {5000, 0}, {50000, 0}, {50000, 3000}, {50000, 2}} {
		scores, labels := sample(rng, c.n, c.steps)
		e, err := Evaluate(scores, labels)
		if err != nil {
			t.Fatal(err)
		}
		full, err := ROC(scores, labels, c.n+1)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "area under all points", area(full), e.AUC)
		if len(e.ROC) > MaxPoints || len(e.KSCurve) != len(e.ROC) || len(e.PR) > MaxPoints {
			t.Fatalf("n %d: %d, %d, %d points", c.n, len(e.ROC), len(e.KSCurve), len(e.PR))
		}
		if c.steps == 0 && c.n > MaxPoints && len(e.ROC) < MaxPoints/2 {
			t.Errorf("n %d: only %d points", c.n, len(e.ROC))
		}
		if d := math.Abs(area(e.ROC) - e.AUC); d > 2e-4 {
			t.Errorf("n %d: area differs by %g", c.n, d)
		}
		if d := apart(full, e.ROC); d > 0.004 {
			t.Errorf("n %d: thinned ROC is %g away", c.n, d)
		}
		checkKSCurve(t, e)
		checkPR(t, scores, labels, e)
	}
}

// apart returns how far a point of full lies from the line through thin, at most.
// It looks at some 5,000 points.
func apart(full, thin []ROCPoint) (worst float64) {
	for k := 0; k < len(full); k += 1 + len(full)/5000 {
		p := full[k]
		best := math.Inf(1)
		for i := 1; i < len(thin); i++ {
			best = min(best, distance(vec{p.FPR, p.TPR}, vec{thin[i-1].FPR, thin[i-1].TPR}, vec{thin[i].FPR, thin[i].TPR}))
		}
		worst = max(worst, best)
	}
	return worst
}

func checkKSCurve(t *testing.T, e *Evaluation) {
	t.Helper()
	found := false
	for i, p := range e.KSCurve {
		gap := p.Positives - p.Negatives
		if gap > e.KS+1e-12 {
			t.Errorf("a gap of %v over the KS %v", gap, e.KS)
		}
		found = found || p.Score == e.KSThreshold && math.Abs(gap-e.KS) < 1e-12
		if i > 0 {
			q := e.KSCurve[i-1]
			if p.Share <= q.Share || p.Positives < q.Positives || p.Negatives < q.Negatives || p.Score >= q.Score {
				t.Errorf("point %d does not go on from %+v: %+v", i, q, p)
			}
		}
		if p.Positives != e.ROC[i].TPR || p.Negatives != e.ROC[i].FPR {
			t.Errorf("point %d is not that of the ROC", i)
		}
	}
	first, last := e.KSCurve[0], e.KSCurve[len(e.KSCurve)-1]
	if first.Share != 0 || first.Positives != 0 || last.Share != 1 || last.Positives != 1 || last.Negatives != 1 {
		t.Errorf("from %+v to %+v", first, last)
	}
	if !found {
		t.Error("the KS is not among the points")
	}
}

func checkPR(t *testing.T, scores, labels []float64, e *Evaluation) {
	t.Helper()
	for k := 0; k < len(e.PR); k += 1 + len(e.PR)/7 {
		p := e.PR[k]
		c, err := ConfusionAt(scores, labels, p.Threshold)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "precision", p.Precision, c.Precision)
		near(t, "recall", p.Recall, c.Recall)
	}
	if e.PR[len(e.PR)-1].Recall != 1 {
		t.Error("recall does not reach 1")
	}
}

// A line bent once needs three points, whatever the number of rows.
func TestThinStopsWhenNothingIsLost(t *testing.T) {
	t.Parallel()
	var pts []vec
	for i := range 4097 {
		x := float64(i) / 4096
		pts = append(pts, vec{x, max(0, 2*x-1), x})
	}
	got := thin(pts, 100)
	if len(got) != 3 || got[0] != 0 || got[1] != 2048 || got[2] != 4096 {
		t.Errorf("kept %v", got)
	}
	if got := thin(pts, 4, 10); len(got) != 4 || got[1] != 10 {
		t.Errorf("kept %v, not point 10", got)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	rng := rand.New(rand.NewPCG(9, 10))
	scores, labels := sample(rng, 1_000_000, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Evaluate(scores, labels); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(scores))*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func FuzzEvaluate(f *testing.F) {
	f.Add([]byte{1, 200, 0, 3, 1, 3, 0, 255})
	f.Add([]byte{0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var scores, labels []float64
		for i := 0; i+1 < len(b); i += 2 {
			labels = append(labels, float64(b[i]&1))
			scores = append(scores, float64(b[i+1])/255)
		}
		e, err := Evaluate(scores, labels)
		if err != nil {
			return
		}
		rows := 0
		for _, bin := range e.Calibration {
			rows += bin.Rows
		}
		if rows != e.Rows || e.AUC < 0 || e.AUC > 1 || e.KS < 0 || e.KS > 1 || e.AUCLow > e.AUC || e.AUC > e.AUCHigh {
			t.Errorf("%+v", e.Summary)
		}
	})
}
