package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"kontor/api/rest"
	"kontor/flow"
	"kontor/flow/job"
	"kontor/internal/fault"
	"kontor/session"
)

// CheckJob implements rest.Work.
func (s service) CheckJob(_ context.Context, text string) (*rest.SpecCheck, error) {
	spec, err := flow.Parse("the job", []byte(text))
	if err != nil {
		return &rest.SpecCheck{Findings: findings(err)}, nil
	}
	out := &rest.SpecCheck{OK: true, Findings: []rest.Finding{}, Name: spec.Job, Discloses: disclosures(spec)}
	hash := spec.Hash()
	out.Hash = fmt.Sprintf("%x", hash)
	for _, p := range spec.Parties {
		out.Parties = append(out.Parties, rest.JobParty{Name: p.Name, Role: p.Role, Data: p.Data, Consent: job.ByNobody})
		if _, err := s.n.home.Peers.Get(p.Name); err != nil && p.Name != s.n.home.Identity.Name() {
			out.Warnings = append(out.Warnings, p.Name+" is not a peer of this node")
		}
	}
	graph := spec.Graph()
	for _, st := range spec.Steps {
		out.Steps = append(out.Steps, rest.JobStep{Name: st.Name, Kind: st.Kind, Needs: graph[st.Name], State: job.StepPending})
	}
	return out, nil
}

func disclosures(spec *flow.Spec) []rest.Disclosure {
	out := []rest.Disclosure{}
	for _, d := range spec.Disclosures() {
		out = append(out, rest.Disclosure{Step: d.Step, To: d.To, Kind: d.Kind, MinRows: d.MinRows, Text: d.Text})
	}
	return out
}

// known turns an error for a thing that is not there into the API's.
func known(err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Usage && !errors.Is(err, rest.ErrNotFound) && !errors.Is(err, rest.ErrConflict) {
		return rest.NotFound(f.What, f.Cure)
	}
	return err
}

// Submit implements rest.Work.
func (s service) Submit(ctx context.Context, r rest.SubmitRequest) (*rest.Job, error) {
	if _, err := s.n.network(); err != nil {
		return nil, err
	}
	rec, err := s.n.jobs.Submit(ctx, job.Submission{Spec: []byte(r.Spec), Note: r.Note, Actor: actor(ctx), Fresh: r.Reuse != nil && !*r.Reuse, Key: rest.IdempotencyKey(ctx)})
	return s.job(ctx, rec, err)
}

// Rerun implements rest.Work.
func (s service) Rerun(ctx context.Context, id string) (*rest.Job, error) {
	if _, err := s.n.network(); err != nil {
		return nil, err
	}
	old, err := s.n.jobs.Get(ctx, id)
	if err != nil {
		return nil, known(err)
	}
	rec, err := s.n.jobs.Rerun(ctx, old.ID, actor(ctx), rest.IdempotencyKey(ctx))
	return s.job(ctx, rec, err)
}

func (s service) job(ctx context.Context, r *job.Record, err error) (*rest.Job, error) {
	if err != nil {
		return nil, err
	}
	out := s.brief(r)
	out.Spec, out.Discloses = r.Parsed().Spec, disclosures(r.Spec())
	out.Columns = s.columns(r)
	if out.LastEvent, err = s.n.jobs.LastEvent(ctx, r.ID); err != nil {
		return nil, err
	}
	return out, nil
}

// columns are those of this party's table that the job uses.
func (s service) columns(r *job.Record) map[string][]string {
	if r.Print == "" {
		return nil
	}
	v := r.Spec().PartyView(s.n.home.Identity.Name())
	if err := site(s).keys(context.Background(), &v); err != nil {
		return nil // the data set is gone meanwhile
	}
	out := map[string][]string{"join": {v.ID}}
	if len(r.Features) > 0 {
		out["feature"] = r.Features
	}
	if v.Label != "" && !v.NoLabel && v.Role == session.Guest {
		out["label"] = []string{v.Label}
	}
	return out
}

// brief is a job as lists show it.
func (s service) brief(r *job.Record) *rest.Job {
	spec := r.Spec()
	out := &rest.Job{ID: r.ID, Name: r.Name, State: stateOf(r), Role: r.Role, Initiator: r.Initiator, By: r.By, Note: r.Parsed().Note, Purpose: spec.Purpose, Priority: spec.Priority,
		Created: r.Created, Updated: r.Updated, SpecHash: r.SpecHash(), Run: r.Run, WaitingFor: r.Waits, Error: jobError(r.Error), Resumed: r.Resumed, RerunOf: r.Repeats,
		Metrics: map[string]map[string]float64{}}
	if r.State.Final() {
		out.Finished = r.Updated
	}
	for _, p := range spec.Parties {
		ru := r.Rulings[p.Name]
		out.Parties = append(out.Parties, rest.JobParty{Name: p.Name, Role: p.Role, Data: p.Data, Consent: ru.Verdict, Rule: ru.Rule, Reason: ru.Reason, By: ru.By})
	}
	graph, progress := spec.Graph(), s.n.jobs.Progress(r.ID)
	for _, st := range r.Steps {
		rs := stepOf(st)
		rs.Needs = graph[st.Name]
		withProgress(&rs, progress[st.Name])
		if out.Started.IsZero() || !st.Started.IsZero() && st.Started.Before(out.Started) {
			out.Started = st.Started
		}
		if st.Result != nil {
			out.Warnings = append(out.Warnings, st.Result.Warnings...)
			if st.Result.Model && st.Result.ModelID != "" {
				out.Models = append(out.Models, st.Result.ModelID)
			}
			for set, m := range st.Result.Metrics {
				out.Metrics[st.Name+"."+set] = finite(m)
			}
		}
		out.Steps = append(out.Steps, rs)
	}
	return out
}

func stateOf(r *job.Record) rest.State {
	if r.State == job.Running && r.Waits != "" {
		return rest.Retrying
	}
	return rest.State(r.State)
}

func jobError(p *job.Problem) *rest.JobError {
	if p == nil {
		return nil
	}
	kind := fault.Internal
	for k := fault.Internal; k <= fault.Cancelled; k++ {
		if k.String() == p.Kind {
			kind = k
		}
	}
	return &rest.JobError{Kind: p.Kind, ExitCode: kind.ExitCode(), Party: p.Party, Step: p.Step, What: p.What, Cure: p.Cure}
}

func stepOf(st job.StepRecord) rest.JobStep {
	out := rest.JobStep{Name: st.Name, Kind: st.Kind, State: st.State, Attempt: st.Attempt, Started: st.Started, Finished: st.Ended, ReusedOf: st.From}
	switch st.State {
	case job.StepBegun, job.StepPrepared:
		out.State = job.StepRunning
	case job.StepLost:
		out.State = job.StepPending
		if st.Error != nil {
			out.LastError = st.Error.What
		}
	case job.StepFailed:
		out.Error = jobError(st.Error)
	case job.StepDone, job.StepReused:
		out.Artifact = st.Artifact
	}
	if r := st.Result; r != nil {
		out.Seconds, out.Rounds, out.Sent, out.Model = r.Report.Seconds, int64(r.Report.Rounds), r.Report.Sent, r.Model
		for _, t := range r.Report.Traffic {
			if !t.Sent {
				out.Received += t.Bytes
			}
		}
	}
	return out
}

func withProgress(out *rest.JobStep, p job.Progress) {
	if out.State == job.StepRunning && p.Total > 0 {
		out.Done, out.Total, out.Unit, out.Rate, out.ETA, out.Seconds = p.Done, p.Total, p.Unit, p.Rate, p.ETA, p.Elapsed
	}
}

// finite returns the figures of a summary that JSON can hold.
func finite(m any) map[string]float64 {
	out := map[string]float64{}
	b, err := json.Marshal(m)
	if err != nil {
		return out
	}
	var all map[string]any
	if json.Unmarshal(b, &all) != nil {
		return out
	}
	for k, v := range all {
		if x, ok := v.(float64); ok && !math.IsNaN(x) && !math.IsInf(x, 0) {
			out[k] = x
		}
	}
	return out
}

// Jobs implements rest.Work.
func (s service) Jobs(ctx context.Context, f rest.JobFilter) (*rest.Jobs, error) {
	if f.Limit <= 0 || f.Limit > 1000 {
		f.Limit = 100
	}
	jf := job.Filter{Role: f.Role, Limit: f.Limit + 1}
	switch f.State {
	case "", "active", "attention":
		jf.Active, jf.Attention = f.State == "active", f.State == "attention"
	case string(rest.Retrying):
		jf.State = job.Running
	default:
		jf.State = job.State(f.State)
	}
	if f.Before != "" {
		r, err := s.n.jobs.Get(ctx, f.Before)
		if err != nil {
			return nil, known(err)
		}
		jf.Before = r.Created
	}
	rs, err := s.n.jobs.List(ctx, jf)
	if err != nil {
		return nil, err
	}
	out := &rest.Jobs{Jobs: []rest.Job{}}
	for i, r := range rs {
		if i == f.Limit {
			out.Next = rs[i-1].ID
			break
		}
		if f.State == string(rest.Retrying) && r.Waits == "" {
			continue
		}
		out.Jobs = append(out.Jobs, *s.brief(r))
	}
	return out, nil
}

// Job implements rest.Work.
func (s service) Job(ctx context.Context, id string) (*rest.Job, error) {
	r, err := s.n.jobs.Get(ctx, id)
	return s.job(ctx, r, known(err))
}

// act finds a job and does something to it.
func (s service) act(ctx context.Context, id string, f func(id string) (*job.Record, error)) (*rest.Job, error) {
	r, err := s.n.jobs.Get(ctx, id)
	if err != nil {
		return nil, known(err)
	}
	r, err = f(r.ID)
	var ft *fault.Error
	if errors.As(err, &ft) && ft.Kind == fault.Usage {
		return nil, rest.Conflict(ft.What, ft.Cure)
	}
	return s.job(ctx, r, err)
}

// Approve implements rest.Work.
func (s service) Approve(ctx context.Context, id, note string) (*rest.Job, error) {
	return s.act(ctx, id, func(id string) (*job.Record, error) { return s.n.jobs.Approve(ctx, id, actor(ctx), note) })
}

// Reject implements rest.Work.
func (s service) Reject(ctx context.Context, id, reason string) (*rest.Job, error) {
	return s.act(ctx, id, func(id string) (*job.Record, error) { return s.n.jobs.Reject(ctx, id, actor(ctx), reason) })
}

// Cancel implements rest.Work.
func (s service) Cancel(ctx context.Context, id, reason string) (*rest.Job, error) {
	return s.act(ctx, id, func(id string) (*job.Record, error) { return s.n.jobs.Cancel(ctx, id, actor(ctx), reason) })
}

// Events implements rest.Work.
func (s service) Events(ctx context.Context, id string, after int64, send func(rest.Event) error) error {
	r, err := s.n.jobs.Get(ctx, id)
	if err != nil {
		return known(err)
	}
	errEnd := errors.New("the last event")
	err = s.n.jobs.Watch(ctx, r.ID, after, func(e job.Event) error {
		out, end, err := s.event(ctx, r.ID, e)
		if err != nil {
			return err
		}
		if e.Seq == 0 {
			out.Seq = after
		}
		after = out.Seq
		if err := send(out); err != nil || !end {
			return err
		}
		return errEnd
	})
	if errors.Is(err, errEnd) {
		return nil
	}
	return err
}

// event is an event in the words of the API; end says that it is the last one.
func (s service) event(ctx context.Context, id string, e job.Event) (out rest.Event, end bool, err error) {
	out = rest.Event{Seq: e.Seq, Type: e.Type, Data: e.Data}
	var data any
	switch e.Type {
	case job.EventState:
		var d struct {
			State   job.State    `json:"state"`
			Waits   string       `json:"waits"`
			Party   string       `json:"party"`
			Consent string       `json:"consent"`
			Error   *job.Problem `json:"error"`
		}
		if err := json.Unmarshal(e.Data, &d); err != nil {
			return out, false, err
		}
		st := rest.StateEvent{Time: e.Time, State: rest.State(d.State), WaitingFor: d.Waits, Party: d.Party, Consent: d.Consent, Error: jobError(d.Error)}
		if st.State == rest.Running && d.Waits != "" {
			st.State = rest.Retrying
		}
		if end = d.State.Final(); end {
			out.Type = rest.EventEnd
		}
		data = st
	case job.EventStep, job.EventProgress:
		var d struct {
			Step    string       `json:"step"`
			State   string       `json:"state"`
			Attempt int          `json:"attempt"`
			Error   *job.Problem `json:"error"`
		}
		if err := json.Unmarshal(e.Data, &d); err != nil {
			return out, false, err
		}
		data = s.stepEvent(ctx, id, d.Step, d.State, d.Attempt, d.Error)
	case job.EventLog:
		line := rest.LogLine{Seq: e.Seq, Time: e.Time}
		if err := json.Unmarshal(e.Data, &line); err != nil {
			return out, false, err
		}
		data = line
	}
	out.Data, err = json.Marshal(data)
	return out, end, err
}

// stepEvent is a step as it was when an event happened; progress is of now.
func (s service) stepEvent(ctx context.Context, id, name, state string, attempt int, p *job.Problem) rest.JobStep {
	out := rest.JobStep{Name: name}
	if r, err := s.n.jobs.Get(ctx, id); err == nil {
		for _, st := range r.Steps {
			if st.Name == name {
				if state != "" {
					st.State, st.Attempt, st.Error = state, attempt, p
				}
				out = stepOf(st)
				if state == "" {
					out.State = job.StepRunning
				}
			}
		}
	}
	withProgress(&out, s.n.jobs.Progress(id)[name])
	return out
}

// JobLog implements rest.Work.
func (s service) JobLog(ctx context.Context, id string, after int64, limit int) (*rest.Log, error) {
	r, err := s.n.jobs.Get(ctx, id)
	if err != nil {
		return nil, known(err)
	}
	if limit <= 0 || limit > 1000 {
		limit = 1000
	}
	evs, err := s.n.jobs.Events(ctx, r.ID, after, "")
	if err != nil {
		return nil, err
	}
	out := &rest.Log{Lines: []rest.LogLine{}}
	for _, e := range evs {
		if len(out.Lines) == limit {
			out.Next = out.Lines[limit-1].Seq
			break
		}
		out.Lines = append(out.Lines, logLine(e))
	}
	if out.Next == 0 && len(evs) == 1000 {
		out.Next = evs[999].Seq
	}
	return out, nil
}

// logLine is an event as a line of text.
func logLine(e job.Event) rest.LogLine {
	line := rest.LogLine{Seq: e.Seq, Time: e.Time, Level: "info"}
	var d struct {
		Level, Step, Session, Text, State, Waits, Party, Consent string
		Attempt                                                  int
		Error                                                    *job.Problem
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return line
	}
	line.Step, line.Session, line.Party, line.Text = d.Step, d.Session, d.Party, d.Text
	if d.Level != "" {
		line.Level = d.Level
	}
	if d.Error != nil {
		line.Level = "warn"
	}
	switch e.Type {
	case job.EventState:
		line.Text = "the job is " + d.State
		if d.Consent != "" {
			line.Text += "; consent of " + d.Party + ": " + d.Consent
		}
		if d.Waits != "" {
			line.Text += "; it waits for " + d.Waits
		}
	case job.EventStep:
		line.Text = fmt.Sprintf("%s, attempt %d", d.State, d.Attempt)
	}
	if d.Error != nil {
		line.Text += ": " + d.Error.What
	}
	return line
}

// Manifest implements rest.Work.
func (s service) Manifest(ctx context.Context, id string) ([]byte, error) {
	r, err := s.n.jobs.Get(ctx, id)
	if err != nil {
		return nil, known(err)
	}
	if r.State != job.Done {
		return nil, rest.NotFound("the job has no manifest yet: it is "+string(r.State), "wait until it is done")
	}
	return json.Marshal(signedManifest{Manifest: r.Manifest, Signatures: r.Signatures, Heads: r.Heads})
}

// signedManifest is a manifest with the parties' signatures under exactly its bytes.
type signedManifest struct {
	Manifest   json.RawMessage     `json:"manifest"`
	Signatures map[string]string   `json:"signatures"` // hex, by party
	Heads      map[string]job.Head `json:"audit_heads"`
}

// Result implements rest.Work.
func (s service) Result(ctx context.Context, id string) ([]byte, error) {
	f, err := s.File(ctx, id, marker)
	if err != nil {
		return nil, err
	}
	defer f.Content.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, f.Content); err != nil {
		return nil, fault.Wrap(fault.Local, err, "the result cannot be read", "look at the disk")
	}
	return b.Bytes(), nil
}

// Files implements rest.Work.
func (s service) Files(ctx context.Context, id string) ([]rest.FileInfo, error) {
	r, err := s.n.jobs.Get(ctx, id)
	if err != nil {
		return nil, known(err)
	}
	out := []rest.FileInfo{}
	entries, err := os.ReadDir(s.n.resultDir(r.ID))
	if errors.Is(err, os.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, fault.Wrap(fault.Local, err, "the result cannot be read", "look at the disk")
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			out = append(out, rest.FileInfo{Name: e.Name(), Size: info.Size()})
		}
	}
	return out, nil
}

// File implements rest.Work.
func (s service) File(ctx context.Context, id, name string) (*rest.File, error) {
	r, err := s.n.jobs.Get(ctx, id)
	if err != nil {
		return nil, known(err)
	}
	if !plainName(name) {
		return nil, rest.NotFound(fmt.Sprintf("the job has no file %q", name), "see kontor job files "+r.ID[:8])
	}
	f, err := os.Open(filepath.Join(s.n.resultDir(r.ID), name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, rest.NotFound(fmt.Sprintf("the job has no file %q", name), "see kontor job files "+r.ID[:8])
	}
	if err != nil {
		return nil, fault.Wrap(fault.Local, err, "the file cannot be read", "look at the disk")
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &rest.File{FileInfo: rest.FileInfo{Name: name, Size: info.Size()}, Content: f}, nil
}
