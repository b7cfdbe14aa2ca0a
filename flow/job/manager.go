package job

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"kontor/audit"
	"kontor/flow"
	"kontor/internal/fault"
	"kontor/session"
	"kontor/store"
)

// Conn is one session with one peer, as package transport gives it.
type Conn interface {
	session.Conn
	Close() error
	Abort(error)
	Done() <-chan struct{} // closed when the connection fails
	Err() error
}

// Peers reaches the other institutions' nodes.
type Peers interface {
	// Ask sends a request and returns the answer. A peer that cannot be reached
	// is a fault of kind peer; a fault that the peer tells keeps its kind.
	Ask(ctx context.Context, peer, method string, body []byte) ([]byte, error)
	Dial(ctx context.Context, peer string, id [32]byte, label string) (Conn, error)
	Accept(ctx context.Context, peer string, id [32]byte) (Conn, error)
	// Key returns the identity key that is pinned for a peer; false if there is none.
	Key(peer string) (ed25519.PublicKey, bool)
}

// Opinion is what a party's data and policy say of a proposal.
type Opinion struct {
	Ruling
	RuleID   string   // of the rule that decided, the same when the policy's lines move
	Features []string // the columns that the job may use as features
	Print    string   // fingerprint of the table
	Live     bool     // the table's rows may change under the same fingerprint, so no later job can go on with its steps
}

// Site is what the institution brings to a job.
type Site interface {
	// Consider rules on a proposal: its verdict is [Denied], [ByWaiting] or
	// [ByStanding]. used counts the jobs that a rule has let through since.
	Consider(ctx context.Context, spec *flow.Spec, initiator string, used func(rule string, since time.Time) (int, error)) (Opinion, error)
	// Input loads this party's table.
	Input(ctx context.Context, r *Record) (*flow.Input, error)
	// Model returns the folder of this party's part of a model.
	Model(ctx context.Context, id string) (string, error)
	// Publish writes what users get of a job that has ended well, from the folders
	// of its steps. It may be called again. What it returns enters the job's models
	// into the registry, in the transaction that ends the job.
	Publish(ctx context.Context, r *Record, steps map[string]string) (func(*store.Tx) error, error)
}

// Options is what a manager is made from. All fields are needed but those with a default.
type Options struct {
	Signer       Signer
	DB           *store.DB
	Audit        *audit.Log
	Dir          string // folder for the jobs' artifacts
	Peers        Peers
	Site         Site
	Capabilities []string
	Version      string
	Parallel     int           // jobs of our own that run at once; 2
	Hosted       int           // steps for others that run at once; 16
	Patience     time.Duration // how long a job tries again; 24 h
	Silence      time.Duration // how long a peer's long request may take; 20 s
	Limits       flow.Limits   // of one job; zero fields are without limit
	Log          *slog.Logger
	Rand         io.Reader
	Now          func() time.Time
	// Pause is the longest pause between two attempts; 15 s.
	Pause time.Duration
	// Denials is how many proposals of one initiator are denied within an hour
	// before no more are looked at; 200.
	Denials int
	// Room returns an error while the node's disk has no room for a step; it may be nil.
	Room func() error
	// Ended hears of every attempt of a step that has ended here; it may be nil.
	Ended func(StepRecord)
}

// Manager carries out the jobs of a node. It is safe for concurrent use.
type Manager struct {
	o     Options
	self  string
	epoch string // of this process; a guest whose watch began under another begins anew

	writing  sync.Mutex // one change of a record at a time
	deciding sync.Mutex // one opinion and its consequence at a time, so that rules count right
	closing  sync.Mutex // one result is published at a time

	mu       sync.Mutex
	live     map[string]*Record // not settled; replaced, never changed in place
	signals  map[string]chan struct{}
	progress map[string]map[string]*Progress // by job and step
	logged   map[string]int
	inputs   map[string]*loading
	attempts map[string]*attempt // by job and step: what runs here as a host
	hosting  int
	denials  map[string][]time.Time             // by initiator, of the last hour
	news     map[string]*board                  // by initiator: what changed for its watchers
	buried   map[string][]string                // by initiator: jobs that it ended before they were known here
	remote   map[string]*remote                 // by host: what we know of our jobs there
	cancels  map[string]context.CancelCauseFunc // drivers by job
	stopping bool

	slots *queue
	wg    sync.WaitGroup
	ctx   context.Context // of [Manager.Run]; nil before
}

// New opens the journal. Jobs go on once [Manager.Run] runs.
func New(ctx context.Context, o Options) (*Manager, error) {
	if o.Parallel == 0 {
		o.Parallel = 2
	}
	if o.Hosted == 0 {
		o.Hosted = 16
	}
	if o.Patience == 0 {
		o.Patience = 24 * time.Hour
	}
	if o.Silence == 0 {
		o.Silence = 20 * time.Second
	}
	if o.Pause == 0 {
		o.Pause = 15 * time.Second
	}
	if o.Denials == 0 {
		o.Denials = maxDenials
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	var epoch [8]byte
	if _, err := io.ReadFull(o.Rand, epoch[:]); err != nil {
		return nil, fmt.Errorf("drawing an epoch: %w", err)
	}
	m := &Manager{o: o, epoch: hex.EncodeToString(epoch[:]), self: o.Signer.Name(), live: map[string]*Record{}, signals: map[string]chan struct{}{}, progress: map[string]map[string]*Progress{},
		logged: map[string]int{}, inputs: map[string]*loading{}, attempts: map[string]*attempt{}, denials: map[string][]time.Time{}, news: map[string]*board{}, buried: map[string][]string{}, remote: map[string]*remote{},
		cancels: map[string]context.CancelCauseFunc{}, slots: newQueue(o.Parallel)}
	if err := o.DB.Migrate("jobs", migrations...); err != nil {
		return nil, err
	}
	recs, err := m.unsettled(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range recs {
		m.live[r.ID] = r
		if r.State.Final() {
			continue
		}
		if err := m.recover(ctx, r); err != nil {
			return nil, err
		}
		m.sweep(m.live[r.ID])
	}
	return m, nil
}

// recover notes what the end of the process before has interrupted.
func (m *Manager) recover(ctx context.Context, r *Record) error {
	_, err := m.update(ctx, r.ID, func(r *Record, c *change) error {
		lost := false
		for i := range r.Steps {
			s := &r.Steps[i]
			// Of a guest's own nobody has been told to commit it. A host that has given
			// its nonce still knows it: the guest may ask again, or start.
			own := r.Role == session.Guest && (s.State == StepBegun || s.State == StepPrepared)
			if s.State == StepRunning || own {
				s.State, lost = StepLost, true
				c.record("node", "step.lost", r.ID, map[string]any{"step": s.Name, "attempt": s.Attempt, "reason": "the node was restarted"})
			}
		}
		if r.State != Running {
			return errUnchanged
		}
		r.Resumed++
		c.event(EventState, map[string]any{"state": r.State, "resumed": r.Resumed, "interrupted": lost})
		return nil
	})
	return err
}

// Run carries jobs on until ctx ends; then it stops what is under way, which the
// next run resumes, and returns.
func (m *Manager) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	m.mu.Lock()
	m.ctx = ctx
	var own []*Record
	for _, r := range m.live {
		if r.Role == session.Guest {
			own = append(own, r)
		}
	}
	m.mu.Unlock()
	for _, r := range own {
		m.drive(r.ID)
	}
	m.spawn(m.sweepAll)
	<-ctx.Done()
	m.mu.Lock()
	m.stopping = true
	for _, a := range m.attempts {
		a.cancel(errStopping)
	}
	m.mu.Unlock()
	m.wg.Wait()
	return nil
}

var errStopping = fault.New(fault.Peer, "its node is being restarted", "wait for it to come back")

// spawn runs f in a goroutine that Run waits for; false if the manager stops.
func (m *Manager) spawn(f func(ctx context.Context)) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil || m.stopping || m.ctx.Err() != nil {
		return false
	}
	ctx := m.ctx
	m.wg.Go(func() { f(ctx) })
	return true
}

// settled reports whether nothing is left to be told to anybody.
func (r *Record) settled() bool {
	return r.Role != session.Guest || len(r.Told) == len(r.proposal.hosts())
}

// Submission is a job as a user hands it in.
type Submission struct {
	Spec   []byte
	Note   string
	Actor  string // who submits it
	Fresh  bool   // reuse nothing
	Replay string // the job that this one repeats, if any
	Key    string // where set, a job submitted under it before is returned instead
}

// Submit signs a job as its initiator and sends it to the hosts. It returns once
// the job is journalled.
func (m *Manager) Submit(ctx context.Context, s Submission) (*Record, error) {
	if s.Key != "" {
		if id, err := m.keyed(ctx, s.Key); err != nil || id != "" {
			if err != nil {
				return nil, err
			}
			return m.get(ctx, id)
		}
	}
	spec, err := flow.Parse("the job", s.Spec)
	if err != nil {
		return nil, err
	}
	if len(s.Spec) > maxSpec || len(s.Note) > maxNote {
		return nil, fault.New(fault.Spec, "the job is too large", fmt.Sprintf("keep the specification below %d bytes and the note below %d", maxSpec, maxNote))
	}
	if spec.Guest() != m.self {
		return nil, fault.New(fault.Usage, fmt.Sprintf("this is the node of %s, and the job's guest is %s", m.self, spec.Guest()), "submit the job at the guest's node")
	}
	if need := missing(spec.Capabilities(), m.o.Capabilities); need != "" {
		return nil, fault.New(fault.Version, "this node cannot take part in "+need, "upgrade Kontor")
	}
	raw, p, err := m.propose(spec, s)
	if err != nil {
		return nil, err
	}
	m.deciding.Lock()
	defer m.deciding.Unlock()
	op, err := m.o.Site.Consider(ctx, spec, m.self, m.used)
	if err != nil {
		return nil, err
	}
	if op.Verdict == Denied {
		return nil, fault.New(fault.Consent, denialText(op.Ruling), op.Cure)
	}
	r := newRecord(raw, p, spec, m.self, m.o.Now().UTC())
	r.Features, r.Print, r.Live, r.Reuse, r.By, r.Repeats = op.Features, op.Print, op.Live, !s.Fresh, s.Actor, s.Replay
	c := &change{}
	if op.Verdict == ByWaiting { // our own policy wants a second person
		r.State, r.Rulings[m.self] = Waiting, Ruling{Verdict: ByWaiting, Rule: op.Rule, Reason: op.Reason}
		r.Waits = "the approval of a person here; look at it with kontor job show " + r.ID[:8] + ", then kontor job approve or reject"
	} else {
		own, err := consentTo(m.o.Signer, raw, m.o.Rand)
		if err != nil {
			return nil, err
		}
		r.Consents, r.Rulings[m.self] = []Signed{own}, Ruling{Verdict: ByOwner, Rule: op.Rule, By: s.Actor}
		c.also = m.countStart(spec, op, r.ID)
	}
	if s.Key != "" {
		count := c.also
		c.also = func(tx *store.Tx) error {
			if _, err := tx.Exec(context.Background(), `INSERT INTO job_keys (key, job) VALUES (?, ?)`, s.Key, r.ID); err != nil || count == nil {
				return err
			}
			return count(tx)
		}
	}
	c.event(EventState, map[string]any{"state": r.State})
	c.record(s.Actor, "job.submitted", r.ID, map[string]any{"job": r.Name, "proposal": r.SpecHash(), "parties": spec.PartyNames(), "purpose": spec.Purpose, "note": s.Note, "repeats": s.Replay})
	m.writing.Lock()
	err = m.write(ctx, r, c, true)
	m.writing.Unlock()
	if err != nil {
		return nil, err
	}
	m.drive(r.ID)
	return r, nil
}

func (m *Manager) propose(spec *flow.Spec, s Submission) ([]byte, *Proposal, error) {
	var id [16]byte
	if _, err := io.ReadFull(m.o.Rand, id[:]); err != nil {
		return nil, nil, fmt.Errorf("drawing an identifier: %w", err)
	}
	p := &Proposal{Format: proposalFormat, Job: hex.EncodeToString(id[:]), Initiator: m.self, Spec: string(s.Spec),
		Needs: spec.Capabilities(), Submitted: m.o.Now().UTC(), Note: s.Note}
	for _, sp := range spec.Parties {
		key, ok := m.o.Signer.PublicKey(), true
		if sp.Name != m.self {
			key, ok = m.o.Peers.Key(sp.Name)
		}
		if !ok {
			return nil, nil, fault.New(fault.Trust, sp.Name+" is not a peer of this node", "exchange invitations with it (kontor peer invite, kontor peer accept), or correct the job's parties")
		}
		p.Parties = append(p.Parties, ProposedParty{sp.Name, sp.Role, hex.EncodeToString(key)})
	}
	raw, err := marshal(p)
	return raw, p, err
}

// keyed returns the job that was submitted under a key, "" if there is none.
func (m *Manager) keyed(ctx context.Context, key string) (id string, err error) {
	err = m.o.DB.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT job FROM job_keys WHERE key = ?`, key).Scan(&id)
	})
	if store.None(err) {
		err = nil
	}
	return id, err
}

func denialText(r Ruling) string {
	text := r.Reason
	if r.Rule != "" {
		text += " (" + r.Rule + ")"
	}
	return text
}

// countStart notes that a rule of the policy has let a job through.
func (m *Manager) countStart(spec *flow.Spec, op Opinion, id string) func(*store.Tx) error {
	now := m.o.Now().UnixNano()
	view, _ := spec.Party(m.self)
	return func(tx *store.Tx) error {
		_, err := tx.Exec(context.Background(), `INSERT INTO job_starts (dataset, rule, job, time) VALUES (?, ?, ?, ?)`, view.Data, op.RuleID, id, now)
		return err
	}
}

func (m *Manager) used(rule string, since time.Time) (n int, err error) {
	ctx := context.Background()
	err = m.o.DB.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(DISTINCT job) FROM job_starts WHERE rule = ? AND time >= ?`, rule, since.UnixNano()).Scan(&n)
	})
	return n, err
}

// path returns a folder beneath the jobs' folder.
func (m *Manager) path(rel string) string { return filepath.Join(m.o.Dir, filepath.FromSlash(rel)) }
