package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"kontor/identity"
	"kontor/internal/fault"
)

type peerResult struct {
	name   string
	checks []Check
	state  *PeerState // nil if it was not reached
}

// look follows the way of a job to a peer and stops where it ends: address,
// identity, version, speed.
func (p *Probes) look(ctx context.Context, peer Peer) peerResult {
	ctx, stop := context.WithTimeout(ctx, p.Timeout)
	defer stop()
	r := peerResult{name: peer.Name}
	label := func(what string) string { return "peer " + peer.Name + ": " + what }
	if peer.Address != "" {
		// With half of the time, so that there is some left to try without address.
		cctx, stop := context.WithTimeout(ctx, p.Timeout/2)
		r.checks = append(r.checks, p.connect(cctx, label("address"), peer))
		stop()
	}
	unreachable := len(r.checks) > 0 && !r.checks[0].OK
	if p.Probe == nil {
		return r
	}
	address := peer.Address
	if unreachable {
		address = "" // it may have connected to us, or to a relay
	}
	state, err := p.Probe(ctx, peer.Name, address)
	switch {
	case err != nil && unreachable:
		return r // why, it says already
	case err != nil:
		r.checks = append(r.checks, refusal(label("connection"), peer, err))
		return r
	case unreachable: // jobs do not need the address
		r.checks[0].OK, r.checks[0].Warn = true, true
	}
	r.state = &state
	way := "it answers and is the pinned " + peer.Name
	if state.Via != "" {
		way += ", by way of " + state.Via
	}
	r.checks = append(r.checks, good(label("connection"), way, state.TLS), version(label("version"), peer.Name, state), speed(label("latency"), state))
	if !state.CertNotAfter.IsZero() {
		r.checks = append(r.checks, p.peerCertificate(label("certificate"), peer.Name, state.CertNotAfter))
	}
	return r
}

// connect looks up the name and opens the port.
func (p *Probes) connect(ctx context.Context, name string, peer Peer) Check {
	host, _, err := net.SplitHostPort(peer.Address)
	if err != nil {
		return failed(name, fmt.Sprintf("%.80q is no address", peer.Address), nil, "ask "+peer.Name+" for a new invitation and accept it")
	}
	ips, err := p.Resolve(ctx, host)
	if err != nil || len(ips) == 0 {
		return failed(name, "the name "+host+" is not known to the name server", plainNetwork(ctx, err), "check the address with "+peer.Name+", and this machine's name server")
	}
	start := time.Now()
	conn, err := p.Dial(ctx, peer.Address)
	if err != nil {
		return failed(name, "nothing answers at "+peer.Address, plainNetwork(ctx, err),
			fmt.Sprintf("ask %s whether its node runs and its firewall lets this machine (to port %s) in; check that yours lets it out", peer.Name, portOf(peer.Address)))
	}
	conn.Close()
	return good(name, "a port answers at "+peer.Address, fmt.Sprintf("%s, %s", strings.Join(ips[:min(len(ips), 4)], ", "), span(time.Since(start))))
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// plainNetwork leaves of a network error what a person can use.
func plainNetwork(ctx context.Context, err error) error {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, &dns):
		return errors.New(dns.Err)
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

// refusal explains why a peer that has an open port, or none, was not reached.
func refusal(name string, peer Peer, err error) Check {
	what, cure := "it cannot be spoken to", "look at the log of both nodes"
	switch fault.KindOf(err) {
	case fault.Trust:
		what, cure = "the two nodes do not trust each other", "compare fingerprints with "+peer.Name+" and exchange invitations again"
	case fault.Version:
		what, cure = "its version does not fit this one's", "agree with "+peer.Name+" on a version that both run"
	case fault.Peer, fault.Internal:
		if peer.Address == "" {
			what, cure = "it is not connected to this node", "ask "+peer.Name+" to name this node under dial_out in its kontor.yaml and to start its node; or ask for an invitation with an address"
		}
	}
	return failed(name, what, err, cure)
}

func version(name, peer string, s PeerState) Check {
	what := "it runs version " + s.Version
	if s.Version == "" {
		what = "its version is not known"
	}
	detail := ""
	if s.Wire > 0 {
		detail = fmt.Sprintf("wire format %d", s.Wire)
	}
	if len(s.Missing) > 0 {
		missing := slices.Sorted(slices.Values(s.Missing))
		c := warning(name, what+", which lacks "+strings.Join(missing, ", "), "it is older than this node", "ask "+peer+" to update before a job uses them")
		c.Detail = detail
		return c
	}
	return good(name, what, detail)
}

const (
	slowRTT       = time.Second
	slowBandwidth = 125e3 // bytes a second, 1 Mbit/s: below it jobs work but take long
)

func speed(name string, s PeerState) Check {
	what := fmt.Sprintf("%s there and back", span(s.RTT))
	if s.Bandwidth > 0 {
		what += fmt.Sprintf(", %.3g MB/s", s.Bandwidth/1e6)
	}
	if s.RTT > slowRTT || s.Bandwidth > 0 && s.Bandwidth < slowBandwidth {
		return warning(name, what, "the way to it is slow or busy", "expect long jobs; look for a proxy, a VPN or traffic shaping on the way")
	}
	return good(name, what, "")
}

func (p *Probes) peerCertificate(name, peer string, notAfter time.Time) Check {
	what := "its certificate is valid until " + notAfter.UTC().Format(dateFormat)
	if left := notAfter.Sub(p.Now()); left < identity.AlarmLeft {
		return warning(name, what, "its node should have renewed it", "ask "+peer+" to look into the log of its node before it expires")
	}
	return good(name, what, "")
}

// How far apart two clocks may be. Certificates are made to bear two hours.
const (
	skewWarn = 5 * time.Minute
	skewFail = time.Hour
)

// clock judges the clock here by those of the peers. Where most of them agree
// that it is wrong, it is; otherwise one of two is.
func (p *Probes) clock(peers []peerResult) Check {
	const name = "clock"
	var ahead, behind []string
	known, worst := 0, time.Duration(0)
	for _, r := range peers {
		if r.state == nil || !r.state.SkewKnown {
			continue
		}
		known++
		skew := r.state.ClockSkew
		if skew.Abs() > worst {
			worst = skew.Abs()
		}
		switch {
		case skew > skewWarn:
			ahead = append(ahead, r.name)
		case skew < -skewWarn:
			behind = append(behind, r.name)
		}
	}
	now := p.Now().UTC().Format(dateFormat)
	switch {
	case known == 0:
		return good(name, "it is "+now+" here, no peer was there to compare with", "")
	case worst <= skewWarn:
		return good(name, "it is "+now+" here, as at the peers", fmt.Sprintf("at most %s apart", span(worst)))
	}
	which := append(slices.Clone(ahead), behind...)
	c := Check{Name: name, OK: worst <= skewFail, Warn: worst <= skewFail,
		What: fmt.Sprintf("it is %s here, by up to %s not what the clock says at %s", now, span(worst), strings.Join(which, ", "))}
	if known > 1 && max(len(ahead), len(behind))*2 > known {
		c.Cause = "the clock of this machine is wrong, most peers agree"
		c.Cure = "set the clock of this machine and keep it set (NTP: timedatectl set-ntp true)"
	} else {
		c.Cause = "the clock here or there is wrong"
		c.Cure = "compare the time with a telephone; set the clock here (NTP: timedatectl set-ntp true) or ask " + strings.Join(which, ", ") + " to"
	}
	return c
}
