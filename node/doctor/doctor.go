// Package doctor looks at everything that a node needs (its folder, disk, clock,
// ports, certificate, state and peers) and says for each thing what is wrong,
// why, and what to do about it.
//
// It changes nothing and asks nobody but the node's own peers: no name server of
// ours, no time server. What it looks at comes through [Probes], so that it runs
// inside a node as well as where none can start. How checks are shown is up to the
// caller.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"kontor/internal/fault"
	"kontor/node/config"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`              // what was looked at: "disk", "peer telecom: latency"
	OK     bool   `json:"ok"`                // false: the node cannot work as it should
	Warn   bool   `json:"warning,omitempty"` // it works, but somebody should look at it
	What   string `json:"what"`              // what was found, one clause
	Cause  string `json:"cause,omitempty"`   // why, where it is known
	Cure   string `json:"cure,omitempty"`    // what to do, an imperative clause; never empty unless all is well
	Detail string `json:"detail,omitempty"`  // figures for people who know their machine
}

// Failed reports whether any check failed; warnings do not count.
func Failed(checks []Check) bool {
	return slices.ContainsFunc(checks, func(c Check) bool { return !c.OK })
}

// Peer is a peer to look at.
type Peer struct {
	Name    string
	Address string // host:port; empty for one that only dials
}

// PeerState is what a connection to a peer showed.
type PeerState struct {
	Version      string        // of its program
	Wire         int           // version of the wire format in use, 0 if unknown
	Missing      []string      // capabilities that this node has and the peer lacks
	TLS          string        // "TLS 1.3"
	RTT          time.Duration // there and back, of a small message
	Bandwidth    float64       // bytes a second, 0 if not measured
	CertNotAfter time.Time     // of the peer's node certificate, zero if unknown
	ClockSkew    time.Duration // the peer's clock less ours
	SkewKnown    bool
	Via          string // "" directly, else how: "its own connection", "relay shop"
}

// Certificate is what the node shows to its peers.
type Certificate struct {
	NotBefore, NotAfter time.Time
	RenewError          error // of the last attempt to renew it, nil if none failed
}

// Probes is how the doctor looks. Nil functions leave their checks out, except
// those said to have a default.
type Probes struct {
	Home string           // folder of the node
	Now  func() time.Time // nil: time.Now

	Config      func() (*config.Config, error)                    // nil: config.Load(Home)
	Name        string                                            // of the identity; empty: not compared with the configuration
	Certificate func() (Certificate, error)                       // of the node
	Policy      func() (string, error)                            // reads the policy; the text is a detail such as "3 rules"
	Database    func(context.Context) (string, error)             // checks the state database
	Disk        func(path string) (free, total uint64, err error) // nil: asks the operating system

	Listening    string // address on which this node takes peers now; empty if it does not run
	APIListening string // address on which its API answers now

	Peers   func() ([]Peer, error)
	Probe   func(ctx context.Context, peer, address string) (PeerState, error) // connects as a job would
	Resolve func(ctx context.Context, host string) ([]string, error)           // nil: the system's resolver
	Dial    func(ctx context.Context, address string) (net.Conn, error)        // nil: TCP
	Timeout time.Duration                                                      // for each peer; zero means 10 s
}

const (
	defaultTimeout = 10 * time.Second
	maxAtOnce      = 8 // peers that are looked at at the same time
)

func (p *Probes) defaults() {
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.Config == nil {
		p.Config = func() (*config.Config, error) { return config.Load(p.Home) }
	}
	if p.Disk == nil {
		p.Disk = diskSpace
	}
	if p.Resolve == nil {
		p.Resolve = net.DefaultResolver.LookupHost
	}
	if p.Dial == nil {
		var d net.Dialer
		p.Dial = func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	p.Timeout = cmp.Or(p.Timeout, defaultTimeout)
}

// Run looks at everything, peers at the same time, and returns the checks in a
// fixed order: the own machine first, then the peers by name, then the clock,
// which is judged by theirs. It returns soon after ctx ends, with what could not
// be looked at as failed.
func Run(ctx context.Context, p Probes) []Check {
	p.defaults()
	c, check := p.config()
	own := append([]Check{check}, p.machine(ctx, c)...)
	peers, err := p.peers()
	if err != nil {
		own = append(own, failed("peers", "the accepted peers cannot be read", err, "look into the folder peers of "+p.Home))
	}
	if check := dialOut(c, peers); err == nil && p.Peers != nil && len(c.DialOut) > 0 {
		own = append(own, check)
	}
	results := make([]peerResult, len(peers))
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxAtOnce)
	for i, peer := range peers {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i] = p.look(ctx, peer)
		})
	}
	wg.Wait()
	for _, r := range results {
		own = append(own, r.checks...)
	}
	return append(own, p.clock(results))
}

func (p *Probes) peers() ([]Peer, error) {
	if p.Peers == nil {
		return nil, nil
	}
	peers, err := p.Peers()
	peers = slices.Clone(peers)
	slices.SortFunc(peers, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
	return peers, err
}

func good(name, what, detail string) Check {
	return Check{Name: name, OK: true, What: what, Detail: detail}
}

func warning(name, what, cause, cure string) Check {
	return Check{Name: name, OK: true, Warn: true, What: what, Cause: cause, Cure: cure}
}

// failed makes a check of an error. A fault knows its cure; cure is for others.
func failed(name, what string, err error, cure string) Check {
	c := Check{Name: name, What: what, Cure: cure}
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		cause := *f
		c.Cure = cmp.Or(f.Cure, cure)
		cause.Cure, cause.Party, cause.Step = "", "", ""
		c.Cause = cause.Error()
	case errors.Is(err, context.DeadlineExceeded):
		c.Cause = "it did not answer in time"
	case err != nil:
		c.Cause = fmt.Sprint(err)
	}
	return c
}
