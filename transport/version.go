package transport

import (
	"fmt"
	"slices"
	"strings"

	peerv1 "kontor/api/peer/v1"
	"kontor/internal/fault"
)

// The versions of the wire protocol that this code speaks.
const (
	WireMin = 1
	WireMax = 2
)

// wireAsk is the version from which on a node knows Ask, Tunnel and Probe.
const wireAsk = 2

// VersionInfo is what a node says of itself and asks of its peers.
type VersionInfo struct {
	Software     string   // version of Kontor, for people: "0.1.0"
	WireMin      uint32   // versions of the wire protocol; zero means [WireMin]
	WireMax      uint32   // zero means [WireMax]
	Capabilities []string // what this node can do: "psi-ecdh/1", "boost/1"
	Required     []string // the capabilities without which a peer is of no use
}

const (
	maxCapabilities = 256
	maxCapability   = 64 // bytes
)

func (v VersionInfo) greeting(name string) *peerv1.Greeting {
	return &peerv1.Greeting{Name: name, Software: v.Software, WireMin: v.WireMin, WireMax: v.WireMax,
		Capabilities: v.Capabilities, Required: v.Required}
}

// checkGreeting refuses a greeting that no Kontor sends.
func checkGreeting(g *peerv1.Greeting) error {
	if g == nil {
		return fmt.Errorf("it sent no greeting")
	}
	if g.WireMin == 0 || g.WireMax < g.WireMin || len(g.Software) > maxCapability || len(g.Name) > maxCapability {
		return fmt.Errorf("it sent a greeting that makes no sense")
	}
	for _, l := range [][]string{g.Capabilities, g.Required} {
		if len(l) > maxCapabilities || slices.ContainsFunc(l, func(c string) bool { return c == "" || len(c) > maxCapability }) {
			return fmt.Errorf("it sent a list of capabilities that is too long")
		}
	}
	return nil
}

// fits returns why ours and the peer's greeting do not go together, nil if they do.
func fits(ours, theirs *peerv1.Greeting, peer string) error {
	both := fmt.Sprintf("it runs Kontor %s (wire protocol %s), this is Kontor %s (wire protocol %s)",
		software(theirs), wires(theirs), software(ours), wires(ours))
	they := fmt.Sprintf("upgrade Kontor at %s to %s or later", peer, software(ours))
	we := fmt.Sprintf("upgrade this Kontor to %s or later", software(theirs))
	refuse := func(what, cure string) error {
		return &fault.Error{Kind: fault.Version, Party: peer, What: both + what, Cure: cure}
	}
	switch {
	case theirs.WireMax < ours.WireMin:
		return refuse("", they)
	case ours.WireMax < theirs.WireMin:
		return refuse("", we)
	}
	if lacks := missing(ours.Required, theirs.Capabilities); lacks != "" {
		return refuse(" and lacks "+lacks, they)
	}
	if lacks := missing(theirs.Required, ours.Capabilities); lacks != "" {
		return refuse(" and needs "+lacks+", which is not here", we)
	}
	return nil
}

func missing(want, have []string) string {
	var m []string
	for _, w := range want {
		if !slices.Contains(have, w) {
			m = append(m, clean(w, maxCapability))
		}
	}
	if len(m) > 8 {
		m = append(m[:8], "others")
	}
	return strings.Join(m, ", ")
}

func software(g *peerv1.Greeting) string {
	if g.Software == "" {
		return "of unknown version"
	}
	return clean(g.Software, maxCapability)
}

func wires(g *peerv1.Greeting) string {
	if g.WireMin == g.WireMax {
		return fmt.Sprint(g.WireMin)
	}
	return fmt.Sprintf("%d to %d", g.WireMin, g.WireMax)
}
