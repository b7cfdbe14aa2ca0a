package flow

import (
	"context"
	"errors"
	"fmt"
	"math"

	"kontor/fed/boost"
	"kontor/internal/fault"
	"kontor/session"
)

var errSplit = errors.New("test and valid together leave too few rows to train on")

var boostComponent = &Component{
	Kind:       "boost",
	Version:    1,
	Doc:        "Trains gradient-boosted trees for a binary label over the columns of all parties, under encryption.",
	Params:     boostParams(),
	Inputs:     []Port{{Name: TypeRows, Type: TypeRows}, {Name: TypeParts, Type: TypeParts, Optional: true}},
	Output:     TypeModel,
	NeedsLabel: true,
	Features:   true,
	Check:      func(p Params) error { return toBoost(p).Validate() },
	Discloses: []Disclosure{
		{To: ToGuest, Kind: DiscloseSize, Text: "how many usable columns each host has and how many bins each of them, without names"},
		{To: ToHost, Kind: DiscloseSize, Text: "how many columns and bins the widest host has; how many trees were grown and kept"},
		{To: ToGuest, Kind: DiscloseAggregate, MinRows: 1, Text: "for every bin of every host column and every node, sums of rounded gradients and Hessians, in small nodes over few rows or one"},
		{To: ToGuest, Kind: DisclosePartition, Text: "for each host split that it chose, the side of every training and validation row, without column and threshold"},
		{To: ToHost, Kind: DiscloseFeatureUse, Text: "which of its own splits are used, and in which tree and level each was first wanted"},
	},
	Memory: boostMemory,
	Run:    runBoost,
}

// boostMemory adds to table and joint rows the binned columns, the vectors of a
// level and the hint, of which each bin takes about 27 KB.
func boostMemory(rows, cols int, p Params) int64 {
	const hint, level = 27 << 10, 64 << 20
	return 2*tableBytes(rows, cols) + int64(rows)*int64(cols+160) + int64(cols)*int64(p.Int("bins")+1)*hint + level
}

func boostParams() []ParamDoc {
	d := boost.DefaultParams()
	return []ParamDoc{
		{Name: "trees", Default: float64(d.Trees), Min: 1, Max: 5000, Whole: true, Doc: "number of trees"},
		{Name: "depth", Default: float64(d.Depth), Min: 1, Max: 10, Whole: true, Doc: "levels of splits in a tree"},
		{Name: "learning_rate", Default: d.LearningRate, Min: 1e-4, Max: 1, Doc: "share of each tree's step that is taken"},
		{Name: "lambda", Default: d.Lambda, Min: 0, Max: 1e6, Doc: "L2 penalty on leaf weights"},
		{Name: "gamma", Default: d.Gamma, Min: 0, Max: 1e6, Doc: "least gain of a split"},
		{Name: "min_child_weight", Default: d.MinChildWeight, Min: 0, Max: 1e9, Doc: "least sum of hessians on either side of a split"},
		{Name: "bins", Default: float64(d.Bins), Min: 2, Max: 254, Whole: true, Doc: "quantile bins per feature"},
		{Name: "early_stopping", Default: 0, Min: 0, Max: 1000, Whole: true, Doc: "stop after so many trees without a better log-loss on valid; 0 never"},
		{Name: "seed", Default: float64(d.Seed), Min: 0, Max: 1 << 53, Whole: true, Doc: "seed of the stochastic rounding of gradients"},
		{Name: "mean_bits", Default: float64(d.MeanBits), Min: 2, Max: 16, Whole: true, Doc: "bits of a mean gradient under encryption"},
	}
}

func toBoost(p Params) boost.Params {
	return boost.Params{
		Trees: p.Int("trees"), Depth: p.Int("depth"), LearningRate: p["learning_rate"], Lambda: p["lambda"], Gamma: p["gamma"],
		MinChildWeight: p["min_child_weight"], Bins: p.Int("bins"), EarlyStopping: p.Int("early_stopping"),
		Seed: uint64(p["seed"]), MeanBits: p.Int("mean_bits"),
	}
}

func runBoost(ctx context.Context, e *env) (artifact, error) {
	p := toBoost(e.step.Params)
	parts, _ := e.from[TypeParts].(*division)
	data := e.joint()
	rows := boost.Rows{Train: parts.rows("train"), Valid: parts.rows("valid")}
	if parts == nil {
		rows.Train = upTo(len(data.ids))
	}
	if e.self.Role == session.Host {
		m, err := boost.TrainHost(ctx, e.session, data.cols, rows, p, e.rand)
		if err != nil {
			return nil, err
		}
		e.account(m.Kernel)
		return e.model(&trained{host: m}), nil
	}
	if err := twoClasses(data.label, rows); err != nil {
		return nil, err
	}
	e.note("training will send each host up to about %.0f MB, or twice that where two sums do not fit one word", queryMB(len(rows.Train), p))
	m, hist, err := boost.TrainGuest(ctx, e.session, data.cols, data.label, rows, p, e.rand)
	if err != nil {
		return nil, err
	}
	e.result.Importance = m.Importance()
	e.account(hist.Kernel)
	return e.model(&trained{guest: m, history: hist}), nil
}

func (e *env) model(m *trained) *trained {
	e.result.Model, e.result.ModelID = true, m.id()
	return m
}

func (e *env) account(plan string) {
	e.learned(boost.Learned(e.self.Role, boost.Training)...)
	e.secured("%s; see matvec/PROTOCOL.md and fed/boost/PROTOCOL.md", plan)
}

// queryMB is what encrypted gradients of all levels of all trees come to: two
// residues of 53 bits for each training row and ring coefficient.
func queryMB(rows int, p boost.Params) float64 {
	const ringDegree, wordBytes = 4096, 2 * 53 / 8.0
	return wordBytes * float64(rows+ringDegree) * float64(p.Trees) * math.Exp2(float64(p.Depth-1)) / 1e6
}

// twoClasses refuses training rows of one class: there is nothing to learn.
func twoClasses(label []float64, rows boost.Rows) error {
	for _, set := range []struct {
		name string
		rows []int
	}{{"train", rows.Train}, {"valid", rows.Valid}} {
		ones := 0
		for _, r := range set.rows {
			if label[r] == 1 {
				ones++
			}
		}
		if len(set.rows) > 0 && (ones == 0 || ones == len(set.rows)) {
			return fault.New(fault.Data, fmt.Sprintf("the label has one class only among the %d %s rows of the intersection", len(set.rows), set.name),
				"bring more rows of the rare class or change the split")
		}
	}
	return nil
}
