// Package job carries jobs through the nodes of several institutions: proposal,
// consent by every party, steps in attempts that end whole or not at all, one
// signed result, all of it journalled so that it survives crashes and lost
// connections. PROTOCOL.md beside this file is its specification.
//
// It knows no transport, no policy file and no data: whoever makes a [Manager]
// brings [Peers] and a [Site]. Not for a job whose parties run in one process
// for once; package node does that directly.
package job

import (
	"bytes"
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
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/session"
)

const (
	proposalFormat = 1
	consentContext = "kontor consent v2"
	resultContext  = "kontor result v1"

	maxSpec  = 1 << 20
	maxNote  = 2000
	maxNeeds = 256
	maxNeed  = 64 // bytes
)

// Proposal is what the parties are asked to agree to. Its bytes travel and are
// kept verbatim, since they are what everybody signs.
type Proposal struct {
	Format    int             `json:"format"`
	Job       string          `json:"job"` // 32 hex digits
	Initiator string          `json:"initiator"`
	Spec      string          `json:"spec"` // YAML, verbatim
	Parties   []ProposedParty `json:"parties"`
	Needs     []string        `json:"needs"` // capabilities
	Submitted time.Time       `json:"submitted"`
	Note      string          `json:"note,omitempty"`
}

// ProposedParty is a party of a proposal with its identity key in hex.
type ProposedParty struct {
	Name string `json:"name"`
	Role string `json:"role"`
	Key  string `json:"key"`
}

// Signed is one party's consent. Bytes are in hex.
type Signed struct {
	Party     string `json:"party"`
	Nonce     string `json:"nonce"`
	Signature string `json:"signature"`
}

func proposalHash(raw []byte) [32]byte {
	return sha256.Sum256(append([]byte("kontor proposal v1\x00"), raw...))
}

// parseProposal decodes a proposal and its specification and checks that they
// fit each other. It establishes nothing about keys or consent.
func parseProposal(raw []byte) (*Proposal, *flow.Spec, error) {
	p := &Proposal{}
	if err := strict(raw, p); err != nil {
		return nil, nil, fmt.Errorf("the proposal cannot be read: %w", err)
	}
	if p.Format != proposalFormat || len(p.Spec) > maxSpec || len(p.Note) > maxNote || !isHex(p.Job, 16) || len(p.Needs) > maxNeeds ||
		slices.ContainsFunc(p.Needs, func(n string) bool { return len(n) > maxNeed }) {
		return nil, nil, fmt.Errorf("the proposal is malformed")
	}
	spec, err := flow.Parse("the job", []byte(p.Spec))
	if err != nil {
		return nil, nil, err
	}
	if p.Initiator != spec.Guest() || len(p.Parties) != len(spec.Parties) {
		return nil, nil, fmt.Errorf("the proposal names other parties than the specification")
	}
	for i, sp := range spec.Parties {
		if pp := p.Parties[i]; pp.Name != sp.Name || pp.Role != sp.Role || !isHex(pp.Key, ed25519.PublicKeySize) {
			return nil, nil, fmt.Errorf("the proposal names other parties than the specification")
		}
	}
	return p, spec, nil
}

func (p *Proposal) key(party string) ed25519.PublicKey {
	for _, pp := range p.Parties {
		if pp.Name == party {
			k, _ := hex.DecodeString(pp.Key)
			return k
		}
	}
	return nil
}

// VerifyConsents returns the identifier of the run that a proposal, verbatim, and
// the consents of all its parties give; an error unless all of them hold.
func VerifyConsents(raw []byte, consents []Signed) (session.ID, error) {
	p, _, err := parseProposal(raw)
	if err != nil {
		return session.ID{}, err
	}
	return runID(p, raw, consents)
}

func (p *Proposal) hosts() []string {
	var hs []string
	for _, pp := range p.Parties {
		if pp.Role == session.Host {
			hs = append(hs, pp.Name)
		}
	}
	return hs
}

// Signer is this institution's identity.
type Signer interface {
	Name() string
	PublicKey() ed25519.PublicKey
	Sign(context string, msg []byte) []byte
}

// consentTo signs a proposal with a fresh nonce.
func consentTo(s Signer, raw []byte, rand io.Reader) (Signed, error) {
	n, err := nonce(rand)
	if err != nil {
		return Signed{}, err
	}
	return Signed{s.Name(), n, hex.EncodeToString(s.Sign(consentContext, consentMessage(raw, n)))}, nil
}

func nonce(rand io.Reader) (string, error) {
	var n [32]byte
	if _, err := io.ReadFull(rand, n[:]); err != nil {
		return "", fmt.Errorf("drawing a nonce: %w", err)
	}
	return hex.EncodeToString(n[:]), nil
}

func consentMessage(raw []byte, nonce string) []byte {
	h := proposalHash(raw)
	n, _ := hex.DecodeString(nonce)
	return append(h[:], n...)
}

// verifyConsent returns an error unless c is that party's consent to raw.
func verifyConsent(p *Proposal, raw []byte, c Signed) error {
	sig, err := hex.DecodeString(c.Signature)
	key := p.key(c.Party)
	if err != nil || key == nil || !isHex(c.Nonce, 32) || !identity.Verify(key, consentContext, consentMessage(raw, c.Nonce), sig) {
		return &fault.Error{Kind: fault.Consent, Party: c.Party, Step: "consent", What: "its signature under the job is missing or wrong",
			Cure: "check that it runs an unmodified Kontor, then submit the job again"}
	}
	return nil
}

// runID verifies that all parties have consented and returns the run's identifier.
func runID(p *Proposal, raw []byte, consents []Signed) (session.ID, error) {
	if len(consents) != len(p.Parties) {
		return session.ID{}, fault.New(fault.Consent, "not all parties have consented", "submit the job again")
	}
	hash := proposalHash(raw)
	h := sha256.New()
	h.Write([]byte("kontor run v2\x00"))
	h.Write(hash[:])
	for i, pp := range p.Parties {
		c := consents[i]
		if c.Party != pp.Name {
			return session.ID{}, fault.New(fault.Consent, "the consents are not in the order of the parties", "submit the job again")
		}
		if err := verifyConsent(p, raw, c); err != nil {
			return session.ID{}, err
		}
		n, _ := hex.DecodeString(c.Nonce)
		var l [4]byte
		binary.BigEndian.PutUint32(l[:], uint32(len(pp.Name)))
		h.Write(l[:])
		h.Write([]byte(pp.Name + pp.Role))
		h.Write(n)
		h.Write(p.key(pp.Name))
	}
	return session.ID(h.Sum(nil)), nil
}

// sessionID is the identifier of one attempt of a step. nonces are one fresh
// value from each party, in the order of the proposal.
func sessionID(run session.ID, step string, attempt int, nonces []string) (session.ID, error) {
	label := fmt.Sprintf("attempt\x00%s\x00%d", step, attempt)
	for _, n := range nonces {
		if !isHex(n, 32) {
			return session.ID{}, fmt.Errorf("a nonce is malformed")
		}
		label += "\x00" + n
	}
	return run.Derive(label), nil
}

func isHex(s string, bytes int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == bytes
}

// strict decodes one JSON value and refuses unknown fields and anything after it.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("data after the message")
	}
	return nil
}

func missing(needs, can []string) string {
	for _, n := range needs {
		if !slices.Contains(can, n) {
			return n
		}
	}
	return ""
}
