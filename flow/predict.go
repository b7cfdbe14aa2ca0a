package flow

import (
	"context"
	"fmt"
	"io"
	"slices"

	"kontor/internal/fault"
	"kontor/session"
)

var predictComponent = &Component{
	Kind:    "predict",
	Version: 1,
	Doc:     "Scores the joint rows with a model of this job or of an earlier one; the guest alone gets scores. No label is needed.",
	Texts: []TextDoc{
		{Name: "model", Port: TypeModel, Pattern: `[0-9a-z][0-9a-z._-]{0,63}`,
			Doc: "the 64 hex digits of a model that all parties keep, or a tag of it, instead of an earlier step"},
	},
	Inputs:    []Port{{Name: TypeRows, Type: TypeRows}, {Name: TypeModel, Type: TypeModel}},
	Output:    TypeScores,
	Features:  true,
	Discloses: scored,
	Memory:    scoreMemory,
	Run:       runPredict,
}

func runPredict(ctx context.Context, e *env) (artifact, error) {
	data, scores, err := e.score(ctx)
	if err != nil || e.self.Role == session.Host {
		return nil, err
	}
	all := []part{{"", upTo(len(data.ids))}}
	return &predicted{scores: func(w io.Writer) error { return writeScores(w, data.ids, nil, all, scores) }}, nil
}

// hasColumns refuses a table that lacks columns of the model, before the peers
// are bothered, and names all of them.
func (e *env) hasColumns(m *trained) error {
	var have, lack []string
	for _, c := range e.input.Columns {
		have = append(have, c.Name)
	}
	for _, f := range m.features() {
		if !slices.Contains(have, f) {
			lack = append(lack, f)
		}
	}
	if len(lack) == 0 {
		return nil
	}
	return fault.New(fault.Data, fmt.Sprintf("%s lacks columns that the model uses: %s", e.input.File, list(lack)),
		"name a table that has the columns of the training as numbers, and take them out of ignore:")
}
