package main

import (
	"context"
	"crypto/sha256"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kontor/api/rest"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/node"
)

// joined returns the functions of package node.
func joined() nodeCalls {
	return nodeCalls{
		create: func(dir, name, listen, api string) (*madeHome, error) {
			h, err := node.CreateHome(dir, name, listen, api)
			if err != nil {
				return nil, err
			}
			return &madeHome{Name: name, Home: dir, Fingerprint: h.Identity.Fingerprint(), Words: h.Identity.Words()}, nil
		},
		up: func(_ context.Context, o upOptions) error {
			if _, err := node.OpenHome(o.Home); err != nil {
				return err
			}
			return fault.New(fault.Version, "this build cannot run a node as a service", "use kontor run")
		},
		running: running,
		offline: offline,
	}
}

// apiAddress is the file in a node's folder with the address of its API while it runs.
const apiAddress = "api.addr"

// running reads where the API of the node of this folder answers, if it does. A
// node that was killed leaves its file.
func running(home string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(home, apiAddress))
	if err != nil {
		return "", false
	}
	api := strings.TrimSpace(string(b))
	if !strings.Contains(api, "://") {
		api = "http://" + api
	}
	u, err := url.Parse(api)
	if err != nil {
		return "", false
	}
	c, err := net.DialTimeout("tcp", u.Host, 2*time.Second)
	if err != nil {
		return "", false
	}
	c.Close()
	return api, true
}

// offline opens a folder: its identity and peers.
func offline(home string) (http.Handler, string, func() error, error) {
	h, err := node.OpenHome(home)
	if err != nil {
		return nil, "", nil, err
	}
	id, secret, hash, err := rest.MakeToken(nil)
	if err != nil {
		return nil, "", nil, err
	}
	s := &homeOnly{home: h, hash: hash, who: rest.Identity{ID: id, Name: "admin", Role: rest.Admin}}
	return rest.NewHandler(rest.Options{Service: s, Version: node.Version}), secret, func() error { return nil }, nil
}

// homeOnly is a folder's identity and peers behind the API.
type homeOnly struct {
	rest.Service
	home *node.Home
	hash [sha256.Size]byte
	who  rest.Identity
}

func (s *homeOnly) Authenticate(_ context.Context, id string) ([32]byte, rest.Identity, error) {
	if id != s.who.ID {
		return [32]byte{}, rest.Identity{}, rest.NotFound("there is no such token", "use the one of this folder")
	}
	return s.hash, s.who, nil
}

func (s *homeOnly) Audit(context.Context, string, string, string) error { return nil }

func (s *homeOnly) StoredAnswer(context.Context, string) (*rest.Answer, error) { return nil, nil }
func (s *homeOnly) StoreAnswer(context.Context, string, rest.Answer) error     { return nil }

func (s *homeOnly) Invite(_ context.Context, r rest.InviteRequest) (*rest.Invitation, error) {
	text, err := s.home.Invite(r.Address)
	id := s.home.Identity
	return &rest.Invitation{Invitation: text, Name: id.Name(), Address: r.Address, Fingerprint: id.Fingerprint(), Words: id.Words()}, err
}

func (s *homeOnly) Peers(context.Context) ([]rest.Peer, error) {
	ps, err := s.home.Peers.List()
	var out []rest.Peer
	for _, p := range ps {
		out = append(out, rest.Peer{Name: p.Name, Address: p.Address, Fingerprint: p.Fingerprint(), Words: p.Words()})
	}
	return out, err
}

func (s *homeOnly) Accept(_ context.Context, r rest.AcceptRequest) (*rest.Peer, error) {
	inv, err := identity.ParseInvitation(r.Invitation)
	if err != nil {
		return nil, err
	}
	if !identity.MatchFingerprint(r.Fingerprint, inv.Key) {
		return nil, fault.New(fault.Trust, "the invitation of "+inv.Name+" has another fingerprint than the one given", "do not trust it; ask "+inv.Name+" for a new invitation and its fingerprint")
	}
	if r.Address != "" {
		inv.Address = r.Address
	}
	if err := s.home.Peers.Add(inv, time.Now()); err != nil {
		return nil, err
	}
	return &rest.Peer{Name: inv.Name, Address: inv.Address, Fingerprint: inv.Fingerprint(), Words: inv.Words()}, nil
}

func (s *homeOnly) RemovePeer(_ context.Context, name string) error { return s.home.Remove(name) }
