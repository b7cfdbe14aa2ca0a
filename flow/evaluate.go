package flow

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"

	"kontor/fed/boost"
	"kontor/fed/metric"
	"kontor/session"
)

var evaluateComponent = &Component{
	Kind: "evaluate",
	Doc:  "Scores the joint rows with the model and measures it on each part of the split; the guest alone gets scores and metrics.",
	Params: []ParamDoc{
		{Name: "threshold", Default: metric.DefaultThreshold, Min: 0, Max: 1, Doc: "scores from here on count as positive in the confusion table"},
	},
	Needs: []string{"joint rows", "model"},
	Gives: []string{"metrics"},
	Run:   runEvaluate,
}

func runEvaluate(ctx context.Context, e *env) error {
	st := e.state
	if e.self.Role == session.Host {
		if err := boost.PredictHost(ctx, e.session, st.hostModel, st.cols); err != nil {
			return err
		}
		e.learned(boost.Learned(e.self.Role, boost.Prediction)...)
		return nil
	}
	scores, err := boost.PredictGuest(ctx, e.session, st.guestModel, st.cols)
	if err != nil {
		return err
	}
	e.learned(boost.Learned(e.self.Role, boost.Prediction)...)
	parts := st.parts
	if parts == nil {
		parts = []part{{"train", upTo(len(st.ids))}}
	}
	for _, p := range parts {
		ev, err := metric.Evaluate(take(scores, p.rows), take(st.label, p.rows))
		if errors.Is(err, metric.ErrOneClass) {
			e.warn("%s has rows of one class only, it cannot be measured", p.name)
			continue
		}
		if err == nil {
			ev.Threshold = e.step.Params["threshold"]
			ev.Confusion, err = metric.ConfusionAt(take(scores, p.rows), take(st.label, p.rows), ev.Threshold)
		}
		if err != nil {
			return fmt.Errorf("measuring %s: %w", p.name, err)
		}
		e.result.Metrics[p.name] = ev.Summary
		e.result.Sets = append(e.result.Sets, Set{p.name, ev})
	}
	e.result.Files = append(e.result.Files, File{Name: e.step.Name + "-scores.csv", Write: func(w io.Writer) error {
		return writeScores(w, st, parts, scores)
	}})
	return nil
}

func writeScores(w io.Writer, st *state, parts []part, scores []float64) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{"id", "part", "label", "score"}); err != nil {
		return err
	}
	for _, p := range parts {
		for _, r := range p.rows {
			rec := []string{st.ids[r], p.name, strconv.FormatFloat(st.label[r], 'f', 0, 64), strconv.FormatFloat(scores[r], 'g', 8, 64)}
			if err := out.Write(rec); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

func upTo(n int) []int {
	rows := make([]int, n)
	for i := range rows {
		rows[i] = i
	}
	return rows
}
