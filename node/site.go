package node

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"kontor/data"
	"kontor/flow"
	"kontor/flow/job"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/model"
	"kontor/node/config"
	"kontor/policy"
	"kontor/session"
	"kontor/store"
	"kontor/table"
	"kontor/transport"
)

// reach is how jobs talk to the other institutions' nodes.
type reach struct{ n *Institution }

func (r reach) Ask(ctx context.Context, peer, method string, body []byte) ([]byte, error) {
	t, err := r.n.network()
	if err != nil {
		return nil, err
	}
	out, err := t.Ask(ctx, peer, "", method, body)
	r.n.sight(peer, err)
	return out, remoteKind(err)
}

// remoteKind gives an error that a peer told only the class of that class, unless
// time may heal it.
func remoteKind(err error) error {
	var remote *transport.Remote
	if !errors.As(err, &remote) || remote.Told {
		return err
	}
	switch remote.Kind {
	case fault.Peer, fault.Local, fault.Cancelled:
		return err
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		return err
	}
	c := *f
	c.Kind = remote.Kind
	return &c
}

func (r reach) Dial(ctx context.Context, peer string, id [32]byte, label string) (job.Conn, error) {
	t, err := r.n.network()
	if err != nil {
		return nil, err
	}
	c, err := t.Dial(ctx, peer, "", id, label)
	r.n.sight(peer, err)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (r reach) Accept(ctx context.Context, peer string, id [32]byte) (job.Conn, error) {
	t, err := r.n.network()
	if err != nil {
		return nil, err
	}
	c, err := t.Accept(ctx, peer, id)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (r reach) Key(peer string) (ed25519.PublicKey, bool) {
	p, err := r.n.home.Peers.Get(peer)
	return p.Key, err == nil
}

// sight notes that a peer answered, or why it did not.
func (n *Institution) sight(peer string, err error) {
	if errors.Is(err, context.Canceled) {
		return // it was us who hung up
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.seen[peer]
	var remote *transport.Remote
	if err == nil || errors.As(err, &remote) {
		s = sighting{at: n.now().UTC()}
	} else {
		s.err = err.Error()
	}
	n.seen[peer] = s
}

const methodData = "data/list"

// answer answers the questions of peers.
func (n *Institution) answer(ctx context.Context, peer, method string, body []byte) ([]byte, error) {
	n.sight(peer, nil)
	if method == methodData {
		list, err := n.data.PublishedTo(ctx, peer)
		if err != nil {
			return nil, err
		}
		return json.Marshal(list)
	}
	out, err := n.jobs.Answer(ctx, peer, method, body)
	var told job.ForPeer
	if errors.As(err, &told) {
		return nil, transport.Tell(told.Fault)
	}
	if err != nil {
		n.log.Warn("a peer's request failed", "peer", peer, "method", method, "error", err)
	}
	return out, err
}

// rules is the policy as the file has it; a file that cannot be used leaves the
// one before in force.
type rules struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	stamp  string
	loaded time.Time
	policy *policy.Policy // nil: all is denied
	err    error          // why the file is not in force
}

// current returns the policy in force, reading the file again if it has changed.
func (r *rules) current(now time.Time) (*policy.Policy, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stamp := "none"
	if info, err := os.Stat(r.path); err == nil {
		stamp = fmt.Sprint(info.Size(), info.ModTime().UnixNano())
	}
	if stamp == r.stamp {
		return r.policy, r.err
	}
	r.stamp = stamp
	p, err := policy.Load(r.path)
	if r.err = err; err != nil {
		r.log.Error("the policy cannot be used; what was in force before stays, at first nothing is allowed", "error", err)
		return r.policy, err
	}
	r.policy, r.loaded = p, now
	for _, w := range p.Warnings(flow.Kinds()) {
		r.log.Warn("the policy may not say what it means", "warning", w)
	}
	r.log.Info("the policy is in force", "hash", p.Hash())
	return p, nil
}

// site is what this institution brings to jobs.
type site struct{ n *Institution }

func deny(reason, cure string) job.Opinion {
	return job.Opinion{Ruling: job.Ruling{Verdict: job.Denied, Reason: reason, Cure: cure}}
}

// Consider implements job.Site.
func (s site) Consider(ctx context.Context, spec *flow.Spec, initiator string, used func(string, time.Time) (int, error)) (job.Opinion, error) {
	p, err := s.n.rules.current(s.n.now().UTC())
	if p == nil {
		return deny("its policy cannot be read, so nothing is allowed", "correct its policy.yaml"), nil
	}
	_ = err // said in the log and by kontor policy show; the policy before is in force
	self := s.n.home.Identity.Name()
	if what := s.strangeModel(ctx, spec); what != "" {
		return deny(what, "name the model by its whole identifier, in a job with the guest and the parties that trained it"), nil
	}
	req := s.request(spec, initiator, used)
	op := job.Opinion{}
	if spec.NeedsData() {
		view, err := s.view(ctx, spec)
		if err == nil {
			err = s.uses(&req, &op, view, p)
		}
		if err != nil {
			if initiator == self {
				return op, err
			}
			s.n.log.Warn("a proposed job does not fit this node's data", "initiator", initiator, "job", spec.Job, "error", err)
			return deny("it has no data set "+view.Data+" that fits the job", "ask its data owner for the name and columns of the data set"), nil
		}
	}
	d, err := p.Decide(req)
	if err != nil {
		return op, err
	}
	op.Rule, op.RuleID, op.Reason, op.Cure = d.Rule, d.RuleID, d.Reason, d.Cure
	op.Verdict = map[policy.Verdict]string{policy.Allow: job.ByStanding, policy.Ask: job.ByWaiting}[d.Verdict]
	if op.Verdict == "" {
		op.Verdict = job.Denied
	}
	return op, nil
}

// strangeModel says what is wrong with a job's use of a model from the registry:
// only the parties that trained it may use it, with the same guest. "" if nothing is.
func (s site) strangeModel(ctx context.Context, spec *flow.Spec) string {
	for _, st := range spec.Steps {
		ref := st.Texts[flow.TypeModel]
		if ref == "" {
			continue
		}
		rec, err := s.n.models.Lookup(ctx, ref)
		if err != nil || rec.ID != ref {
			return "it has no part in a model " + ref
		}
		trained, err := s.n.jobs.Get(ctx, rec.Job)
		if err != nil {
			return "it has no record of the job that trained the model"
		}
		parties := slices.Sorted(slices.Values(spec.PartyNames()))
		if trained.Spec().Guest() != spec.Guest() || !slices.Equal(parties, slices.Sorted(slices.Values(trained.Spec().PartyNames()))) {
			return "the model was trained by other parties, or with another guest"
		}
	}
	return ""
}

func (s site) request(spec *flow.Spec, initiator string, used func(string, time.Time) (int, error)) policy.Request {
	self := s.n.home.Identity.Name()
	req := policy.Request{Initiator: initiator, Self: self, Parties: spec.PartyNames(), Purpose: spec.Purpose, Now: s.n.now().UTC(), Used: used}
	for _, st := range spec.Steps {
		req.Components = append(req.Components, st.Kind)
		if st.Kind == "align" {
			if n := st.Params.Int("min_rows"); req.MinIntersection == 0 || n < req.MinIntersection {
				req.MinIntersection = n
			}
		}
	}
	for _, d := range spec.Disclosures() {
		for _, party := range spec.Parties {
			if party.Name != self && (d.To == flow.ToAll || d.To == party.Role) {
				req.Discloses = append(req.Discloses, policy.Disclosure{Step: d.Step, Component: d.Component, Kind: d.Kind, To: party.Name, MinRows: d.MinRows})
			}
		}
	}
	return req
}

// view is this party of a job, with what the catalogue knows of its table.
func (s site) view(ctx context.Context, spec *flow.Spec) (flow.Party, error) {
	v := spec.PartyView(s.n.home.Identity.Name())
	if v.Data == "" {
		return v, fault.New(fault.Spec, "the job names no data set for "+v.Name, "add data: NAME to the party, see kontor data ls")
	}
	d, err := s.n.data.Describe(ctx, v.Data)
	if err != nil {
		return v, err
	}
	return withOptions(v, d), nil
}

func withOptions(v flow.Party, d data.Dataset) flow.Party {
	if v.ID == "" {
		v.ID = d.Options.ID
	}
	if v.Label == "" && v.Role == session.Guest {
		v.Label = d.Options.Label
	}
	return v
}

// uses fills in what the job does with this party's table.
func (s site) uses(req *policy.Request, op *job.Opinion, v flow.Party, p *policy.Policy) error {
	d, err := s.n.data.Describe(context.Background(), v.Data)
	if err != nil {
		return err
	}
	schema, err := schemaOf(d)
	if err != nil {
		return err
	}
	for c, t := range v.Types {
		for i := range schema {
			if schema[i].Name == c {
				schema[i].Type = t
			}
		}
	}
	id, label, err := flow.ResolveKeys(v, schema)
	if err != nil {
		return err
	}
	req.Dataset = v.Data
	req.Uses = append(req.Uses, policy.Use{Column: id, As: policy.AsJoin, Explicit: true})
	if label != "" {
		req.Uses = append(req.Uses, policy.Use{Column: label, As: policy.AsLabel, Explicit: true})
	}
	op.Print, op.Live = d.Fingerprint, d.Query != ""
	if v.NoFeatures {
		return nil
	}
	for _, f := range v.Features {
		req.Uses = append(req.Uses, policy.Use{Column: f, As: policy.AsFeature, Explicit: true})
	}
	serves := p.Serves(*req)
	op.Features, err = flow.ResolveFeatures(v, schema, func(c string) bool { return serves(c, policy.AsFeature) })
	if err == nil && v.Features == nil {
		for _, f := range op.Features {
			req.Uses = append(req.Uses, policy.Use{Column: f, As: policy.AsFeature})
		}
	}
	return err
}

// keys fills in the usual names of the id and label columns.
func (s site) keys(ctx context.Context, v *flow.Party) error {
	d, err := s.n.data.Describe(ctx, v.Data)
	if err != nil {
		return err
	}
	schema, err := schemaOf(d)
	if err != nil {
		return err
	}
	id, label, err := flow.ResolveKeys(*v, schema)
	if err != nil {
		return err
	}
	v.ID = id
	if label != "" {
		v.Label = label
	}
	return nil
}

func schemaOf(d data.Dataset) (table.Schema, error) {
	var s table.Schema
	for _, c := range d.Schema {
		t, err := table.ParseType(c.Type)
		if err != nil {
			return nil, err
		}
		s = append(s, table.Field{Name: c.Name, Type: t})
	}
	return s, nil
}

// Input implements job.Site.
func (s site) Input(ctx context.Context, r *job.Record) (*flow.Input, error) {
	v, err := s.view(ctx, r.Spec())
	if err != nil {
		return nil, err
	}
	if err := s.keys(ctx, &v); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.n.jobsDir(), r.ID, job.DataDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Local, err, "the job's folder cannot be written", "check free space and permissions")
	}
	d, err := s.n.data.Describe(ctx, v.Data)
	if err != nil {
		return nil, err
	}
	if d.Fingerprint != r.Print {
		return nil, fault.New(fault.Data, "data set "+v.Data+" is not what it was when this party consented to the job", "submit the job again")
	}
	types := map[string]table.Type{v.ID: table.String}
	if v.Label != "" {
		types[v.Label] = table.String
	}
	pinned, err := s.n.data.Pin(ctx, v.Data, dir, types)
	if err != nil {
		return nil, err
	}
	if !v.NoFeatures {
		v.Features = append([]string{}, r.Features...)
	}
	return flow.LoadInputFrom(ctx, v, pinned)
}

// room returns an error while less of the disk is free than shall stay so.
func (n *Institution) room() error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(n.home.Dir, &fs); err != nil {
		return nil // the step will find out
	}
	if free, least := int64(fs.Bavail)*int64(fs.Bsize), n.home.Config.Jobs.Reserve; free < least {
		return fault.New(fault.Local, fmt.Sprintf("the disk of its node has %s left, and %s must stay free", config.FormatSize(free), config.FormatSize(least)),
			"free some space, or lower jobs: reserve in "+config.FileName)
	}
	return nil
}

// Model implements job.Site.
func (s site) Model(ctx context.Context, id string) (string, error) { return s.n.models.Dir(ctx, id) }

// Publish implements job.Site.
func (s site) Publish(ctx context.Context, r *job.Record, dirs map[string]string) (func(*store.Tx) error, error) {
	res, err := flow.Collect(r.Spec(), s.n.home.Identity.Name(), dirs)
	if err != nil {
		return nil, err
	}
	consent, err := consentOf(r)
	if err != nil {
		return nil, err
	}
	st, err := stage(s.n.resultDir(r.ID), resultFiles(&Outcome{consent, res}, r.Spec()))
	if err != nil {
		return nil, err
	}
	if err := st.publish(); err != nil {
		st.discard()
		return nil, err
	}
	return s.models(ctx, r, dirs)
}

func (n *Institution) resultDir(id string) string { return filepath.Join(n.jobsDir(), id, "result") }

// consentOf returns the evidence of a job's consent as results hold it.
func consentOf(r *job.Record) (*Consent, error) {
	run, err := hex.DecodeString(r.Run)
	if err != nil || len(run) != len(session.ID{}) {
		return nil, fmt.Errorf("the job has no run")
	}
	c := &Consent{Run: session.ID(run), Spec: r.SpecHash(), Proposal: string(r.Proposal)}
	for i, p := range r.Parsed().Parties {
		key, _ := hex.DecodeString(p.Key)
		c.Parties = append(c.Parties, Signed{Party: p.Name, Role: p.Role, Nonce: r.Consents[i].Nonce, Key: p.Key, Fingerprint: identity.Fingerprint(key), Signature: r.Consents[i].Signature})
	}
	return c, nil
}

// models stages the job's models and returns what enters them.
func (s site) models(ctx context.Context, r *job.Record, dirs map[string]string) (func(*store.Tx) error, error) {
	var staged []*model.Staged
	for _, st := range r.Steps {
		if st.Result == nil || !st.Result.Model || st.State == job.StepReused {
			continue
		}
		m, err := s.n.models.Stage(ctx, s.record(ctx, r, st), dirs[st.Name])
		if err != nil {
			for _, m := range staged {
				m.Discard()
			}
			return nil, err
		}
		staged = append(staged, m)
	}
	return func(tx *store.Tx) error {
		for _, m := range staged {
			if _, err := m.Add(context.WithoutCancel(ctx), tx); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (s site) record(ctx context.Context, r *job.Record, st job.StepRecord) model.Record {
	self := s.n.home.Identity.Name()
	rec := model.Record{ID: st.Result.ModelID, Job: r.ID, JobName: r.Name, Step: st.Name, Kind: st.Kind, Party: self, Role: r.Role,
		Parties: r.Spec().PartyNames(), Spec: r.SpecHash(), Software: Version}
	v := r.Spec().PartyView(self)
	if r.Print != "" {
		rec.Data = append(rec.Data, model.Lineage{Party: self, Name: v.Data, Fingerprint: r.Print})
	}
	for _, other := range r.Steps {
		if st, err := r.Spec().Step(other.Name); err == nil && st.From[flow.TypeModel] == rec.Step && other.Result != nil && len(other.Result.Metrics) > 0 {
			if b, err := json.Marshal(other.Result.Metrics); err == nil {
				rec.Metrics = b
			}
		}
	}
	return rec
}

// plainName says whether a file's name from outside is one file of a folder.
func plainName(name string) bool {
	return name != "" && name == filepath.Base(name) && !strings.HasPrefix(name, ".")
}
