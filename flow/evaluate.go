package flow

import (
	"context"
	"errors"
	"fmt"
	"io"

	"kontor/fed/boost"
	"kontor/fed/metric"
	"kontor/session"
)

// scored is what a step gives away that lets the guest score rows.
var scored = []Disclosure{
	{To: ToGuest, Kind: DisclosePartition, Text: "for each host split in the model, the side of every joint row, without column and threshold"},
	{To: ToGuest, Kind: DiscloseModelOutput, Text: "a score for every joint row"},
	{To: ToHost, Kind: DiscloseNothing, Text: "that the guest scored these rows, and no score"},
}

var evaluateComponent = &Component{
	Kind:    "evaluate",
	Version: 1,
	Doc:     "Scores the joint rows with the model and measures it on each part of the split; the guest alone gets scores and metrics.",
	Params: []ParamDoc{
		{Name: "threshold", Default: metric.DefaultThreshold, Min: 0, Max: 1, Doc: "scores from here on count as positive in the confusion table"},
	},
	Inputs: []Port{{Name: TypeRows, Type: TypeRows}, {Name: TypeModel, Type: TypeModel}, {Name: TypeParts, Type: TypeParts, Optional: true}},
	Output: TypeMetrics, NeedsLabel: true, Features: true,
	Discloses: scored,
	Memory:    scoreMemory,
	Run:       runEvaluate,
}

func scoreMemory(rows, cols int, _ Params) int64 { return 2*tableBytes(rows, cols) + 64*int64(rows) }

func runEvaluate(ctx context.Context, e *env) (artifact, error) {
	data, scores, err := e.score(ctx)
	if err != nil || e.self.Role == session.Host {
		return nil, err
	}
	parts := e.parts(len(data.ids))
	out := &measured{scores: func(w io.Writer) error { return writeScores(w, data.ids, data.label, parts, scores) }}
	e.result.Metrics = map[string]metric.Summary{}
	for _, p := range parts {
		ev, err := metric.Evaluate(take(scores, p.rows), take(data.label, p.rows))
		if errors.Is(err, metric.ErrOneClass) {
			e.warn("%s has rows of one class only, it cannot be measured", p.name)
			continue
		}
		if err == nil {
			ev.Threshold = e.step.Params["threshold"]
			ev.Confusion, err = metric.ConfusionAt(take(scores, p.rows), take(data.label, p.rows), ev.Threshold)
		}
		if err != nil {
			return nil, fmt.Errorf("measuring %s: %w", p.name, err)
		}
		e.result.Metrics[p.name] = ev.Summary
		out.sets = append(out.sets, Set{p.name, ev})
	}
	return out, nil
}

// parts returns the parts to measure. Without a split all rows are one: those
// that the model was trained on, or all of others.
func (e *env) parts(n int) []part {
	if d, ok := e.from[TypeParts].(*division); ok {
		return d.parts
	}
	name := "train"
	if m, err := e.spec.Step(e.step.From[TypeModel]); err != nil || m.From[TypeRows] != e.step.From[TypeRows] {
		name = "all"
	}
	return []part{{name, upTo(n)}}
}

// score has the joint rows scored with the model that the step takes. The
// guest alone gets scores.
func (e *env) score(ctx context.Context) (*joint, []float64, error) {
	m, data := e.from[TypeModel].(*trained), e.joint()
	if err := e.hasColumns(m); err != nil {
		return nil, nil, err
	}
	e.result.ModelID = m.id()
	var scores []float64
	var err error
	if e.self.Role == session.Host {
		err = boost.PredictHost(ctx, e.session, m.host, data.cols)
	} else {
		scores, err = boost.PredictGuest(ctx, e.session, m.guest, data.cols)
	}
	if err != nil {
		return nil, nil, err
	}
	e.learned(boost.Learned(e.self.Role, boost.Prediction)...)
	return data, scores, nil
}
