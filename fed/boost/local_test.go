package boost

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kontor/internal/fault"
)

// naive is exact greedy boosting by recursion over rows, without bins,
// histograms or quantisation: for each feature it tries every midpoint between
// values that occur, with missing values on either side.
type naive struct {
	p    Params
	cols [][]float64
	y    []float64
	f    []float64 // log-odds by row
}

type cut struct {
	col    int
	at     float64 // +Inf: present against missing
	defL   bool
	gain   float64
	l, r   []int
	gl, hl float64
}

func (n *naive) term(g, h float64) float64 { return g * g / (h + n.p.Lambda) }

func (n *naive) grow(rows []int, g, h []float64, depth int, out []float64) {
	var G, H float64
	for _, i := range rows {
		G += g[i]
		H += h[i]
	}
	best := cut{}
	if depth > 0 {
		for c, v := range n.cols {
			var present []float64
			for _, i := range rows {
				if !math.IsNaN(v[i]) {
					present = append(present, v[i])
				}
			}
			slices.Sort(present)
			present = slices.Compact(present)
			for k := range present {
				at := math.Inf(1)
				if k+1 < len(present) {
					at = present[k] + (present[k+1]-present[k])/2
				}
				for _, defL := range []bool{true, false} {
					t := cut{col: c, at: at, defL: defL}
					for _, i := range rows {
						if math.IsNaN(v[i]) && defL || v[i] <= at {
							t.l = append(t.l, i)
							t.gl += g[i]
							t.hl += h[i]
						} else {
							t.r = append(t.r, i)
						}
					}
					if len(t.l) == 0 || len(t.r) == 0 || t.hl < n.p.MinChildWeight || H-t.hl < n.p.MinChildWeight {
						continue
					}
					t.gain = (n.term(t.gl, t.hl)+n.term(G-t.gl, H-t.hl)-n.term(G, H))/2 - n.p.Gamma
					if t.gain > 1e-9 && t.gain > best.gain+1e-9 {
						best = t
					}
				}
			}
		}
	}
	if best.gain == 0 {
		for _, i := range rows {
			out[i] = -n.p.LearningRate * G / (H + n.p.Lambda)
		}
		return
	}
	n.grow(best.l, g, h, depth-1, out)
	n.grow(best.r, g, h, depth-1, out)
}

func (n *naive) train() []float64 {
	rows := span(0, len(n.y))
	mean := 0.0
	for _, y := range n.y {
		mean += y / float64(len(n.y))
	}
	n.f = make([]float64, len(n.y))
	g, h, step := make([]float64, len(n.y)), make([]float64, len(n.y)), make([]float64, len(n.y))
	for i := range n.f {
		n.f[i] = math.Log(mean / (1 - mean))
	}
	for range n.p.Trees {
		for i, x := range n.f {
			p := 1 / (1 + math.Exp(-x))
			g[i], h[i] = p-n.y[i], p*(1-p)
		}
		n.grow(rows, g, h, n.p.Depth, step)
		for i := range n.f {
			n.f[i] += step[i]
		}
	}
	out := make([]float64, len(n.f))
	for i, x := range n.f {
		out[i] = 1 / (1 + math.Exp(-x))
	}
	return out
}

func TestAgainstNaiveGreedy(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name                string
		rows, cols          int
		depth               int
		lambda, gamma, mcw  float64
		missing, duplicates bool
	}{
		{"plain", 120, 4, 3, 1, 0, 0, false, false},
		{"missing", 120, 4, 3, 1, 0, 0, true, false},
		{"gamma and weight", 150, 3, 4, 0.5, 0.2, 2, true, false},
		{"lambda 0", 100, 3, 2, 0, 0, 1, true, false},
		{"few values", 150, 3, 3, 1, 0, 1, true, true},
		{"tiny", 8, 2, 2, 1, 0, 0, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(tc.rows), uint64(tc.cols)))
			label := make([]float64, tc.rows)
			var cols []Column
			n := &naive{}
			for range tc.cols {
				v := make([]float64, tc.rows)
				for i := range v {
					v[i] = rng.NormFloat64()
					if tc.duplicates {
						v[i] = math.Round(3 * v[i])
					}
					if v[i]+rng.NormFloat64() > 0.7 {
						label[i] = 1
					}
					if tc.missing && rng.Float64() < 0.2 {
						v[i] = math.NaN()
					}
				}
				cols = append(cols, Column{string(rune('a' + len(cols))), v})
				n.cols = append(n.cols, v)
			}
			label[0], label[1] = 0, 1
			p := DefaultParams()
			p.Trees, p.Depth, p.Bins, p.Exact = 5, tc.depth, 254, true
			p.Lambda, p.Gamma, p.MinChildWeight, p.LearningRate = tc.lambda, tc.gamma, tc.mcw, 0.3
			m, _, err := TrainLocal(context.Background(), cols, label, Rows{Train: span(0, tc.rows)}, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.PredictLocal(cols)
			if err != nil {
				t.Fatal(err)
			}
			n.p, n.y = p, label
			for i, want := range n.train() {
				if math.Abs(got[i]-want) > 1e-9 {
					t.Fatalf("row %d: %v, the naive booster gives %v", i, got[i], want)
				}
			}
			splits := 0
			for _, im := range m.Importance() {
				splits += im.Splits
			}
			if splits < 5 {
				t.Fatalf("only %d splits: the test tests little", splits)
			}
		})
	}
}

func TestTrainingScoresArePredictions(t *testing.T) {
	t.Parallel()
	cols, label := table(3, 500, 6)
	p := DefaultParams()
	p.Trees = 8
	rows := Rows{Train: span(0, 300), Valid: span(300, 500)}
	m, hist, err := TrainLocal(context.Background(), cols, label, rows, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	pred, err := m.PredictLocal(cols)
	if err != nil {
		t.Fatal(err)
	}
	for part, r := range map[string]Rows{"train": {Train: rows.Train}, "valid": {Train: rows.Valid}} {
		want := hist.Train[7]
		if part == "valid" {
			want = hist.Valid[7]
		}
		sum := 0.0
		for _, i := range r.Train {
			sum -= math.Log(pred[i])*label[i] + math.Log(1-pred[i])*(1-label[i])
		}
		if got := sum / float64(len(r.Train)); math.Abs(got-want) > 1e-12 {
			t.Errorf("%s: log-loss of the predictions %v, of the history %v", part, got, want)
		}
	}
	for k := 1; k < len(hist.Train); k++ {
		if hist.Train[k] >= hist.Train[k-1] {
			t.Errorf("tree %d does not lower the training loss: %v", k, hist.Train)
		}
	}
}

func TestEarlyStopping(t *testing.T) {
	t.Parallel()
	cols, label := table(4, 300, 5)
	p := DefaultParams()
	p.Trees, p.Depth, p.LearningRate, p.EarlyStopping, p.MinChildWeight = 200, 5, 0.5, 4, 0
	rows := Rows{Train: span(0, 150), Valid: span(150, 300)}
	m, hist, err := TrainLocal(context.Background(), cols, label, rows, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	best := 0
	for k, v := range hist.Valid {
		if v < hist.Valid[best] {
			best = k
		}
	}
	if hist.Best != best+1 || len(m.Trees) != hist.Best || len(hist.Valid) != hist.Best+4 || len(hist.Train) != len(hist.Valid) {
		t.Errorf("best %d (lowest loss at %d), %d trees kept, %d grown", hist.Best, best+1, len(m.Trees), len(hist.Valid))
	}
}

func TestColumnsWithoutSplits(t *testing.T) {
	t.Parallel()
	const n = 80
	_, label := table(5, n, 3)
	rows := Rows{Train: span(0, n)}
	half := constant("half", n, 3)
	for i := range half.Values {
		if label[i] == 1 {
			half.Values[i] = math.NaN()
		}
	}
	for _, tc := range []struct {
		name   string
		cols   []Column
		splits bool
	}{
		{"no columns", nil, false},
		{"constant", []Column{constant("c", n, 7)}, false},
		{"all missing", []Column{constant("m", n, math.NaN())}, false},
		{"infinite", []Column{constant("i", n, math.Inf(1))}, false},
		{"present or missing", []Column{half}, true},
	} {
		m, _, err := TrainLocal(context.Background(), tc.cols, label, rows, DefaultParams(), nil)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if got := len(m.Importance()) > 0; got != tc.splits {
			t.Errorf("%s: splits %v, want %v", tc.name, got, tc.splits)
		}
	}
}

func TestInfiniteValues(t *testing.T) {
	t.Parallel()
	inf := math.Inf(1)
	v := []float64{-inf, -inf, -math.MaxFloat64, 0, math.MaxFloat64, inf, inf, inf}
	y := []float64{0, 0, 0, 0, 1, 1, 1, 1}
	p := DefaultParams()
	p.Trees, p.MinChildWeight = 3, 0
	m, _, err := TrainLocal(context.Background(), []Column{{"x", v}}, y, Rows{Train: span(0, 8)}, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	pred, err := m.PredictLocal([]Column{{"x", v}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range y {
		if (pred[i] > 0.5) != (y[i] == 1) {
			t.Errorf("row %d (%v): %v", i, v[i], pred[i])
		}
	}
}

func TestInputErrors(t *testing.T) {
	t.Parallel()
	cols, label := table(6, 50, 2)
	rows := Rows{Train: span(0, 50)}
	set := func(f func(*Params)) Params { p := DefaultParams(); f(&p); return p }
	ok := DefaultParams()
	for _, tc := range []struct {
		name  string
		cols  []Column
		label []float64
		rows  Rows
		p     Params
		kind  fault.Kind
	}{
		{"no training rows", cols, label, Rows{}, ok, fault.Data},
		{"row out of range", cols, label, Rows{Train: []int{50}}, ok, fault.Data},
		{"negative row", cols, label, Rows{Train: []int{0}, Valid: []int{-1}}, ok, fault.Data},
		{"short column", []Column{{"a", label[:49]}}, label, rows, ok, fault.Data},
		{"twice the same name", []Column{cols[0], cols[0]}, label, rows, ok, fault.Data},
		{"label 2", cols, append([]float64{2}, label[1:]...), rows, ok, fault.Data},
		{"label missing", cols, append([]float64{math.NaN()}, label[1:]...), rows, ok, fault.Data},
		{"early stopping without validation", cols, label, rows, set(func(p *Params) { p.EarlyStopping = 1 }), fault.Spec},
		{"trees", cols, label, rows, set(func(p *Params) { p.Trees = 0 }), fault.Spec},
		{"depth", cols, label, rows, set(func(p *Params) { p.Depth = 11 }), fault.Spec},
		{"learning rate", cols, label, rows, set(func(p *Params) { p.LearningRate = math.NaN() }), fault.Spec},
		{"lambda", cols, label, rows, set(func(p *Params) { p.Lambda = -1 }), fault.Spec},
		{"gamma", cols, label, rows, set(func(p *Params) { p.Gamma = math.Inf(1) }), fault.Spec},
		{"weight", cols, label, rows, set(func(p *Params) { p.MinChildWeight = math.NaN() }), fault.Spec},
		{"bins", cols, label, rows, set(func(p *Params) { p.Bins = 255 }), fault.Spec},
		{"mean bits", cols, label, rows, set(func(p *Params) { p.MeanBits = 0 }), fault.Spec},
		{"patience", cols, label, rows, set(func(p *Params) { p.EarlyStopping = -1 }), fault.Spec},
	} {
		_, _, err := TrainLocal(context.Background(), tc.cols, tc.label, tc.rows, tc.p, nil)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != tc.kind || f.Cure == "" {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestLocalCancel(t *testing.T) {
	t.Parallel()
	cols, label := table(6, 50, 2)
	ctx, cancel := context.WithCancel(context.Background())
	_, _, err := TrainLocal(ctx, cols, label, Rows{Train: span(0, 50)}, DefaultParams(), func(done, total int) {
		if done == 3 {
			cancel()
		}
		if done > 3 || total != 50 {
			t.Errorf("progress %d of %d", done, total)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	inf, nan, top := math.Inf(1), math.NaN(), math.MaxFloat64
	for _, tc := range []struct {
		name    string
		values  []float64
		bins    int
		edges   []float64
		missing bool
	}{
		{"distinct fit", []float64{3, 1, 2, 1}, 4, []float64{1.5, 2.5, top}, false},
		{"missing", []float64{nan, 1, 2, nan}, 4, []float64{1.5, top}, true},
		{"quantiles", []float64{1, 2, 3, 4, 5, 6, 7, 8}, 4, []float64{2.5, 4.5, 6.5, top}, false},
		{"heavy value", []float64{0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 3, []float64{0.5, 2.5, top}, false},
		{"constant", []float64{5, 5}, 3, []float64{top}, false},
		{"all missing", []float64{nan, nan}, 3, nil, true},
		{"infinite", []float64{-inf, 0, inf}, 3, []float64{-top / 2, top / 2, top}, false},
		{"neighbours", []float64{1, math.Nextafter(1, 2)}, 3, []float64{1, top}, false},
	} {
		edges, missing := quantiles(tc.values, span(0, len(tc.values)), tc.bins)
		if !slices.Equal(edges, tc.edges) || missing != tc.missing {
			t.Errorf("%s: %v %v, want %v %v", tc.name, edges, missing, tc.edges, tc.missing)
		}
	}
}

// Bins hold about equally many rows and a value's bin agrees with the
// comparison that the model makes.
func TestBinsAgreeWithThresholds(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	for _, bins := range []int{2, 3, 17, 32, 254} {
		v := make([]float64, 5000)
		for i := range v {
			v[i] = rng.ExpFloat64()
			if bins == 17 {
				v[i] = math.Round(v[i] * 20)
			}
		}
		rows := Rows{Train: span(0, 4000), Valid: span(4000, 5000)}
		fs, err := binColumns(context.Background(), []Column{{"x", v}}, rows, bins)
		if err != nil {
			t.Fatal(err)
		}
		f := fs[0]
		if len(f.edges) != bins {
			t.Errorf("%d bins, want %d", len(f.edges), bins)
		}
		count := make([]int, bins)
		for i, x := range v {
			if i < 4000 {
				count[f.index[i]]++
			}
			for b, e := range f.edges {
				if f.goesLeft(int32(i), b, false) != left(x, e, false) {
					t.Fatalf("row %d bin %d: index %d disagrees with %v <= %v", i, b, f.index[i], x, e)
				}
			}
		}
		if bins != 17 && slices.Max(count)-slices.Min(count) > 1 {
			t.Errorf("%d bins hold from %d to %d rows", bins, slices.Min(count), slices.Max(count))
		}
	}
}

func TestQuantise(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(9, 9))
	v := make([]float64, 20_000)
	for i := range v {
		v[i] = rng.NormFloat64() * 0.3
	}
	for _, limit := range []int64{1 << 14, 1 << 18, 1 << 30} {
		dst := make([]int64, 2*len(v))
		scale := quantise(dst, 1, v, limit, rounding(1, 2, 1))
		var total, sum, want int64
		exact := 0.0
		for i := range v {
			q := dst[2*i+1]
			if d := float64(q) - v[i]*scale; math.Abs(d) > 1 {
				t.Fatalf("limit %d: %v is rounded to %d", limit, v[i]*scale, q)
			}
			total += max(q, -q)
			sum += q
			exact += v[i] * scale
			want += dst[2*i]
		}
		if total > limit || float64(total) < 0.9*float64(limit) && limit > 1<<14 {
			t.Errorf("limit %d: the magnitudes add up to %d", limit, total)
		}
		if math.Abs(float64(sum)-exact) > 4*math.Sqrt(float64(len(v)))/2 {
			t.Errorf("limit %d: the sum is %d, unrounded %v: rounding is biased", limit, sum, exact)
		}
		if want != 0 {
			t.Error("the other lane was written")
		}
	}
	// The limit holds in corners too: no room, nothing to round, large numbers.
	for _, v := range [][]float64{{0, 0}, {1e-300, 0}, {1, 1, 1, 1, 1, 1}, {1e300, -1e300}, slices.Repeat([]float64{0.5}, 100)} {
		for _, limit := range []int64{1, 3, 100, exactLimit} {
			for _, rng := range []*rand.Rand{nil, rounding(1, 1, 1)} {
				dst := make([]int64, 2*len(v))
				quantise(dst, 0, v, limit, rng)
				var total int64
				for _, q := range dst {
					total += max(q, -q)
				}
				if total > limit || total < 0 {
					t.Errorf("%v within %d: %v", v, limit, dst)
				}
			}
		}
	}
}

// With lambda 0 a sum of second derivatives may be 0 or next to it.
func TestLeafWithoutWeight(t *testing.T) {
	t.Parallel()
	p := DefaultParams()
	p.Lambda = 0
	for _, tc := range []struct{ g, h, leaf, score float64 }{
		{1, 0, 0, 0}, {0, 0, 0, 0}, {1, 5e-324, -maxLeaf, math.Inf(1)}, {-2, 4, 0.05, 1},
	} {
		if leaf, score := p.leaf(tc.g, tc.h), p.score(tc.g, tc.h); math.Abs(leaf-tc.leaf) > 1e-15 || score != tc.score {
			t.Errorf("%+v: leaf %v, score %v", tc, leaf, score)
		}
	}
}

func TestQuantisedIsCloseToExact(t *testing.T) {
	t.Parallel()
	cols, label := table(11, 4000, 8)
	rows := Rows{Train: span(0, 2500)}
	p := DefaultParams()
	score := func(p Params) float64 {
		m, _, err := TrainLocal(context.Background(), cols, label, rows, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		pred, err := m.PredictLocal(cols)
		if err != nil {
			t.Fatal(err)
		}
		return auc(pred[2500:], label[2500:])
	}
	quantised := score(p)
	p.Exact = true
	if exact := score(p); math.Abs(quantised-exact) > 0.006 || exact < 0.7 {
		t.Errorf("AUC %v quantised, %v exact", quantised, exact)
	}
}
