package node

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kontor/flow"
	"kontor/identity"
	"kontor/internal/fault"
)

// Home is an institution's folder: its identity, the peers that it trusts, and
// the address that it listens on.
type Home struct {
	Identity *identity.Identity
	Peers    *identity.Peers
	Listen   string
}

const (
	listenFile = "listen"
	renewAt    = 30 * 24 * time.Hour // a node certificate is renewed when less than this is left
)

// CreateHome makes a new identity in dir.
func CreateHome(dir, name, listen string) (*Home, error) {
	id, err := identity.Create(dir, name, time.Now())
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, listenFile), []byte(listen+"\n"), 0o600); err != nil {
		return nil, fault.Wrap(fault.Local, err, "the folder cannot be written", "check permissions and free space")
	}
	return &Home{id, identity.OpenPeers(dir), listen}, nil
}

// OpenHome opens the folder that [CreateHome] made and renews the node
// certificate where it is about to expire.
func OpenHome(dir string) (*Home, error) {
	id, err := identity.Load(dir)
	if errors.Is(err, identity.ErrNone) {
		return nil, fault.New(fault.Local, dir+" holds no identity", fmt.Sprintf("make one with kontor init --home %s --name NAME", dir))
	}
	if err != nil {
		return nil, err
	}
	if now := time.Now(); id.NotAfter().Sub(now) < renewAt {
		if err := id.Renew(now); err != nil {
			return nil, err
		}
	}
	listen := "127.0.0.1:0"
	if b, err := os.ReadFile(filepath.Join(dir, listenFile)); err == nil {
		listen = strings.TrimSpace(string(b))
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fault.Wrap(fault.Local, err, "the listen address cannot be read", "check the folder's permissions")
	}
	return &Home{id, identity.OpenPeers(dir), listen}, nil
}

// Invite returns the invitation to hand to a peer; address is where it reaches
// this node, empty for a node that only dials.
func (h *Home) Invite(address string) (string, error) { return h.Identity.Invite(address, time.Now()) }

// PeerInfo is a trusted peer as shown to people.
type PeerInfo struct {
	Name        string `json:"name"`
	Address     string `json:"address"`
	Fingerprint string `json:"fingerprint"`
}

// Accept pins the institution of an invitation if its key has the fingerprint
// that the institution has told by another way. invitation is the text or the
// path of a file with it.
func (h *Home) Accept(invitation, fingerprint string) (PeerInfo, error) {
	if !strings.HasPrefix(strings.TrimSpace(invitation), "kontor-invite") {
		b, err := os.ReadFile(invitation)
		if err != nil {
			return PeerInfo{}, fault.Wrap(fault.Trust, err, "that is neither an invitation nor a file with one", "give the text that kontor peer invite has printed, or the path of a file that holds it")
		}
		invitation = string(b)
	}
	inv, err := identity.ParseInvitation(invitation)
	if err != nil {
		return PeerInfo{}, err
	}
	if fingerprint == "" {
		return PeerInfo{}, fault.New(fault.Usage, "an invitation alone does not prove who sent it",
			"ask "+inv.Name+" by phone to read out its fingerprint, and give that with --fingerprint")
	}
	if subtle.ConstantTimeCompare([]byte(plainHex(fingerprint)), []byte(plainHex(inv.Fingerprint()))) != 1 {
		return PeerInfo{}, fault.New(fault.Trust, fmt.Sprintf("the invitation of %s has the fingerprint %s, not %s", inv.Name, inv.Fingerprint(), fingerprint),
			"do not trust it; ask "+inv.Name+" for a new invitation and its fingerprint")
	}
	if err := h.Peers.Add(inv, time.Now()); err != nil {
		return PeerInfo{}, err
	}
	return PeerInfo{inv.Name, inv.Address, inv.Fingerprint()}, nil
}

// plainHex drops how a fingerprint is grouped.
func plainHex(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", " ", "", ":", "").Replace(s))
}

// List returns the trusted peers, sorted by name.
func (h *Home) List() ([]PeerInfo, error) {
	ps, err := h.Peers.List()
	out := []PeerInfo{}
	for _, p := range ps {
		out = append(out, PeerInfo{p.Name, p.Address, p.Fingerprint()})
	}
	return out, err
}

// Remove ends the trust in a peer.
func (h *Home) Remove(name string) error { return h.Peers.Remove(name) }

// Addresses returns where the peers listen: as given by NAME=HOST:PORT, else as
// their invitations say.
func (h *Home) Addresses(given []string) (map[string]string, error) {
	ps, err := h.Peers.List()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, p := range ps {
		out[p.Name] = p.Address
	}
	for _, g := range given {
		name, addr, ok := strings.Cut(g, "=")
		if !ok || identity.CheckAddress(addr) != nil {
			return nil, fault.New(fault.Usage, fmt.Sprintf("--peer %q is not NAME=HOST:PORT", g), "give for example --peer telecom=10.0.0.7:7700")
		}
		if _, err := h.Peers.Get(name); err != nil {
			return nil, err
		}
		out[name] = addr
	}
	return out, nil
}

// About says what this program is and can take part in.
type About struct {
	Version      string   `json:"version"`
	Capabilities []string `json:"capabilities"`
}

// Describe returns what this program is.
func Describe() About { return About{Version, flow.AllCapabilities()} }
