package boost

import (
	"context"
	"fmt"
	"math"

	"kontor/internal/fault"
	"kontor/internal/parallel"
	"kontor/matvec"
)

// History is the course of a training.
type History struct {
	Train  []float64 `json:"train"`            // log-loss on the training rows after each tree grown
	Valid  []float64 `json:"valid,omitempty"`  // log-loss on the validation rows after each tree grown
	Best   int       `json:"best"`             // trees kept
	Kernel string    `json:"kernel,omitempty"` // parameters of the encryption; empty without hosts
}

// trainer is the guest's state: all of training that is not messages.
type trainer struct {
	p         Params
	own       []*feature
	owners    []owner     // the guest's features, then each host's
	fed       *federation // nil without hosts
	train     int         // positions [0, train) are training rows, the rest validation rows
	label     []float64   // by position
	score     []float64   // log-odds by position
	g, h      []float64   // derivatives of the loss by training row
	gh        []int64     // the same quantised, in pairs
	limit     int64       // bound on the sum of quantised magnitudes
	scale     scales
	positions []int32 // 0, 1, 2, ...
}

// newTrainer checks the guest's input and bins its columns.
func newTrainer(ctx context.Context, cols []Column, label []float64, rows Rows, p Params) (*trainer, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if err := checkInput(cols, len(label), rows, p); err != nil {
		return nil, err
	}
	n := len(rows.Train) + len(rows.Valid)
	t := &trainer{p: p, train: len(rows.Train), label: make([]float64, 0, n), score: make([]float64, n),
		g: make([]float64, len(rows.Train)), h: make([]float64, len(rows.Train)), gh: make([]int64, 2*len(rows.Train)),
		positions: make([]int32, n)}
	for i := range t.positions {
		t.positions[i] = int32(i)
	}
	for _, part := range [][]int{rows.Train, rows.Valid} {
		for _, i := range part {
			if label[i] != 0 && label[i] != 1 {
				return nil, fault.New(fault.Data, fmt.Sprintf("the label of row %d of the joined table is neither 0 nor 1", i+1),
					"recode the label column to 0 and 1")
			}
			t.label = append(t.label, label[i])
		}
	}
	var err error
	if t.own, err = binColumns(ctx, cols, rows, p.Bins); err != nil {
		return nil, err
	}
	bins := make([]int, len(t.own))
	for f := range bins {
		bins[f] = len(t.own[f].edges)
	}
	t.owners = []owner{newOwner(bins)}
	return t, nil
}

// local sets the bound on quantised sums that a federation over the same rows
// would have; it does not depend on the columns.
func (t *trainer) local() error {
	if t.p.Exact {
		t.limit = exactLimit
		return nil
	}
	kernel, err := matvec.Plan(t.p.spec(t.train, 1, 1))
	if err != nil {
		return fault.Wrap(fault.Spec, err, "these parameters do not fit the kernel of the federation", "lower trees, depth or mean_bits, or set exact")
	}
	t.limit = limit(kernel)
	return nil
}

// limit is the bound on Σ|v| of a vector under which every sum opens right.
func limit(p matvec.Params) int64 { return 1<<(p.PayloadBits()-1) - 1 }

// run grows the trees and returns the guest's model without its identifier.
func (t *trainer) run(ctx context.Context, cols []Column, progress func(done, total int)) (*GuestModel, *History, error) {
	base := baseScore(t.label[:t.train])
	for i := range t.score {
		t.score[i] = base
	}
	m, hist := &GuestModel{Format: Format, Params: t.p, Base: base}, &History{}
	best := math.Inf(1)
	for k := range t.p.Trees {
		if t.fed != nil {
			if err := t.fed.another(ctx); err != nil {
				return nil, nil, err
			}
		}
		if err := t.derive(ctx, k); err != nil {
			return nil, nil, err
		}
		tree, err := t.growTree(ctx)
		if err != nil {
			return nil, nil, err
		}
		m.Trees = append(m.Trees, *tree)
		hist.Train = append(hist.Train, logLoss(t.score[:t.train], t.label[:t.train]))
		if len(t.score) > t.train {
			hist.Valid = append(hist.Valid, logLoss(t.score[t.train:], t.label[t.train:]))
		}
		progress(k+1, t.p.Trees)
		if t.p.EarlyStopping == 0 {
			hist.Best = k + 1
			continue
		}
		if v := hist.Valid[k]; v < best {
			best, hist.Best = v, k+1
		} else if k+1-hist.Best >= t.p.EarlyStopping {
			break
		}
	}
	m.Trees = m.Trees[:hist.Best:hist.Best]
	if t.fed != nil {
		if err := t.fed.end(ctx, hist.Best); err != nil {
			return nil, nil, err
		}
		m.Hosts = t.fed.keep(hist.Best)
		hist.Kernel = t.fed.kernel.String()
	}
	m.nameFeatures(cols)
	return m, hist, nil
}

// derive computes the derivatives of the loss at the scores and quantises them.
func (t *trainer) derive(ctx context.Context, tree int) error {
	const chunk = 1 << 14
	n, bounds := parallel.Chunks(t.train, chunk)
	err := parallel.For(ctx, n, func(c int) error {
		lo, hi := bounds(c)
		for i := lo; i < hi; i++ {
			p := sigmoid(t.score[i])
			t.g[i] = p - t.label[i]
			t.h[i] = p * (1 - p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return parallel.For(ctx, 2, func(lane int) error {
		rng := rounding(t.p.Seed, tree, lane)
		if t.p.Exact {
			rng = nil
		}
		if lane == 0 {
			t.scale.g = quantise(t.gh, 0, t.g, t.limit, rng)
		} else {
			t.scale.h = quantise(t.gh, 1, t.h, t.limit, rng)
		}
		return nil
	})
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// baseScore is the log-odds of the mean label, kept finite.
func baseScore(label []float64) float64 {
	sum := 0.0
	for _, y := range label {
		sum += y
	}
	const least = 1e-6
	p := max(least, min(1-least, sum/float64(len(label))))
	return math.Log(p / (1 - p))
}

// logLoss is the mean of log(1+e^x) - yx.
func logLoss(score, label []float64) float64 {
	sum := 0.0
	for i, x := range score {
		sum += max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) - label[i]*x
	}
	return sum / float64(len(score))
}

// TrainLocal trains on plain columns, without hosts. label has a 0 or 1 for each
// row that rows names. progress may be nil. The model's identifier is a hash of
// its content.
func TrainLocal(ctx context.Context, cols []Column, label []float64, rows Rows, p Params, progress func(done, total int)) (*GuestModel, *History, error) {
	t, err := newTrainer(ctx, cols, label, rows, p)
	if err != nil {
		return nil, nil, err
	}
	if err := t.local(); err != nil {
		return nil, nil, err
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	m, hist, err := t.run(ctx, cols, progress)
	if err != nil {
		return nil, nil, err
	}
	return m, hist, m.identify()
}
