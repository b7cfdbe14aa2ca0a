package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"kontor/api/rest"
	"kontor/audit"
	"kontor/data"
	"kontor/flow"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/node/doctor"
	"kontor/policy"
	"kontor/store"
)

// service is the node behind the HTTP API.
type service struct{ n *Institution }

var _ rest.Service = service{}

// actor is who asked, for the audit log.
func actor(ctx context.Context) string {
	if who := rest.Caller(ctx); who.ID != "" {
		return who.String()
	}
	return "node"
}

func (s service) change(ctx context.Context, action, object string, detail map[string]any, f func(*store.Tx) error) error {
	return s.n.change(ctx, actor(ctx), action, object, detail, f)
}

// Audit implements rest.Gate.
func (s service) Audit(ctx context.Context, actor, action, object string) error {
	return s.n.change(ctx, actor, action, object, nil, nil)
}

// Ready implements rest.Gate.
func (s service) Ready(ctx context.Context) []string {
	var why []string
	if _, err := s.n.network(); err != nil {
		why = append(why, "the node does not take part in anything")
	}
	if err := s.n.db.Read(ctx, func(tx *store.Tx) error { return tx.QueryRow(ctx, `SELECT 1`).Scan(new(int)) }); err != nil {
		why = append(why, "the state cannot be read: "+err.Error())
	}
	if err := s.n.room(); err != nil {
		why = append(why, err.Error())
	}
	return why
}

// Node implements rest.Home.
func (s service) Node(ctx context.Context) (*rest.Node, error) {
	id := s.n.home.Identity
	out := &rest.Node{Name: id.Name(), Version: Version, Fingerprint: id.Fingerprint(), Words: id.Words(), CertExpires: id.NotAfter().UTC(),
		Capabilities: capabilities(), Home: s.n.home.Dir, You: rest.Caller(ctx)}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.n.peers != nil {
		out.Listen, out.API, out.Started, out.Running = s.n.peers.Addr(), s.n.api, s.n.started, true
	}
	return out, nil
}

// Doctor implements rest.Home.
func (s service) Doctor(ctx context.Context) (*rest.Diagnosis, error) {
	n := s.n
	p := doctor.Probes{Home: n.home.Dir, Now: n.now, Name: n.home.Identity.Name(), Database: func(ctx context.Context) (string, error) {
		if err := n.db.Check(ctx); err != nil {
			return "", err
		}
		size, err := n.db.Size()
		return flow.Bytes(size), err
	}, Policy: func() (string, error) {
		pol, err := n.rules.current(n.now())
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d data sets, hash %.12s", len(pol.Datasets()), pol.Hash()), nil
	}, Certificate: func() (doctor.Certificate, error) {
		c := doctor.Certificate{NotBefore: n.home.Identity.NotBefore(), NotAfter: n.home.Identity.NotAfter()}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.alarm != nil {
			c.RenewError = n.alarm.Err
		}
		return c, nil
	}, Peers: func() ([]doctor.Peer, error) {
		ps, err := n.home.Peers.List()
		var out []doctor.Peer
		for _, p := range ps {
			out = append(out, doctor.Peer{Name: p.Name, Address: p.Address})
		}
		return out, err
	}}
	if t, err := n.network(); err == nil {
		p.Listening = t.Addr()
		n.mu.Lock()
		p.APIListening = n.api
		n.mu.Unlock()
		if u := p.APIListening; u != "" {
			p.APIListening = u[len("http://"):]
			if u[:5] == "https" {
				p.APIListening = u[len("https://"):]
			}
		}
		p.Probe = n.probe
	}
	checks := doctor.Run(ctx, p)
	out := &rest.Diagnosis{OK: !doctor.Failed(checks), Checks: []rest.Check{}}
	for _, c := range checks {
		out.Checks = append(out.Checks, rest.Check{Name: c.Name, OK: c.OK, Warning: c.Warn, What: c.What, Cause: c.Cause, Cure: c.Cure, Detail: c.Detail})
	}
	return out, nil
}

// probe connects to a peer for the doctor.
func (n *Institution) probe(ctx context.Context, peer, _ string) (doctor.PeerState, error) {
	t, err := n.network()
	if err != nil {
		return doctor.PeerState{}, err
	}
	r, err := t.Probe(ctx, peer, "")
	n.sight(peer, err)
	if err != nil {
		return doctor.PeerState{}, err
	}
	st := doctor.PeerState{Version: r.Version, Wire: int(r.Wire), TLS: r.TLS, RTT: r.RTT, Bandwidth: float64(r.Bandwidth), CertNotAfter: r.CertNotAfter,
		ClockSkew: r.ClockSkew, SkewKnown: r.Wire >= 2, Via: r.Way}
	if r.Way == "direct" {
		st.Via = ""
	}
	for _, c := range capabilities() {
		if !slices.Contains(r.Capabilities, c) {
			st.Missing = append(st.Missing, c)
		}
	}
	return st, nil
}

// Components implements rest.Home.
func (s service) Components(context.Context) ([]rest.Component, error) {
	out := []rest.Component{}
	for _, c := range flow.Components() {
		rc := rest.Component{Kind: c.Kind, Version: c.Version, Doc: c.Doc, Output: c.Output, Local: c.Local, NoData: !c.NeedsData, Params: []rest.Param{}, Inputs: []rest.Port{}, Discloses: []rest.Disclosure{}}
		for _, p := range c.Params {
			kind := "number"
			if p.Whole {
				kind = "integer"
			}
			rc.Params = append(rc.Params, rest.Param{Name: p.Name, Type: kind, Doc: p.Doc, Default: p.Default, Min: &p.Min, Max: &p.Max})
		}
		for _, t := range c.Texts {
			rc.Params = append(rc.Params, rest.Param{Name: t.Name, Type: "text", Doc: t.Doc})
		}
		for _, p := range c.Inputs {
			rc.Inputs = append(rc.Inputs, rest.Port{Name: p.Name, Type: p.Type, Optional: p.Optional})
		}
		for _, d := range c.Discloses {
			rc.Discloses = append(rc.Discloses, rest.Disclosure{To: d.To, Kind: d.Kind, MinRows: d.MinRows, Text: d.Text})
		}
		out = append(out, rc)
	}
	return out, nil
}

// Policy implements rest.Home.
func (s service) Policy(context.Context) (*rest.Policy, error) {
	r := s.n.rules
	p, err := r.current(s.n.now().UTC())
	out := &rest.Policy{Path: r.path}
	if b, rerr := os.ReadFile(r.path); rerr == nil {
		out.Text = string(b)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p != nil {
		out.Hash, out.Loaded = p.Hash(), r.loaded
	}
	if err != nil {
		out.Error = err.Error()
	}
	return out, nil
}

// CheckPolicy implements rest.Home.
func (s service) CheckPolicy(_ context.Context, text string) (*rest.TextCheck, error) {
	p, err := policy.Parse(PolicyFile, []byte(text))
	if err != nil {
		return &rest.TextCheck{Findings: findings(err)}, nil
	}
	out := &rest.TextCheck{OK: true, Findings: []rest.Finding{}, Hash: p.Hash()}
	for _, w := range p.Warnings(flow.Kinds()) {
		out.Findings = append(out.Findings, rest.Finding{What: w})
	}
	return out, nil
}

// findings is an error of a checked text with its line.
func findings(err error) []rest.Finding {
	var f *fault.Error
	if !errors.As(err, &f) {
		return []rest.Finding{{What: err.Error()}}
	}
	out := rest.Finding{What: fault.Wrap(f.Kind, f.Err, f.What, "").Error(), Cure: f.Cure}
	for i := range out.What {
		if n, _ := fmt.Sscanf(out.What[i:], "line %d:", &out.Line); n == 1 {
			break
		}
	}
	return []rest.Finding{out}
}

// Peers implements rest.Peering.
func (s service) Peers(context.Context) ([]rest.Peer, error) {
	ps, err := s.n.home.Peers.List()
	if err != nil {
		return nil, err
	}
	var reverse []string
	relayed := false
	if t, err := s.n.network(); err == nil {
		reverse = t.Reachable()
		for _, d := range t.DialedOut() {
			relayed = relayed || d.Connected
		}
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	out := []rest.Peer{}
	for _, p := range ps {
		rp := restPeer(p)
		rp.Route = "none"
		switch {
		case slices.Contains(reverse, p.Name):
			rp.Route = "reverse"
		case p.Address != "":
			rp.Route = "direct"
		case relayed:
			rp.Route = "relay"
		}
		rp.Seen, rp.Error = s.n.seen[p.Name].at, s.n.seen[p.Name].err
		out = append(out, rp)
	}
	return out, nil
}

func restPeer(p identity.Peer) rest.Peer {
	return rest.Peer{Name: p.Name, Address: p.Address, Fingerprint: p.Fingerprint(), Words: p.Words()}
}

// Invite implements rest.Peering.
func (s service) Invite(ctx context.Context, r rest.InviteRequest) (*rest.Invitation, error) {
	address := r.Address
	if address == "" {
		address = s.n.home.Config.Advertise
	}
	text, err := s.n.home.Invite(address)
	if err != nil {
		return nil, err
	}
	id := s.n.home.Identity
	return &rest.Invitation{Invitation: text, Name: id.Name(), Address: address, Fingerprint: id.Fingerprint(), Words: id.Words()}, nil
}

// Accept implements rest.Peering.
func (s service) Accept(ctx context.Context, r rest.AcceptRequest) (*rest.Peer, error) {
	if r.Address != "" {
		if err := identity.CheckAddress(r.Address); err != nil {
			return nil, fault.Wrap(fault.Usage, err, "the address cannot be used", "give HOST:PORT")
		}
	}
	info, err := s.n.home.acceptAt(r.Invitation, r.Fingerprint, r.Address)
	if errors.Is(err, identity.ErrConflict) {
		return nil, rest.Conflict(err.Error(), "if its key has really changed, remove the peer first")
	}
	if err != nil {
		return nil, err
	}
	p, err := s.n.home.Peers.Get(info.Name)
	if err != nil {
		return nil, err
	}
	if err := s.change(ctx, "peer.accepted", "peer "+p.Name, map[string]any{"fingerprint": p.Fingerprint(), "address": p.Address}, nil); err != nil {
		return nil, errors.Join(err, s.n.home.Remove(p.Name))
	}
	out := restPeer(p)
	return &out, nil
}

// RemovePeer implements rest.Peering.
func (s service) RemovePeer(ctx context.Context, name string) error {
	p, err := s.n.home.Peers.Get(name)
	if err != nil {
		return rest.NotFound(fmt.Sprintf("there is no peer %q", name), "see kontor peer ls")
	}
	if err := s.change(ctx, "peer.removed", "peer "+name, map[string]any{"fingerprint": p.Fingerprint()}, nil); err != nil {
		return err
	}
	return s.n.home.Remove(name)
}

// PeerData implements rest.Peering.
func (s service) PeerData(ctx context.Context, name string) ([]rest.PublishedData, error) {
	if _, err := s.n.home.Peers.Get(name); err != nil {
		return nil, rest.NotFound(fmt.Sprintf("there is no peer %q", name), "see kontor peer ls")
	}
	ctx, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	b, err := reach(s).Ask(ctx, name, methodData, nil)
	if err != nil {
		return nil, err
	}
	var list []data.Meta
	if err := json.Unmarshal(b, &list); err != nil || len(list) > 10_000 {
		return nil, &fault.Error{Kind: fault.Protocol, Party: name, What: "its list of data cannot be read", Cure: "check that it runs an unmodified Kontor of a version that fits"}
	}
	out := []rest.PublishedData{}
	for _, d := range list {
		rd := rest.PublishedData{Name: d.Name, Rows: d.Rows, Columns: []rest.PublishedColumn{}}
		for _, c := range d.Columns {
			rd.Columns = append(rd.Columns, rest.PublishedColumn{Name: c.Name, Type: c.Type, MissingRate: c.MissingRate})
		}
		out = append(out, rd)
	}
	return out, nil
}

// AuditEntries implements rest.Account.
func (s service) AuditEntries(ctx context.Context, after int64, limit int) (*rest.AuditPage, error) {
	if limit <= 0 || limit > 1000 {
		limit = 100
	}
	out := &rest.AuditPage{Entries: []rest.AuditEntry{}}
	es, err := s.n.account.Entries(ctx, audit.Filter{Before: after + int64(limit) + 1, Limit: limit})
	if err != nil {
		return nil, err
	}
	slices.Reverse(es)
	for _, e := range es {
		if e.Seq <= after {
			continue
		}
		re := rest.AuditEntry{Seq: e.Seq, Time: e.Time, Actor: e.Actor, Action: e.Action, Object: e.Object, Hash: e.Hash}
		if e.Detail != nil {
			if re.Detail, err = json.Marshal(e.Detail); err != nil {
				return nil, err
			}
		}
		out.Entries = append(out.Entries, re)
	}
	head, err := s.n.account.Head(ctx)
	if err != nil {
		return nil, err
	}
	if last := after + int64(limit); last < head.Seq {
		out.Next = last
	}
	return out, nil
}

// VerifyAudit implements rest.Account.
func (s service) VerifyAudit(ctx context.Context) (*rest.AuditReport, error) {
	r, err := s.n.account.Verify(ctx)
	if err != nil {
		return nil, err
	}
	out := &rest.AuditReport{OK: r.OK(), Entries: r.Entries, Head: r.Hash, Problems: []rest.AuditProblem{}, Witnesses: []rest.AuditWitness{}}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, rest.AuditProblem{Seq: p.Seq, What: p.Kind + ": " + p.Text})
	}
	for _, t := range r.Testimonies {
		if t.Seen > 0 {
			out.Witnesses = append(out.Witnesses, rest.AuditWitness{Peer: t.Peer, Seq: t.Seen, Time: t.Head.Time})
		}
	}
	return out, nil
}
