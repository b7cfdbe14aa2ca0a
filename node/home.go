package node

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kontor/flow"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/node/config"
	"kontor/policy"
)

// Home is an institution's folder: its identity, the peers that it trusts, and
// what it has decided about its node.
type Home struct {
	Dir      string
	Identity *identity.Identity
	Peers    *identity.Peers
	Config   *config.Config
	Listen   string // Config.Listen
}

// PolicyFile is the name of the policy in a node's folder.
const PolicyFile = "policy.yaml"

// CreateHome makes a new identity in dir, with a configuration and a policy for
// people to read. Empty addresses stand for the defaults.
func CreateHome(dir, name, listen, api string) (*Home, error) {
	cfg := config.Default(name)
	cfg.Listen, cfg.API.Listen = cmp.Or(listen, cfg.Listen), cmp.Or(api, cfg.API.Listen)
	text := config.Template(cfg)
	if _, err := config.Parse(config.FileName, text); err != nil {
		return nil, fault.Wrap(fault.Usage, err, "an address cannot be used", "give HOST:PORT")
	}
	id, err := identity.Create(dir, name, time.Now())
	if err != nil {
		return nil, err
	}
	for file, b := range map[string][]byte{config.FileName: text, PolicyFile: policy.Template(name)} {
		if err := createFile(filepath.Join(dir, file), b); err != nil {
			return nil, err
		}
	}
	return &Home{dir, id, identity.OpenPeers(dir), cfg, cfg.Listen}, nil
}

// createFile writes a file that is not there yet; one that is stays as it is.
func createFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return fault.Wrap(fault.Local, err, "the folder cannot be written", "check permissions and free space")
	}
	return nil
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
	if renew, _ := identity.Due(id.NotBefore(), id.NotAfter(), time.Now()); renew {
		if err := id.Renew(time.Now()); err != nil {
			return nil, err
		}
	}
	cfg, err := config.Load(dir)
	if err != nil {
		return nil, err
	}
	if cfg.Name != "" && cfg.Name != id.Name() {
		return nil, fault.New(fault.Local, fmt.Sprintf("%s is of %s, but the identity beside it is %s", config.FileName, cfg.Name, id.Name()), "correct name: in "+filepath.Join(dir, config.FileName))
	}
	return &Home{dir, id, identity.OpenPeers(dir), cfg, cfg.Listen}, nil
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
	return h.acceptAt(invitation, fingerprint, "")
}

// acceptAt is [Home.Accept] for the text of an invitation, with an address to use
// instead of its own.
func (h *Home) acceptAt(invitation, fingerprint, address string) (PeerInfo, error) {
	inv, err := identity.ParseInvitation(invitation)
	if err != nil {
		return PeerInfo{}, err
	}
	if fingerprint == "" {
		return PeerInfo{}, fault.New(fault.Usage, "an invitation alone does not prove who sent it",
			"ask "+inv.Name+" by phone to read out its fingerprint, and give that with --fingerprint")
	}
	if !identity.MatchFingerprint(fingerprint, inv.Key) {
		return PeerInfo{}, fault.New(fault.Trust, "the invitation of "+inv.Name+" has another fingerprint than the one given",
			"do not trust it; ask "+inv.Name+" for a new invitation and its fingerprint")
	}
	if inv.Name == h.Identity.Name() || inv.Name == "self" {
		return PeerInfo{}, fault.New(fault.Trust, fmt.Sprintf("a peer cannot be named %q here", inv.Name), "the peer has to choose another name with kontor init")
	}
	if address != "" {
		inv.Address = address
	}
	if err := h.Peers.Add(inv, time.Now()); err != nil {
		return PeerInfo{}, err
	}
	return PeerInfo{inv.Name, inv.Address, inv.Fingerprint()}, nil
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
