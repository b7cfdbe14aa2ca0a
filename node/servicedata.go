package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"kontor/api/rest"
	"kontor/data"
	"kontor/flow"
	"kontor/flow/job"
	"kontor/internal/fault"
	"kontor/model"
	"kontor/store"
)

// Datasets implements rest.Catalogue.
func (s service) Datasets(ctx context.Context) ([]rest.Dataset, error) {
	list, err := s.n.data.List(ctx)
	out := []rest.Dataset{}
	for _, d := range list {
		rd := dataset(d)
		rd.Columns = nil
		out = append(out, *rd)
	}
	return out, err
}

func dataset(d data.Dataset) *rest.Dataset {
	out := &rest.Dataset{Name: d.Name, Kind: d.Kind, Path: d.Path, DSN: d.DSN, Query: d.Query, Added: d.Added, Rows: d.Rows, Fingerprint: d.Fingerprint, Published: d.Published,
		Options: rest.DataOptions{ID: d.Options.ID, Label: d.Options.Label, Missing: d.Options.Missing, Types: d.Options.Types}}
	if out.Published == nil {
		out.Published = []string{}
	}
	for _, c := range d.Schema {
		out.Columns = append(out.Columns, rest.Column{Name: c.Name, Type: c.Type, Missing: c.Missing, Distinct: c.Distinct, Min: c.Min, Max: c.Max, Mean: c.Mean})
	}
	return out
}

// AddDataset implements rest.Catalogue.
func (s service) AddDataset(ctx context.Context, r rest.AddData) (*rest.Dataset, error) {
	if !r.Replace {
		if _, err := s.n.data.Describe(ctx, r.Name); err == nil {
			return nil, rest.Conflict("there is a dataset "+r.Name+" already", "choose another name, or add it with --replace")
		}
	}
	d, err := s.n.data.Add(ctx, data.Spec{Name: r.Name, Kind: r.Kind, Path: r.Path, DSN: r.DSN, Query: r.Query,
		Options: data.Options{ID: r.Options.ID, Label: r.Options.Label, Missing: r.Options.Missing, Types: r.Options.Types}}, r.Replace,
		func(tx *store.Tx, d data.Dataset) error {
			return s.record(ctx, tx, "data.added", "data "+d.Name, map[string]any{"kind": d.Kind, "rows": d.Rows, "fingerprint": d.Fingerprint, "replaced": r.Replace})
		})
	if err != nil {
		return nil, err
	}
	return dataset(d), nil
}

// Dataset implements rest.Catalogue.
func (s service) Dataset(ctx context.Context, name string) (*rest.Dataset, error) {
	d, err := s.n.data.Describe(ctx, name)
	if err != nil {
		return nil, known(err)
	}
	out := dataset(d)
	if d.Query == "" { // a query would be run once more
		if err := s.n.data.Check(ctx, name); err != nil {
			out.Problem = err.Error()
		}
	}
	return out, nil
}

// RemoveDataset implements rest.Catalogue.
func (s service) RemoveDataset(ctx context.Context, name string) error {
	return known(s.change(ctx, "data.removed", "data "+name, nil, func(tx *store.Tx) error { return s.n.data.Remove(ctx, tx, name) }))
}

// Publish implements rest.Catalogue.
func (s service) Publish(ctx context.Context, name string, peers []string) (*rest.Dataset, error) {
	for _, p := range peers {
		if _, err := s.n.home.Peers.Get(p); err != nil {
			return nil, rest.NotFound(fmt.Sprintf("there is no peer %q", p), "see kontor peer ls")
		}
	}
	var d data.Dataset
	err := s.change(ctx, "data.published", "data "+name, map[string]any{"peers": peers}, func(tx *store.Tx) (err error) {
		d, err = s.n.data.Publish(ctx, tx, name, peers)
		return err
	})
	if err != nil {
		return nil, known(err)
	}
	return dataset(d), nil
}

// record adds an audit entry to a transaction.
func (s service) record(ctx context.Context, tx *store.Tx, action, object string, detail map[string]any) error {
	return s.n.record(tx, actor(ctx), action, object, detail)
}

// Models implements rest.Registry.
func (s service) Models(ctx context.Context) ([]rest.Model, error) {
	list, err := s.n.models.List(ctx, model.Filter{})
	out := []rest.Model{}
	for _, r := range list {
		out = append(out, restModel(r))
	}
	return out, err
}

func restModel(r model.Record) rest.Model {
	m := rest.Model{ID: r.ID, Job: r.Job, JobName: r.JobName, Step: r.Step, Kind: r.Kind, Party: r.Party, Role: r.Role, Created: r.Created, Parties: r.Parties, Spec: r.Spec,
		Software: r.Software, Data: []rest.Lineage{}, Metrics: r.Metrics, Tags: append([]string{}, r.Tags...), Files: r.Files, SHA256: r.SHA256}
	for _, l := range r.Data {
		m.Data = append(m.Data, rest.Lineage{Party: l.Party, Name: l.Name, Fingerprint: l.Fingerprint})
	}
	return m
}

// Model implements rest.Registry.
func (s service) Model(ctx context.Context, id string) (*rest.Model, error) {
	r, err := s.n.models.Get(ctx, id)
	if err != nil {
		return nil, known(err)
	}
	m := restModel(r)
	return &m, nil
}

// TagModel implements rest.Registry.
func (s service) TagModel(ctx context.Context, id, tag string) (*rest.Model, error) {
	err := s.n.db.Write(ctx, func(tx *store.Tx) error {
		before, err := s.n.models.Tag(ctx, tx, id, tag)
		if err != nil {
			return err
		}
		return s.record(ctx, tx, "model.tagged", "model "+id, map[string]any{"tag": tag, "before": before})
	})
	if err != nil {
		return nil, known(err)
	}
	return s.Model(ctx, id)
}

// UntagModel implements rest.Registry.
func (s service) UntagModel(ctx context.Context, id, tag string) (*rest.Model, error) {
	r, err := s.n.models.Lookup(ctx, id)
	if err != nil {
		return nil, known(err)
	}
	if !slices.Contains(r.Tags, tag) {
		return nil, rest.NotFound(fmt.Sprintf("the model has no tag %q", tag), "see kontor model show")
	}
	err = s.change(ctx, "model.untagged", "model "+r.ID, map[string]any{"tag": tag}, func(tx *store.Tx) error {
		_, err := s.n.models.Untag(ctx, tx, tag)
		return err
	})
	if err != nil {
		return nil, known(err)
	}
	return s.Model(ctx, r.ID)
}

// ExportModel implements rest.Registry.
func (s service) ExportModel(ctx context.Context, id string, w io.Writer) error {
	r, err := s.n.models.Lookup(ctx, id)
	if err != nil {
		return known(err)
	}
	if err := s.change(ctx, "model.exported", "model "+r.ID, nil, nil); err != nil {
		return err
	}
	return s.n.models.Export(ctx, r.ID, w)
}

// ExportAudit implements rest.Account.
func (s service) ExportAudit(ctx context.Context, w io.Writer, from, to int64) error {
	return s.n.account.Export(ctx, w, from, to)
}

// Predict implements rest.Registry: a job with the parties of the model's.
func (s service) Predict(ctx context.Context, id string, r rest.PredictRequest) (*rest.Job, error) {
	if _, err := s.n.network(); err != nil {
		return nil, err
	}
	m, err := s.n.models.Lookup(ctx, id)
	if err != nil {
		return nil, known(err)
	}
	trained, err := s.n.jobs.Get(ctx, m.Job)
	if err != nil {
		return nil, known(err)
	}
	text, err := predictSpec(m, trained, r)
	if err != nil {
		return nil, err
	}
	if err := s.change(ctx, "model.predict", "model "+m.ID, map[string]any{"data": r.Data}, nil); err != nil {
		return nil, err
	}
	rec, err := s.n.jobs.Submit(ctx, job.Submission{Spec: text, Note: r.Note, Actor: actor(ctx), Key: rest.IdempotencyKey(ctx)})
	return s.job(ctx, rec, err)
}

// predictSpec writes the job that scores new rows. JSON is YAML.
func predictSpec(m model.Record, trained *job.Record, r rest.PredictRequest) ([]byte, error) {
	spec := trained.Spec()
	name := r.Name
	if name == "" {
		name = strings.Trim(fmt.Sprintf("%.24s", "predict-"+spec.Job), "-")
	}
	parties := map[string]any{}
	for _, p := range spec.Parties {
		set := r.Data[p.Name]
		if set == "" {
			return nil, fault.New(fault.Usage, "no data set is named for "+p.Name, fmt.Sprintf("the model needs all of its parties; give one with --data %s=NAME", p.Name))
		}
		party := map[string]any{"role": p.Role, "data": set}
		if id := r.IDs[p.Name]; id != "" {
			party["id"] = id
		} else if p.ID != "" {
			party["id"] = p.ID
		}
		if len(p.Missing) > 0 {
			party["missing"] = p.Missing
		}
		parties[p.Name] = party
	}
	for name := range r.Data {
		if !slices.Contains(spec.PartyNames(), name) {
			return nil, fault.New(fault.Usage, fmt.Sprintf("%s has no part in the model", name), "its parties are "+strings.Join(spec.PartyNames(), ", "))
		}
	}
	doc := orderedJob{Job: name, Purpose: spec.Purpose, Parties: parties, Steps: []map[string]any{}}
	if r.Purpose != "" {
		doc.Purpose = r.Purpose
	}
	doc.Priority = r.Priority
	align := map[string]any{}
	for _, st := range spec.Steps {
		if st.Kind == "align" {
			align["min_rows"] = st.Params.Int("min_rows")
			break
		}
	}
	doc.Steps = append(doc.Steps, map[string]any{"align": align}, map[string]any{"predict": map[string]any{flow.TypeModel: m.ID}})
	return json.MarshalIndent(doc, "", "  ")
}

type orderedJob struct {
	Job      string           `json:"job"`
	Purpose  string           `json:"purpose,omitempty"`
	Priority *int             `json:"priority,omitempty"`
	Parties  map[string]any   `json:"parties"`
	Steps    []map[string]any `json:"steps"`
}
