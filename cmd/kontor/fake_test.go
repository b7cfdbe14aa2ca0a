package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"kontor/api/rest"
	"kontor/identity"
	"kontor/internal/fault"
)

// fakeNode is a node as the API shows it. What becomes of a job, its name says.
type fakeNode struct {
	rest.Service // what is not overridden panics, which the API answers as a defect

	mu      sync.Mutex
	tokens  map[string]fakeToken
	answers map[string]rest.Answer
	jobs    []*rest.Job // oldest first
	peers   []rest.Peer
	data    []rest.Dataset
	tags    []string
	cut     bool // an event stream was cut once
	sick    bool // the doctor finds something
	broken  bool // the account does not hold together
}

type fakeToken struct {
	hash [sha256.Size]byte
	who  rest.Identity
}

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// startFake serves a new fake and returns its address and a secret for each role.
func startFake() (f *fakeNode, url string, secrets map[rest.Role]string, stop func(), err error) {
	f = &fakeNode{tokens: map[string]fakeToken{}, answers: map[string]rest.Answer{}}
	secrets = map[rest.Role]string{}
	for _, role := range []rest.Role{rest.Admin, rest.Scientist, rest.Approver, rest.Auditor} {
		id, secret, hash, err := rest.MakeToken(nil)
		if err != nil {
			return nil, "", nil, nil, err
		}
		f.tokens[id], secrets[role] = fakeToken{hash, rest.Identity{ID: id, Name: "the " + string(role), Role: role}}, secret
	}
	s := httptest.NewServer(rest.NewHandler(rest.Options{Service: f, Version: "test", Heartbeat: time.Second}))
	return f, s.URL, secrets, func() {
		s.CloseClientConnections()
		s.Close()
	}, nil
}

func (f *fakeNode) lock() func() { f.mu.Lock(); return f.mu.Unlock }

func (f *fakeNode) Authenticate(_ context.Context, id string) ([32]byte, rest.Identity, error) {
	defer f.lock()()
	t, ok := f.tokens[id]
	if !ok {
		return [32]byte{}, rest.Identity{}, rest.NotFound("there is no such token", "make one")
	}
	return t.hash, t.who, nil
}

func (f *fakeNode) Admitted(context.Context, rest.Identity, string) {}

func (f *fakeNode) Audit(context.Context, string, string, string) error { return nil }

func (f *fakeNode) StoredAnswer(_ context.Context, key string) (*rest.Answer, error) {
	defer f.lock()()
	if a, ok := f.answers[key]; ok {
		return &a, nil
	}
	return nil, nil
}

func (f *fakeNode) StoreAnswer(_ context.Context, key string, a rest.Answer) error {
	defer f.lock()()
	f.answers[key] = a
	return nil
}

func (f *fakeNode) Node(context.Context) (*rest.Node, error) {
	return &rest.Node{Name: "bank", Version: "0.1.0", Fingerprint: "0123-4567", Words: "minnow physics summer", Listen: "0.0.0.0:7700", CertExpires: day, Started: day, Running: true}, nil
}

func (f *fakeNode) Doctor(context.Context) (*rest.Diagnosis, error) {
	defer f.lock()()
	d := &rest.Diagnosis{OK: !f.sick, Checks: []rest.Check{
		{Name: "disk", OK: true, What: "61 GB are free", Detail: "of 100 GB"},
		{Name: "certificate", OK: true, Warning: true, What: "it ends in 12 days", Cause: "it was not renewed", Cure: "restart the node"},
	}}
	if f.sick {
		d.Checks = append(d.Checks, rest.Check{Name: "peer telecom", What: "it cannot be reached", Cause: "connection refused\x1b[31m", Cure: "ask whether its node is up"})
	}
	return d, nil
}

func (f *fakeNode) Policy(context.Context) (*rest.Policy, error) {
	return &rest.Policy{Text: "version: 1\n", Path: "/srv/policy.yaml", Hash: "abcd", Loaded: day}, nil
}

func (f *fakeNode) Peers(context.Context) ([]rest.Peer, error) {
	defer f.lock()()
	return f.peers, nil
}

func (f *fakeNode) Invite(_ context.Context, r rest.InviteRequest) (*rest.Invitation, error) {
	return &rest.Invitation{Invitation: "kontor-invite1:made-up", Name: "bank", Address: r.Address, Fingerprint: "0123-4567", Words: "minnow physics summer"}, nil
}

func (f *fakeNode) Accept(_ context.Context, r rest.AcceptRequest) (*rest.Peer, error) {
	defer f.lock()()
	inv, err := identity.ParseInvitation(r.Invitation)
	if err != nil {
		return nil, err
	}
	if !identity.MatchFingerprint(r.Fingerprint, inv.Key) {
		return nil, fault.New(fault.Trust, "the invitation has another fingerprint", "do not trust it")
	}
	p := rest.Peer{Name: inv.Name, Address: orNone(r.Address, inv.Address), Fingerprint: inv.Fingerprint(), Words: inv.Words(), Route: "direct", Seen: day}
	f.peers = append(f.peers, p)
	return &p, nil
}

func (f *fakeNode) RemovePeer(_ context.Context, name string) error {
	defer f.lock()()
	for i, p := range f.peers {
		if p.Name == name {
			f.peers = append(f.peers[:i], f.peers[i+1:]...)
			return nil
		}
	}
	return rest.NotFound("there is no peer "+name, "see kontor peer ls")
}

func (f *fakeNode) PeerData(context.Context, string) ([]rest.PublishedData, error) {
	return []rest.PublishedData{{Name: "subscribers", Rows: 30000, Columns: []rest.PublishedColumn{{Name: "late", Type: "int", MissingRate: 0.02}}}}, nil
}

func (f *fakeNode) Datasets(context.Context) ([]rest.Dataset, error) {
	defer f.lock()()
	return f.data, nil
}

func (f *fakeNode) AddDataset(_ context.Context, r rest.AddData) (*rest.Dataset, error) {
	defer f.lock()()
	d := rest.Dataset{Name: r.Name, Kind: orNone(r.Kind, "csv"), Path: r.Path, DSN: strings.ReplaceAll(r.DSN, "secret", "***"), Query: r.Query, Options: r.Options, Added: day, Rows: 300,
		Fingerprint: "f00d", Columns: []rest.Column{{Name: "id", Type: "string", Distinct: 300}, {Name: "age", Type: "int", Missing: 4, Min: "20", Max: "69", Mean: new(float64)}}}
	f.data = append(f.data, d)
	return &d, nil
}

func (f *fakeNode) Dataset(_ context.Context, name string) (*rest.Dataset, error) {
	defer f.lock()()
	for i := range f.data {
		if f.data[i].Name == name {
			d := f.data[i]
			return &d, nil
		}
	}
	return nil, rest.NotFound("there is no dataset "+name, "see kontor data ls")
}

func (f *fakeNode) RemoveDataset(ctx context.Context, name string) error {
	_, err := f.Dataset(ctx, name)
	return err
}

func (f *fakeNode) Publish(ctx context.Context, name string, peers []string) (*rest.Dataset, error) {
	d, err := f.Dataset(ctx, name)
	if err != nil {
		return nil, err
	}
	d.Published = peers
	return d, nil
}

func (f *fakeNode) Tokens(context.Context) ([]rest.Token, error) {
	return []rest.Token{{ID: "abc", Name: "alice", Role: rest.Approver, Created: day}}, nil
}

func (f *fakeNode) AddToken(context.Context, rest.Token, [32]byte) error { return nil }
func (f *fakeNode) RemoveToken(_ context.Context, id string) error {
	if id != "abc" {
		return rest.NotFound("there is no token "+id, "see kontor token ls")
	}
	return nil
}

func (f *fakeNode) model() *rest.Model {
	return &rest.Model{ID: "beef00000000beef", Job: "0000000000010000", JobName: "sample", Step: "boost", Kind: "boost", Party: "bank", Role: "guest", Created: day, Parties: []string{"bank", "telecom"},
		Spec: "5bec", Software: "0.1.0", Data: []rest.Lineage{{Party: "bank", Name: "customers", Fingerprint: "f00d"}}, Metrics: json.RawMessage(`{"test":{"auc":0.75}}`), Tags: f.tags, Files: []string{"model.json"}, SHA256: "cafe"}
}

func (f *fakeNode) Models(context.Context) ([]rest.Model, error) {
	defer f.lock()()
	return []rest.Model{*f.model()}, nil
}

func (f *fakeNode) Model(_ context.Context, id string) (*rest.Model, error) {
	defer f.lock()()
	if m := f.model(); strings.HasPrefix(m.ID, id) {
		return m, nil
	}
	return nil, rest.NotFound("there is no model "+id, "see kontor model ls")
}

func (f *fakeNode) TagModel(ctx context.Context, id, tag string) (*rest.Model, error) {
	f.mu.Lock()
	f.tags = []string{tag}
	f.mu.Unlock()
	return f.Model(ctx, id)
}

func (f *fakeNode) UntagModel(ctx context.Context, id, _ string) (*rest.Model, error) {
	f.mu.Lock()
	f.tags = nil
	f.mu.Unlock()
	return f.Model(ctx, id)
}

func (f *fakeNode) ExportModel(_ context.Context, _ string, w io.Writer) error {
	_, err := io.WriteString(w, "PK zip")
	return err
}

func (f *fakeNode) Predict(ctx context.Context, id string, r rest.PredictRequest) (*rest.Job, error) {
	return f.add(ctx, orNone(r.Name, "predict"), fmt.Sprint(r.Data, r.IDs, id), r.Note)
}

func (f *fakeNode) AuditEntries(_ context.Context, after int64, limit int) (*rest.AuditPage, error) {
	p := &rest.AuditPage{}
	for seq := after + 1; seq <= 3 && len(p.Entries) < limit; seq++ {
		p.Entries = append(p.Entries, rest.AuditEntry{Seq: seq, Time: day, Actor: "alice", Action: "job.approve", Object: "0000000000010000", Detail: json.RawMessage(`{"note":"fine"}`), Hash: "aa"})
	}
	if n := len(p.Entries); n > 0 && p.Entries[n-1].Seq < 3 {
		p.Next = p.Entries[n-1].Seq
	}
	return p, nil
}

func (f *fakeNode) ExportAudit(_ context.Context, w io.Writer, from, to int64) error {
	_, err := fmt.Fprintf(w, "{\"from\":%d,\"to\":%d}\n", from, to)
	return err
}

func (f *fakeNode) VerifyAudit(context.Context) (*rest.AuditReport, error) {
	defer f.lock()()
	r := &rest.AuditReport{OK: !f.broken, Entries: 3, Head: "aa", Witnesses: []rest.AuditWitness{{Peer: "telecom", Seq: 2, Time: day}}}
	if f.broken {
		r.Problems = []rest.AuditProblem{{Seq: 2, What: "the content does not have its hash"}}
	}
	return r, nil
}

func (f *fakeNode) Submit(ctx context.Context, r rest.SubmitRequest) (*rest.Job, error) {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.Spec, "job: "), "\n")
	if r.Reuse != nil && !*r.Reuse {
		name += "-fresh"
	}
	return f.add(ctx, name, r.Spec, r.Note)
}

func (f *fakeNode) add(ctx context.Context, name, spec, note string) (*rest.Job, error) {
	defer f.lock()()
	n := len(f.jobs) + 1
	j := &rest.Job{ID: fmt.Sprintf("%012x0000", n), Name: name, State: rest.Waiting, Role: "guest", Initiator: "bank", By: rest.Caller(ctx).Name, Note: note, Priority: 5,
		Created: day, Updated: day, Spec: spec, SpecHash: "5bec", WaitingFor: "telecom has to approve it",
		Parties:   []rest.JobParty{{Name: "bank", Role: "guest", Data: "customers", Consent: "standing", Rule: "own"}, {Name: "telecom", Role: "host", Consent: "waiting"}},
		Steps:     []rest.JobStep{{Name: "align", Kind: "align", State: "pending"}, {Name: "boost", Kind: "boost", State: "pending"}},
		Discloses: []rest.Disclosure{{Step: "align", To: "all", Kind: "membership", Text: "which of its ids the others have"}},
		Columns:   map[string][]string{"feature": {"age", "income"}}}
	f.jobs = append(f.jobs, j)
	return f.copy(j), nil
}

func (f *fakeNode) copy(j *rest.Job) *rest.Job { c := *j; return &c }

func (f *fakeNode) find(id string) (*rest.Job, error) {
	for _, j := range f.jobs {
		if strings.HasPrefix(j.ID, id) {
			return j, nil
		}
	}
	return nil, rest.NotFound("there is no job "+id, "see kontor job ls")
}

func (f *fakeNode) Job(_ context.Context, id string) (*rest.Job, error) {
	defer f.lock()()
	j, err := f.find(id)
	if err != nil {
		return nil, err
	}
	return f.copy(j), nil
}

func (f *fakeNode) Jobs(_ context.Context, q rest.JobFilter) (*rest.Jobs, error) {
	defer f.lock()()
	out := &rest.Jobs{}
	for i := len(f.jobs) - 1; i >= 0 && len(out.Jobs) < q.Limit; i-- {
		if q.State == "" || string(f.jobs[i].State) == q.State {
			out.Jobs = append(out.Jobs, *f.jobs[i])
		}
	}
	return out, nil
}

func (f *fakeNode) set(id string, change func(*rest.Job)) (*rest.Job, error) {
	defer f.lock()()
	j, err := f.find(id)
	if err != nil {
		return nil, err
	}
	if j.State.Final() {
		return nil, rest.Conflict("the job has ended", "kontor job rerun submits it again")
	}
	change(j)
	return f.copy(j), nil
}

func (f *fakeNode) Approve(_ context.Context, id, note string) (*rest.Job, error) {
	return f.set(id, func(j *rest.Job) { j.State, j.WaitingFor, j.Parties[0].Reason = rest.Approved, "", note })
}

func (f *fakeNode) Reject(_ context.Context, id, why string) (*rest.Job, error) {
	return f.set(id, func(j *rest.Job) {
		j.State, j.WaitingFor = rest.Rejected, ""
		j.Parties[0].Consent, j.Parties[0].Reason = "denied", why
	})
}

func (f *fakeNode) Cancel(_ context.Context, id, why string) (*rest.Job, error) {
	return f.set(id, func(j *rest.Job) {
		j.State, j.WaitingFor, j.Error = rest.Cancelled, "", &rest.JobError{Kind: "cancelled", ExitCode: 130, What: why}
	})
}

func (f *fakeNode) Rerun(ctx context.Context, id string) (*rest.Job, error) {
	old, err := f.Job(ctx, id)
	if err != nil {
		return nil, err
	}
	return f.add(ctx, old.Name, old.Spec, "")
}

// Events lets the job come to the end that its name asks for. The first stream of
// all breaks in the middle.
func (f *fakeNode) Events(_ context.Context, id string, after int64, send func(rest.Event) error) error {
	fate := f.fate(id)
	for i, e := range fate {
		e.Seq = int64(i + 1)
		if e.Seq <= after {
			continue
		}
		if e.Type == rest.EventEnd {
			f.finish(id)
		}
		if err := send(e); err != nil {
			return err
		}
		if f.cutOnce() {
			return errors.New("cut")
		}
	}
	return nil
}

func (f *fakeNode) cutOnce() bool {
	defer f.lock()()
	was := f.cut
	f.cut = true
	return !was
}

func (f *fakeNode) finish(id string) {
	defer f.lock()()
	j, err := f.find(id)
	if err != nil {
		return
	}
	j.WaitingFor, j.LastEvent = "", int64(len(f.events(j)))
	switch {
	case strings.HasPrefix(j.Name, "fails"):
		j.State, j.Error = rest.Failed, &rest.JobError{Kind: "data", ExitCode: 4, Party: "telecom", Step: "align", What: "the table is empty", Cure: "give another"}
	case strings.HasPrefix(j.Name, "refused"):
		j.State = rest.Rejected
		j.Parties[1].Consent, j.Parties[1].Reason = "denied", "rule subscribers/credit does not allow it\x1b[2J"
	case strings.HasPrefix(j.Name, "stopped"):
		j.State, j.Error = rest.Cancelled, &rest.JobError{Kind: "cancelled", ExitCode: 130, Party: "telecom", What: "its user stopped it"}
	default:
		j.State, j.Metrics, j.Models = rest.Done, map[string]map[string]float64{"evaluate": {"test_auc": 0.75}}, []string{"beef00000000beef"}
	}
}

func (f *fakeNode) fate(id string) []rest.Event {
	defer f.lock()()
	j, err := f.find(id)
	if err != nil {
		return nil
	}
	return f.events(j)
}

func (f *fakeNode) events(j *rest.Job) []rest.Event {
	e := func(kind string, v any) rest.Event {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return rest.Event{Type: kind, Data: b}
	}
	end := map[bool]rest.State{true: rest.Failed, false: rest.Done}[strings.HasPrefix(j.Name, "fails")]
	return []rest.Event{
		e(rest.EventState, rest.StateEvent{State: rest.Approved, Party: "telecom", Consent: "person"}),
		e(rest.EventState, rest.StateEvent{State: rest.Running}),
		e(rest.EventStep, rest.JobStep{Name: "align", State: "running", Attempt: 1}),
		e(rest.EventProgress, rest.JobStep{Name: "align", State: "running", Attempt: 1, Done: 12, Total: 60, Unit: "ids", Rate: 3.1, ETA: 15}),
		e(rest.EventLog, rest.LogLine{Seq: 2, Level: "warn", Step: "align", Text: "slow\nlink\x07"}),
		e(rest.EventStep, rest.JobStep{Name: "align", State: "done", Seconds: 1.5, Sent: 1_400_000}),
		e(rest.EventStep, rest.JobStep{Name: "boost", State: "reused", ReusedOf: "00000000000f0000"}),
		e("news", "of a newer node"),
		e(rest.EventEnd, rest.StateEvent{State: end}),
	}
}

func (f *fakeNode) JobLog(_ context.Context, _ string, after int64, _ int) (*rest.Log, error) {
	if after > 0 {
		return &rest.Log{Lines: []rest.LogLine{{Seq: 2, Time: day, Level: "warn", Step: "align", Party: "bank", Text: "slow"}}}, nil
	}
	return &rest.Log{Lines: []rest.LogLine{{Seq: 1, Time: day, Level: "info", Text: "proposed"}}, Next: 1}, nil
}

func (f *fakeNode) Manifest(context.Context, string) ([]byte, error) {
	return []byte("{\n  \"learned\": {}\n}"), nil
}

func (f *fakeNode) Result(context.Context, string) ([]byte, error) { return []byte(`{"rows":3}`), nil }

var fakeFiles = map[string]string{"scores.csv": "id,score\n1,0.5\n", "boost/model.json": "{}", "bad.bin": "as sent"}

func (f *fakeNode) Files(_ context.Context, id string) ([]rest.FileInfo, error) {
	var out []rest.FileInfo
	for _, name := range []string{"scores.csv", "boost/model.json"} {
		sum := sha256.Sum256([]byte(fakeFiles[name]))
		out = append(out, rest.FileInfo{Name: name, Step: "boost", Size: int64(len(fakeFiles[name])), SHA256: hex.EncodeToString(sum[:])})
	}
	defer f.lock()()
	if j, err := f.find(id); err == nil && strings.HasPrefix(j.Name, "fails") {
		out = []rest.FileInfo{{Name: "bad.bin", Size: 7, SHA256: strings.Repeat("0", 64)}, {Name: "../out.csv", Size: 1}}
	}
	return out, nil
}

func (f *fakeNode) File(_ context.Context, _, name string) (*rest.File, error) {
	text, ok := fakeFiles[name]
	if !ok {
		return nil, rest.NotFound("there is no file "+name, "see kontor job files")
	}
	return &rest.File{FileInfo: rest.FileInfo{Name: name, Size: int64(len(text))}, Content: io.NopCloser(strings.NewReader(text))}, nil
}
