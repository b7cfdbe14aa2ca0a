package node

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"kontor/flow"
	"kontor/flow/job"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/session"
)

// Before a job runs, every party signs the same statement: this specification,
// run by these parties under these keys, with one fresh nonce from each. Its
// hash is the run's identifier, from which all sessions of the run derive, so
// that no party can choose them and none repeats. docs/protocols.md has the
// messages.

const (
	consentFormat  = 1
	consentContext = "kontor consent v1"
	consentLimit   = 1 << 16
)

type join struct {
	Format int    `json:"format"`
	Spec   string `json:"spec"` // hex of the specification's hash
	Nonce  string `json:"nonce"`
	Key    string `json:"key"` // hex of the identity's public key
	able
}

// able says what a party's software can take part in.
type able struct {
	Version string   `json:"version"`
	Can     []string `json:"can"`
}

type roster struct {
	Format  int     `json:"format"`
	Spec    string  `json:"spec"`
	Entries []entry `json:"entries"` // all parties, in the order of the job
	able            // of the guest
}

type entry struct {
	Party string `json:"party"`
	Nonce string `json:"nonce"`
	Key   string `json:"key"`
}

type signature struct {
	Party     string `json:"party"`
	Signature string `json:"signature"`
}

// jsonMessage carries v as JSON; unknown fields are refused.
type jsonMessage struct{ v any }

func (m jsonMessage) MarshalBinary() ([]byte, error) { return json.Marshal(m.v) }

func (m jsonMessage) UnmarshalBinary(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(m.v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("data after the message")
	}
	return nil
}

// Consent is the agreement of all parties to one run of a job, with what it
// takes to verify it later: docs/formats/result.md says how.
type Consent struct {
	Run     session.ID `json:"-"`
	Spec    string     `json:"spec"` // hex of the specification's hash
	Parties []Signed   `json:"parties"`
	// Proposal is what the parties of a job between nodes have signed, verbatim;
	// empty for a job that was run by hand at every party (kontor run, sim, demo).
	Proposal string `json:"proposal,omitempty"`
}

// Signed is one party's part in a consent. Bytes are in hex.
type Signed struct {
	Party       string `json:"party"`
	Role        string `json:"role"`
	Nonce       string `json:"nonce"`
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
	Signature   string `json:"signature"` // over the run's identifier
}

// Verify returns an error unless run is the identifier that the parties' nonces
// and keys give, and every party's signature over it holds.
func (c *Consent) Verify(run session.ID) error {
	if c.Proposal != "" {
		return c.verifyProposal(run)
	}
	id, err := runID(c.Spec, c.Parties)
	if err != nil || id != run {
		return fmt.Errorf("the run %x is not that of this consent", run[:8])
	}
	for _, p := range c.Parties {
		key, _ := hex.DecodeString(p.Key) // runID has decoded it
		sig, err := hex.DecodeString(p.Signature)
		if err != nil || !identity.Verify(key, consentContext, run[:], sig) {
			return &fault.Error{Kind: fault.Consent, Party: p.Party, Step: "consent", What: "its signature under the job is missing or wrong",
				Cure: "check that the peer runs an unmodified Kontor, then run the job again"}
		}
	}
	return nil
}

// verifyProposal is [Consent.Verify] for a job between nodes.
func (c *Consent) verifyProposal(run session.ID) error {
	var signed []job.Signed
	for _, p := range c.Parties {
		signed = append(signed, job.Signed{Party: p.Party, Nonce: p.Nonce, Signature: p.Signature})
	}
	id, err := job.VerifyConsents([]byte(c.Proposal), signed)
	if err == nil && id != run {
		err = fmt.Errorf("the run %x is not that of this consent", run[:8])
	}
	return err
}

// runID hashes what the parties agree on: the specification, and name, role,
// nonce and key of each.
func runID(spec string, parties []Signed) (session.ID, error) {
	h := sha256.New()
	h.Write([]byte("kontor run v1\x00" + spec))
	for _, p := range parties {
		key, errK := hex.DecodeString(p.Key)
		nonce, errN := hex.DecodeString(p.Nonce)
		if errK != nil || errN != nil || len(key) != ed25519.PublicKeySize || len(nonce) != 32 {
			return session.ID{}, fmt.Errorf("key or nonce of %s is malformed", p.Party)
		}
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(p.Party)))
		h.Write(n[:])
		h.Write([]byte(p.Party + p.Role))
		h.Write(nonce)
		h.Write(key)
	}
	return session.ID(h.Sum(nil)), nil
}

// consenting is one party's side of the exchange.
type consenting struct {
	s    *session.Session
	spec *flow.Spec
	hash string
	id   *identity.Identity
	rand io.Reader
	can  []string // the steps that this node can take part in
	// pinned returns the key that this node has accepted for a peer, if any.
	pinned func(peer string) (ed25519.PublicKey, bool)
}

func (c *consenting) run(ctx context.Context) (*Consent, error) {
	c.hash = hexOf32(c.spec.Hash())
	own, err := c.ownEntry()
	if err != nil {
		return nil, err
	}
	if c.s.Self().Role == session.Guest {
		return c.guest(ctx, own)
	}
	return c.host(ctx, own)
}

func (c *consenting) ownEntry() (entry, error) {
	var nonce [32]byte
	if _, err := io.ReadFull(c.rand, nonce[:]); err != nil {
		return entry{}, fmt.Errorf("drawing a nonce: %w", err)
	}
	return entry{c.s.Self().Name, hexOf32(nonce), hex.EncodeToString(c.id.PublicKey())}, nil
}

func (c *consenting) guest(ctx context.Context, own entry) (*Consent, error) {
	r := roster{Format: consentFormat, Spec: c.hash, able: c.able()}
	entries := map[string]entry{own.Party: own}
	var unfit error
	for _, h := range c.s.Hosts() {
		var j join
		if err := c.s.Recv(ctx, h, "join", consentLimit, jsonMessage{&j}); err != nil {
			return nil, err
		}
		if unfit == nil {
			unfit = c.fits(h, j.Spec, j.able)
		}
		entries[h] = entry{h, j.Nonce, j.Key}
	}
	for _, p := range c.s.Parties() {
		r.Entries = append(r.Entries, entries[p.Name])
	}
	// The roster goes out even to parties that do not fit, so that they can say so
	// themselves; they do instead of consenting, and are given the time to.
	for _, h := range c.s.Hosts() {
		if err := c.s.Send(ctx, h, "roster", jsonMessage{r}); err != nil {
			return nil, err
		}
	}
	if unfit != nil {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		for _, h := range c.s.Hosts() {
			c.s.Recv(ctx, h, "consent", consentLimit, jsonMessage{&signature{}})
		}
		return nil, unfit
	}
	run, err := c.check(r, own)
	if err != nil {
		return nil, err
	}
	sigs := []signature{c.sign(run)}
	for _, h := range c.s.Hosts() {
		var sig signature
		if err := c.s.Recv(ctx, h, "consent", consentLimit, jsonMessage{&sig}); err != nil {
			return nil, err
		}
		if sig.Party != h {
			return nil, c.s.Violation(h, fmt.Sprintf("it signed as %q", sig.Party))
		}
		sigs = append(sigs, sig)
	}
	for _, h := range c.s.Hosts() {
		if err := c.s.Send(ctx, h, "consents", jsonMessage{sigs}); err != nil {
			return nil, err
		}
	}
	return c.conclude(run, r, sigs)
}

func (c *consenting) host(ctx context.Context, own entry) (*Consent, error) {
	g := c.s.Guest()
	if err := c.s.Send(ctx, g, "join", jsonMessage{join{consentFormat, c.hash, own.Nonce, own.Key, c.able()}}); err != nil {
		return nil, err
	}
	var r roster
	if err := c.s.Recv(ctx, g, "roster", consentLimit, jsonMessage{&r}); err != nil {
		return nil, err
	}
	if err := c.fits(g, r.Spec, r.able); err != nil {
		return nil, err
	}
	run, err := c.check(r, own)
	if err != nil {
		return nil, err
	}
	if err := c.s.Send(ctx, g, "consent", jsonMessage{c.sign(run)}); err != nil {
		return nil, err
	}
	var sigs []signature
	if err := c.s.Recv(ctx, g, "consents", consentLimit, jsonMessage{&sigs}); err != nil {
		return nil, err
	}
	return c.conclude(run, r, sigs)
}

// check verifies that a roster names the parties of the job with the keys that
// this node knows, and this party unchanged; it returns the run's identifier.
func (c *consenting) check(r roster, own entry) (session.ID, error) {
	g := c.s.Guest()
	if r.Format != consentFormat || len(r.Entries) != len(c.spec.Parties) {
		return session.ID{}, c.s.Violation(g, "its roster does not fit the job")
	}
	for i, p := range c.s.Parties() {
		e := r.Entries[i]
		if e.Party != p.Name || p.Name == own.Party && e != own {
			return session.ID{}, c.s.Violation(g, "its roster does not fit the job")
		}
		key, err := hex.DecodeString(e.Key)
		if known, ok := c.pinned(p.Name); ok && err == nil && len(key) == len(known) && !bytes.Equal(known, key) {
			return session.ID{}, &fault.Error{Kind: fault.Trust, Party: p.Name, Step: "consent", What: "it signs with another key than the one accepted for it",
				Cure: "exchange invitations with " + p.Name + " again and compare the fingerprints"}
		}
	}
	run, err := runID(r.Spec, c.signed(r, nil))
	if err != nil {
		return session.ID{}, c.s.Violation(g, "its roster does not fit the job: "+err.Error())
	}
	return run, nil
}

// signed joins a roster with the signatures given so far.
func (c *consenting) signed(r roster, sigs []signature) []Signed {
	out := make([]Signed, len(r.Entries))
	for i, p := range c.s.Parties() {
		e := r.Entries[i]
		out[i] = Signed{Party: p.Name, Role: p.Role, Nonce: e.Nonce, Key: e.Key}
		if key, err := hex.DecodeString(e.Key); err == nil {
			out[i].Fingerprint = identity.Fingerprint(key)
		}
		for _, s := range sigs {
			if s.Party == p.Name {
				out[i].Signature = s.Signature
			}
		}
	}
	return out
}

func (c *consenting) sign(run session.ID) signature {
	return signature{c.s.Self().Name, hex.EncodeToString(c.id.Sign(consentContext, run[:]))}
}

// conclude verifies that every party has signed the run.
func (c *consenting) conclude(run session.ID, r roster, sigs []signature) (*Consent, error) {
	out := &Consent{Run: run, Spec: c.hash, Parties: c.signed(r, sigs)}
	if err := out.Verify(run); err != nil {
		return nil, err
	}
	return out, nil
}

func (c *consenting) able() able { return able{Version, c.can} }

// fits returns why a peer cannot run this job with us: its software is of
// another version, or its specification is another one.
func (c *consenting) fits(peer, spec string, a able) error {
	for _, need := range c.spec.Capabilities() {
		who, version := "", ""
		switch {
		case !slices.Contains(a.Can, need):
			who, version = peer, a.Version
		case !slices.Contains(c.can, need):
			who, version = c.s.Self().Name, Version
		default:
			continue
		}
		return &fault.Error{Kind: fault.Version, Party: peer, Step: "consent",
			What: fmt.Sprintf("the job needs %s, which Kontor %s at %s cannot (%s runs Kontor %s, %s runs %s)", need, short(version), who, peer, short(a.Version), c.s.Self().Name, Version),
			Cure: "upgrade Kontor at " + who + ", then run the job again"}
	}
	if spec != c.hash {
		return &fault.Error{Kind: fault.Consent, Party: peer, Step: "consent",
			What: fmt.Sprintf("it holds another specification of the job (%q there, %q at %s)", short(spec), short(c.hash), c.s.Self().Name),
			Cure: "give all parties the same job file: name, parties, roles, steps and parameters must be equal"}
	}
	return nil
}

// short cuts a text of a peer for a message.
func short(s string) string { return fmt.Sprintf("%.16s", s) }

func hexOf32(b [32]byte) string { return hex.EncodeToString(b[:]) }
