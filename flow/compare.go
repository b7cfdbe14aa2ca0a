package flow

import (
	"context"
	"fmt"

	"kontor/fed/boost"
	"kontor/fed/metric"
	"kontor/internal/fault"
	"kontor/session"
)

// Baseline is a plaintext model to compare a federation with.
type Baseline struct {
	Name    string                    `json:"name"`
	Metrics map[string]metric.Summary `json:"metrics"`
}

// Compare trains, in plaintext and without quantisation, what the federation is
// measured against: the guest's own columns alone, and all columns pooled. It
// takes all parties' inputs, so it serves whoever owns all sides: a demo, a
// simulation, a test. Joint rows, their order and the split are those of the job.
func Compare(ctx context.Context, spec *Spec, inputs map[string]*Input, progress func(name string, done, total int)) ([]Baseline, error) {
	data, err := pool(spec, inputs)
	if err != nil {
		return nil, err
	}
	params, parts := trainedLast(spec, data.ids)
	if params == nil {
		return nil, fault.New(fault.Spec, "the job has no boost step to compare with", "leave out the comparison")
	}
	guest := spec.Guest()
	var out []Baseline
	for _, b := range []struct {
		name string
		cols []boost.Column
	}{{guest + " alone", data.cols[:len(inputs[guest].Columns)]}, {"pooled plaintext", data.cols}} {
		if len(b.cols) == 0 {
			continue
		}
		m, err := plaintext(ctx, data, parts, b.cols, params, func(done, total int) {
			if progress != nil {
				progress(b.name, done, total)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("training %s: %w", b.name, err)
		}
		out = append(out, Baseline{b.name, m})
	}
	return out, nil
}

// trainedLast returns the parameters of the last boost step and the parts that it
// trains on, nil without a split.
func trainedLast(spec *Spec, ids []string) (Params, *division) {
	for i := len(spec.Steps) - 1; i >= 0; i-- {
		st := spec.Steps[i]
		if st.Kind != "boost" {
			continue
		}
		if split := step(spec.Steps, i, st.From[TypeParts]); split != nil {
			return st.Params, &division{n: len(ids), parts: divide(ids, split.Params)}
		}
		return st.Params, nil
	}
	return nil, nil
}

// pool joins all parties' tables on their ids, the guest's columns first.
func pool(spec *Spec, inputs map[string]*Input) (*joint, error) {
	guest := inputs[spec.Guest()]
	order := []string{spec.Guest()}
	for _, p := range spec.Parties {
		if p.Role == session.Host {
			order = append(order, p.Name)
		}
	}
	where := map[string]map[string]int{}
	for _, name := range order {
		where[name] = make(map[string]int, len(inputs[name].IDs))
		for i, id := range inputs[name].IDs {
			where[name][id] = i
		}
	}
	var common []int
	for i, id := range guest.IDs {
		everywhere := true
		for _, name := range order {
			_, ok := where[name][id]
			everywhere = everywhere && ok
		}
		if everywhere {
			common = append(common, i)
		}
	}
	if len(common) == 0 {
		return nil, fault.New(fault.Data, "the parties have no row in common", "check that they use the same kind of id")
	}
	st := &joint{}
	rows := commonOrder(guest.IDs, common)
	for _, r := range rows {
		st.ids = append(st.ids, guest.IDs[r])
	}
	st.label = take(guest.Label, rows)
	for _, name := range order {
		at := make([]int, len(st.ids))
		for i, id := range st.ids {
			at[i] = where[name][id]
		}
		for _, c := range inputs[name].Columns {
			st.cols = append(st.cols, boost.Column{Name: name + "." + c.Name, Values: take(c.Values, at)})
		}
	}
	return st, nil
}

func plaintext(ctx context.Context, data *joint, split *division, cols []boost.Column, params Params, progress func(done, total int)) (map[string]metric.Summary, error) {
	p := toBoost(params)
	p.Exact = true
	rows := boost.Rows{Train: split.rows("train"), Valid: split.rows("valid")}
	if split == nil {
		rows.Train = upTo(len(data.ids))
	}
	m, _, err := boost.TrainLocal(ctx, cols, data.label, rows, p, progress)
	if err != nil {
		return nil, err
	}
	scores, err := m.PredictLocal(cols)
	if err != nil {
		return nil, err
	}
	parts := []part{{"train", rows.Train}}
	if split != nil {
		parts = split.parts
	}
	out := map[string]metric.Summary{}
	for _, pt := range parts {
		ev, err := metric.Evaluate(take(scores, pt.rows), take(data.label, pt.rows))
		if err != nil {
			return nil, fmt.Errorf("measuring %s: %w", pt.name, err)
		}
		out[pt.name] = ev.Summary
	}
	return out, nil
}
