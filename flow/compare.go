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
	st, err := pool(spec, inputs)
	if err != nil {
		return nil, err
	}
	var params Params
	for _, s := range spec.Steps {
		e := &env{spec: spec, step: s, state: st}
		switch s.Kind {
		case "split":
			if err := runSplit(ctx, e); err != nil {
				return nil, err
			}
		case "boost":
			params = s.Params
		}
	}
	if params == nil {
		return nil, fault.New(fault.Spec, "the job has no boost step to compare with", "leave out the comparison")
	}
	guest := spec.Guest()
	var out []Baseline
	for _, b := range []struct {
		name string
		cols []boost.Column
	}{{guest + " alone", st.cols[:len(inputs[guest].Columns)]}, {"pooled plaintext", st.cols}} {
		if len(b.cols) == 0 {
			continue
		}
		m, err := plaintext(ctx, st, b.cols, params, func(done, total int) {
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

// pool joins all parties' tables on their ids, the guest's columns first.
func pool(spec *Spec, inputs map[string]*Input) (*state, error) {
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
	var joint []int
	for i, id := range guest.IDs {
		everywhere := true
		for _, name := range order {
			_, ok := where[name][id]
			everywhere = everywhere && ok
		}
		if everywhere {
			joint = append(joint, i)
		}
	}
	if len(joint) == 0 {
		return nil, fault.New(fault.Data, "the parties have no row in common", "check that they use the same kind of id")
	}
	st := &state{input: guest}
	rows := commonOrder(guest.IDs, joint)
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

func plaintext(ctx context.Context, st *state, cols []boost.Column, params Params, progress func(done, total int)) (map[string]metric.Summary, error) {
	p := toBoost(params)
	p.Exact = true
	rows := boost.Rows{Train: st.rows("train"), Valid: st.rows("valid")}
	if rows.Train == nil {
		rows.Train = upTo(len(st.ids))
	}
	m, _, err := boost.TrainLocal(ctx, cols, st.label, rows, p, progress)
	if err != nil {
		return nil, err
	}
	scores, err := m.PredictLocal(cols)
	if err != nil {
		return nil, err
	}
	parts := st.parts
	if parts == nil {
		parts = []part{{"train", rows.Train}}
	}
	out := map[string]metric.Summary{}
	for _, pt := range parts {
		ev, err := metric.Evaluate(take(scores, pt.rows), take(st.label, pt.rows))
		if err != nil {
			return nil, fmt.Errorf("measuring %s: %w", pt.name, err)
		}
		out[pt.name] = ev.Summary
	}
	return out, nil
}
