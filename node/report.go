package node

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/report"
)

// Names of files in a guest's result.
const (
	ReportFile = "report.html"
	reportData = "report.json" // what the page is drawn from
)

// buildReport returns the page of a job as one party sees it; nil at a party
// that has no metrics, since there is little to show.
func buildReport(spec *flow.Spec, s *Summary, o *Outcome, now time.Time) *report.Report {
	if len(o.Sets) == 0 {
		return nil
	}
	r := &report.Report{Job: s.Job, Generated: now.UTC().Format("2006-01-02 15:04 UTC"), Version: s.Version,
		Joined: o.Joint, Security: s.Security, Warnings: s.Warnings}
	for _, p := range s.Parties {
		r.Parties = append(r.Parties, report.Party{Name: p.Name, Role: p.Role, Rows: p.Rows, Columns: p.Features, Note: "key " + p.Fingerprint})
	}
	for _, set := range o.Sets {
		r.Sets = append(r.Sets, report.Set{Name: set.Name, Eval: set.Eval})
	}
	for _, i := range o.Importance {
		owner := i.Party
		if owner == "" {
			owner = o.Party
		}
		r.Importance = append(r.Importance, report.Importance{Owner: owner, Feature: i.Feature, Gain: i.Gain, Splits: i.Splits})
	}
	if o.History != nil {
		r.History = report.History{Train: o.History.Train, Valid: o.History.Valid, Best: o.History.Best}
	}
	for _, st := range s.Steps {
		r.Steps = append(r.Steps, report.Step{Name: st.Name, Kind: st.Kind, Seconds: st.Seconds, BytesSent: st.SentBy, Rounds: st.Rounds})
	}
	for _, p := range s.Parties {
		for _, l := range s.Learned[p.Name] {
			r.Learned = append(r.Learned, report.Learned{Party: p.Name, Step: l.Step, Facts: l.Facts})
		}
	}
	for _, st := range o.Steps {
		for _, t := range st.Traffic {
			from, to := o.Party, t.Peer
			if !t.Sent {
				from, to = to, from
			}
			r.Traffic = append(r.Traffic, report.Traffic{From: from, To: to, Step: st.Name, Tag: t.Tag, Messages: t.Messages, Bytes: t.Bytes})
		}
	}
	for _, st := range spec.Steps {
		var names []string
		for k := range st.Params {
			names = append(names, k)
		}
		slices.Sort(names)
		for _, k := range names {
			r.Params = append(r.Params, [2]string{st.Name + "." + k, strconv.FormatFloat(st.Params[k], 'g', -1, 64)})
		}
	}
	return r
}

func reportFiles(r *report.Report) []flow.File {
	return []flow.File{
		{Name: ReportFile, Write: func(w io.Writer) error { return report.Write(w, *r) }},
		{Name: reportData, Write: func(w io.Writer) error { return json.NewEncoder(w).Encode(r) }},
	}
}

// Addition is what others than the guest add to its result afterwards.
type Addition struct {
	Baselines []flow.Baseline
	Learned   map[string][]flow.Learned // of the other parties, where one owner has all sides
	Parties   []PartySummary
}

// AddToResult puts baselines and the other parties' accounts into the report and
// the result that a guest's job has left in dir.
func AddToResult(dir string, add Addition) error {
	var r report.Report
	var s Summary
	for name, v := range map[string]any{reportData: &r, marker: &s} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			return fault.Wrap(fault.Local, err, "the guest's result cannot be read", "run the job again with an empty --out")
		}
	}
	s.Baselines = add.Baselines
	r.Comparison = comparison(&s)
	for _, p := range add.Parties {
		for i := range r.Parties {
			if r.Parties[i].Name == p.Name {
				r.Parties[i].Rows, r.Parties[i].Columns = p.Rows, p.Features
			}
		}
	}
	for _, p := range s.Parties {
		if s.Learned[p.Name] != nil {
			continue
		}
		for _, l := range add.Learned[p.Name] {
			r.Learned = append(r.Learned, report.Learned{Party: p.Name, Step: l.Step, Facts: l.Facts})
		}
	}
	for _, f := range append(reportFiles(&r), flow.File{Name: marker, Write: s.write}) {
		path := filepath.Join(dir, f.Name)
		if err := os.Remove(path + ".new"); err != nil && !os.IsNotExist(err) {
			return diskFault(err)
		}
		if err := writeFile(path+".new", f.Write); err != nil {
			return diskFault(fmt.Errorf("writing %s: %w", f.Name, err))
		}
		if err := os.Rename(path+".new", path); err != nil {
			return diskFault(err)
		}
	}
	return nil
}

// comparison lists the models by the rows of the final test: what the guest can
// do alone first, what no federation can beat last.
func comparison(s *Summary) []report.Row {
	set := "test"
	if _, ok := s.Metrics[set]; !ok {
		set = "train"
	}
	var rows []report.Row
	for _, b := range s.Baselines {
		rows = append(rows, report.Row{Name: b.Name, AUC: b.Metrics[set].AUC, KS: b.Metrics[set].KS, Note: "plaintext, on " + set + " rows"})
	}
	fed := report.Row{Name: "federation", AUC: s.Metrics[set].AUC, KS: s.Metrics[set].KS, Note: "encrypted, on " + set + " rows"}
	return slices.Insert(rows, min(len(rows), 1), fed)
}
