package job

import (
	"context"
	"encoding/json"
	"fmt"

	"kontor/audit"
)

// Methods of the protocol.
const (
	methodPropose  = "job/propose"
	methodConsents = "job/consents"
	methodBegin    = "job/begin"
	methodStart    = "job/start"
	methodCommit   = "job/commit"
	methodFinish   = "job/finish"
	methodManifest = "job/manifest"
	methodClose    = "job/close"
	methodEnd      = "job/end"
	methodWatch    = "job/watch"
)

// Capability is what a node needs to take part in this protocol.
const Capability = "job/1"

// Head is a party's signed audit head, Receipt another's signature that it has seen it.
type (
	Head    = audit.Head
	Receipt = audit.Receipt
)

type proposeMsg struct {
	Proposal []byte `json:"proposal"`
	Consent  Signed `json:"consent"` // the initiator's
}

type consentsMsg struct {
	Job      string   `json:"job"`
	Consents []Signed `json:"consents"`
}

type beginMsg struct {
	Job     string            `json:"job"`
	Step    string            `json:"step"`
	Attempt int               `json:"attempt"`
	Inputs  map[string]string `json:"inputs"`          // artifact by the step that made it
	Reuse   string            `json:"reuse,omitempty"` // artifact
}

type begunMsg struct {
	Nonce string `json:"nonce"`
	Reuse bool   `json:"reuse,omitempty"`
}

type startMsg struct {
	Job     string   `json:"job"`
	Step    string   `json:"step"`
	Attempt int      `json:"attempt"`
	Nonces  []string `json:"nonces"`
}

type commitMsg struct {
	Job      string `json:"job"`
	Step     string `json:"step"`
	Attempt  int    `json:"attempt"`
	Artifact string `json:"artifact"`
	Reused   bool   `json:"reused,omitempty"`
}

type jobMsg struct {
	Job string `json:"job"`
}

type manifestMsg struct {
	Job      string `json:"job"`
	Manifest []byte `json:"manifest"`
}

type signedMsg struct {
	Signature string `json:"signature"`
	Head      Head   `json:"head"`
}

type closeMsg struct {
	Job        string            `json:"job"`
	Signatures map[string]string `json:"signatures"`
	Heads      map[string]Head   `json:"heads"`
	Receipt    Receipt           `json:"receipt"` // the guest's, for the host's head
}

type closedMsg struct {
	Status  status  `json:"status"`
	Receipt Receipt `json:"receipt"` // the host's, for the guest's head
}

type endMsg struct {
	Job     string   `json:"job"`
	State   State    `json:"state"`
	Problem *Problem `json:"problem,omitempty"`
}

type watchMsg struct {
	Epoch  string   `json:"epoch"`
	Cursor int64    `json:"cursor"`
	Jobs   []string `json:"jobs,omitempty"` // what the guest follows, told where the cursor is 0
}

type newsMsg struct {
	Epoch  string   `json:"epoch"`
	Cursor int64    `json:"cursor"`
	Jobs   []status `json:"jobs,omitempty"`
}

// status is how a job stands at a host, for its guest.
type status struct {
	Job     string                `json:"job"`
	Version int64                 `json:"version"` // of the record there
	State   State                 `json:"state"`
	Ruling  Ruling                `json:"ruling"`
	Consent *Signed               `json:"consent,omitempty"`
	Steps   map[string]stepStatus `json:"steps,omitempty"`
	Problem *Problem              `json:"problem,omitempty"`
}

type stepStatus struct {
	State   string   `json:"state"`
	Attempt int      `json:"attempt"`
	Problem *Problem `json:"problem,omitempty"`
}

// part is a host's share of the manifest.
type part struct {
	Security map[string][]string `json:"security"` // by step
	Sent     map[string]int64    `json:"sent"`     // bytes by step
	Software string              `json:"software"`
	Data     DataUse             `json:"data"`
}

// DataUse says what a party brought. The fingerprint is salted with the run, so
// that it proves later which table it was and lets nobody compare tables now.
type DataUse struct {
	Name        string `json:"name,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

func marshal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	return b, nil
}

// ask sends a request to a host and decodes the answer.
func ask[A any](ctx context.Context, m *Manager, peer, method string, msg any) (*A, error) {
	b, err := marshal(msg)
	if err != nil {
		return nil, err
	}
	b, err = m.o.Peers.Ask(ctx, peer, method, b)
	if err != nil {
		return nil, err
	}
	a := new(A)
	if err := strict(b, a); err != nil {
		return nil, malformed(peer, method, err)
	}
	return a, nil
}
