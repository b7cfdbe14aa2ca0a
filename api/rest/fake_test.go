package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"kontor/internal/fault"
)

// fake is a node with one of everything.
type fake struct {
	mu      sync.Mutex
	tokens  map[string]fakeToken
	secrets map[Role]string
	answers map[string]Answer
	audit   []string
	logins  map[string]int // by token
	jobs    int
	keys    []string // idempotency keys that Submit saw

	auditErr, submitErr, exportErr error
	exportFirst                    string
	reasons                        []string
	submitting                     chan struct{} // if set, Submit waits for it
	entered                        chan struct{} // if set, Submit says that it was entered
	events                         func(ctx context.Context, after int64, send func(Event) error) error
	job                            Job
}

type fakeToken struct {
	hash [32]byte
	who  Identity
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{tokens: map[string]fakeToken{}, secrets: map[Role]string{}, answers: map[string]Answer{},
		job: Job{ID: "0123abcd", Name: "churn", State: Running}}
	for _, r := range everyone {
		id, secret, hash, err := MakeToken(nil)
		if err != nil {
			t.Fatal(err)
		}
		f.tokens[id], f.secrets[r] = fakeToken{hash, Identity{id, "the " + string(r), r}}, secret
	}
	return f
}

func (f *fake) record() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.audit...)
}

func (f *fake) Authenticate(_ context.Context, id string) ([32]byte, Identity, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.tokens[id]
	if !ok {
		return [32]byte{}, Identity{}, NotFound("no such token", "make one")
	}
	return t.hash, t.who, nil
}

func (f *fake) Admitted(_ context.Context, who Identity, from string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.logins == nil {
		f.logins = map[string]int{}
	}
	f.logins[who.ID+" "+from]++
}

func (f *fake) Audit(_ context.Context, actor, action, object string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.auditErr == nil {
		f.audit = append(f.audit, actor+" "+action+" "+object)
	}
	return f.auditErr
}

func (f *fake) StoredAnswer(_ context.Context, key string) (*Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a, ok := f.answers[key]; ok {
		return &a, nil
	}
	return nil, nil
}

func (f *fake) StoreAnswer(_ context.Context, key string, a Answer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[key] = a
	return nil
}

func (f *fake) Ready(context.Context) []string { return f.reasons }

func (f *fake) Node(context.Context) (*Node, error) {
	return &Node{Name: "bank", Version: "1", Running: true}, nil
}
func (f *fake) Doctor(context.Context) (*Diagnosis, error) { return &Diagnosis{OK: true}, nil }
func (f *fake) Components(context.Context) ([]Component, error) {
	return []Component{{Kind: "align"}}, nil
}
func (f *fake) Policy(context.Context) (*Policy, error)           { return &Policy{Text: "version: 1"}, nil }
func (f *fake) Peers(context.Context) ([]Peer, error)             { return nil, nil }
func (f *fake) RemovePeer(context.Context, string) error          { return nil }
func (f *fake) Datasets(context.Context) ([]Dataset, error)       { return []Dataset{{Name: "d"}}, nil }
func (f *fake) RemoveDataset(context.Context, string) error       { return nil }
func (f *fake) Models(context.Context) ([]Model, error)           { return []Model{{ID: "m"}}, nil }
func (f *fake) VerifyAudit(context.Context) (*AuditReport, error) { return &AuditReport{OK: true}, nil }

func (f *fake) CheckPolicy(_ context.Context, text string) (*TextCheck, error) {
	return &TextCheck{Findings: []Finding{{Line: 3, What: text}}}, nil
}
func (f *fake) Invite(_ context.Context, r InviteRequest) (*Invitation, error) {
	return &Invitation{Invitation: "i", Address: r.Address}, nil
}
func (f *fake) Accept(_ context.Context, r AcceptRequest) (*Peer, error) {
	return &Peer{Name: "telecom", Fingerprint: r.Fingerprint}, nil
}
func (f *fake) PeerData(_ context.Context, name string) ([]PublishedData, error) {
	return []PublishedData{{Name: name + "-data"}}, nil
}
func (f *fake) AddDataset(_ context.Context, r AddData) (*Dataset, error) {
	return &Dataset{Name: r.Name, Options: r.Options}, nil
}
func (f *fake) Dataset(_ context.Context, name string) (*Dataset, error) {
	if name == "none" {
		return nil, NotFound("there is no dataset none", "see kontor data ls")
	}
	return &Dataset{Name: name}, nil
}
func (f *fake) Publish(_ context.Context, name string, peers []string) (*Dataset, error) {
	return &Dataset{Name: name, Published: peers}, nil
}

func (f *fake) CheckJob(_ context.Context, spec string) (*SpecCheck, error) {
	return &SpecCheck{OK: true, Name: spec}, nil
}

func (f *fake) Submit(ctx context.Context, r SubmitRequest) (*Job, error) {
	if f.entered != nil {
		f.entered <- struct{}{}
	}
	if f.submitting != nil {
		<-f.submitting
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.submitErr != nil {
		return nil, f.submitErr
	}
	f.jobs++
	f.keys = append(f.keys, IdempotencyKey(ctx))
	return &Job{ID: strings.Repeat("a", f.jobs), Name: r.Spec, By: Caller(ctx).Name, State: Proposed}, nil
}

func (f *fake) Rerun(ctx context.Context, id string) (*Job, error) {
	return f.Submit(ctx, SubmitRequest{Spec: id})
}
func (f *fake) Jobs(_ context.Context, q JobFilter) (*Jobs, error) {
	b, err := json.Marshal(q)
	return &Jobs{Next: string(b)}, err
}
func (f *fake) Job(_ context.Context, id string) (*Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !strings.HasPrefix(f.job.ID, id) {
		return nil, NotFound("there is no job "+id, "see kontor job ls")
	}
	j := f.job
	return &j, nil
}
func (f *fake) Approve(ctx context.Context, id, note string) (*Job, error) {
	return &Job{ID: id, Note: note, By: Caller(ctx).Name}, nil
}
func (f *fake) Reject(_ context.Context, id, reason string) (*Job, error) {
	return &Job{ID: id, Note: reason}, nil
}
func (f *fake) Cancel(_ context.Context, id, reason string) (*Job, error) {
	if reason == "late" {
		return nil, Conflict("the job has ended", "rerun it")
	}
	return &Job{ID: id, Note: reason}, nil
}
func (f *fake) Events(ctx context.Context, _ string, after int64, send func(Event) error) error {
	if f.events == nil {
		return send(Event{Seq: after + 1, Type: EventEnd, Data: json.RawMessage(`{}`)})
	}
	return f.events(ctx, after, send)
}
func (f *fake) JobLog(_ context.Context, _ string, after int64, limit int) (*Log, error) {
	return &Log{Next: after + int64(limit)}, nil
}
func (f *fake) Manifest(context.Context, string) ([]byte, error) {
	return []byte("{\n  \"b\": 1,\n  \"a\": \"<\"\n}\n"), nil
}
func (f *fake) Result(context.Context, string) ([]byte, error) { return []byte(`{"x":1}`), nil }
func (f *fake) Files(context.Context, string) ([]FileInfo, error) {
	return []FileInfo{{Name: "boost/scores.csv", Size: 10}}, nil
}
func (f *fake) File(_ context.Context, _, name string) (*File, error) {
	i := FileInfo{Name: name, Size: 10, SHA256: "ab"}
	switch name {
	case "boost/scores.csv":
		return &File{i, nopSeekCloser{strings.NewReader("0123456789")}}, nil
	case "cut":
		return &File{i, io.NopCloser(strings.NewReader("0123"))}, nil
	case "piped":
		return &File{i, io.NopCloser(strings.NewReader("0123456789"))}, nil
	}
	return nil, NotFound("there is no file "+name, "see the list")
}

type nopSeekCloser struct{ io.ReadSeeker }

func (nopSeekCloser) Close() error { return nil }

func (f *fake) Model(_ context.Context, id string) (*Model, error) { return &Model{ID: id}, nil }
func (f *fake) TagModel(_ context.Context, id, tag string) (*Model, error) {
	return &Model{ID: id, Tags: []string{tag}}, nil
}
func (f *fake) UntagModel(_ context.Context, id, _ string) (*Model, error) {
	return &Model{ID: id}, nil
}
func (f *fake) ExportModel(_ context.Context, _ string, w io.Writer) error { return f.export(w) }
func (f *fake) export(w io.Writer) error {
	f.mu.Lock()
	first, err := f.exportFirst, f.exportErr
	f.mu.Unlock()
	if first != "" {
		if _, err := io.WriteString(w, first); err != nil {
			return err
		}
	}
	return err
}
func (f *fake) setExport(first string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exportFirst, f.exportErr = first, err
}
func (f *fake) Predict(ctx context.Context, id string, r PredictRequest) (*Job, error) {
	return f.Submit(ctx, SubmitRequest{Spec: id + r.Data["bank"]})
}
func (f *fake) AuditEntries(_ context.Context, after int64, limit int) (*AuditPage, error) {
	return &AuditPage{Next: after + int64(limit)}, nil
}
func (f *fake) ExportAudit(_ context.Context, w io.Writer, _, _ int64) error { return f.export(w) }
func (f *fake) Tokens(context.Context) ([]Token, error)                      { return nil, nil }
func (f *fake) AddToken(_ context.Context, t Token, hash [32]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens[t.ID] = fakeToken{hash, Identity{t.ID, t.Name, t.Role}}
	return nil
}
func (f *fake) RemoveToken(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.tokens[id]; !ok {
		return NotFound("there is no token "+id, "see the list")
	}
	delete(f.tokens, id)
	return nil
}

var _ Service = (*fake)(nil)

// direct returns a client that calls the handler in process with a role's token.
func direct(f *fake, role Role) *Client {
	return over(NewHandler(Options{Service: f, Version: "1"}), f.secrets[role])
}

func over(h http.Handler, token string) *Client {
	return &Client{Base: "http://node", Token: token, HTTP: &http.Client{Transport: InProcess(h)}}
}

func wantKind(t *testing.T, err error, kind fault.Kind, is error, text string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v (kind %v), want kind %v, %v, with %q", err, fault.KindOf(err), kind, is, text)
	}
}

func testContext(t *testing.T) context.Context {
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(stop)
	return ctx
}
