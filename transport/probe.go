package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

const (
	maxProbe   = 512 << 10 // bytes, each way
	probeTime  = 100 * time.Millisecond
	probeTries = 5
)

// ProbeResult is what [Node.Probe] found out about the way to a peer.
type ProbeResult struct {
	Version      string // of the peer's software
	Wire         uint32 // highest wire protocol that both speak
	Capabilities []string
	Way          string        // "direct", "reverse" or "relay NAME"
	TLS          string        // version and cipher suite
	CertNotAfter time.Time     // of the peer's node certificate
	RTT          time.Duration // the shortest of a few
	Bandwidth    int64         // bytes a second in the slower direction, estimated; 0 if unknown
	ClockSkew    time.Duration // how far the peer's clock is ahead, to within half the RTT; 0 if unknown
}

// Probe connects to a peer as [Node.Dial] does, once, and measures the way to it.
// It moves at most a few MiB. From a peer with wire protocol 1 it learns version
// and certificate only. The error is a [fault.Error] that names the peer.
func (n *Node) Probe(ctx context.Context, peer, addr string) (ProbeResult, error) {
	p, err := n.opt.Peers.Get(peer)
	if err != nil {
		return ProbeResult{}, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(n.ctx, func() { stop(stopped(peer)) })()
	r, e := n.reach(ctx, p, addr)
	if e.err != nil {
		return ProbeResult{}, e.err
	}
	defer n.release(r)
	res := ProbeResult{Version: software(r.theirs), Wire: min(r.theirs.WireMax, n.greeting.WireMax), Way: r.way.name(),
		TLS: tls.VersionName(r.state.Version) + " " + tls.CipherSuiteName(r.state.CipherSuite)}
	for _, c := range r.theirs.Capabilities {
		res.Capabilities = append(res.Capabilities, clean(c, maxCapability))
	}
	if _, err := identity.VerifyPeer(rawChain(r.state), n.opt.Peers, n.opt.Now()); err != nil {
		return res, fault.At(err, peer, "")
	}
	res.CertNotAfter = r.state.PeerCertificates[0].NotAfter
	if res.Wire < wireAsk {
		began := time.Now()
		_, e := n.hello(ctx, r.client, peer, n.limit())
		res.RTT = time.Since(began)
		return res, e.err
	}
	if err := n.measure(ctx, r, peer, &res); err != nil {
		return res, err
	}
	return res, nil
}

// name is what [ProbeResult] calls a way.
func (w way) name() string {
	switch {
	case w.relay != "":
		return "relay " + w.relay
	case w.key == "":
		return "reverse"
	}
	return "direct"
}

func (n *Node) measure(ctx context.Context, r *route, peer string, res *ProbeResult) error {
	for i := range probeTries {
		began := n.opt.Now()
		took, reply, err := n.probe(ctx, r, peer, 0, 0)
		if err != nil {
			return err
		}
		if i == 0 || took < res.RTT {
			res.RTT = took
			res.ClockSkew = time.Unix(0, reply.Clock).Sub(began.Add(took / 2))
		}
	}
	// What a payload takes longer than an empty probe is what the link needs for
	// it. It grows until that is long enough to be measured.
	up, err := n.rate(ctx, r, peer, res.RTT, func(size int) (int, int) { return size, 0 })
	if err != nil {
		return err
	}
	down, err := n.rate(ctx, r, peer, res.RTT, func(size int) (int, int) { return 0, size })
	if err != nil {
		return err
	}
	res.Bandwidth = min(up, down)
	return nil
}

func (n *Node) rate(ctx context.Context, r *route, peer string, rtt time.Duration, sizes func(int) (send, want int)) (int64, error) {
	for size := 16 << 10; ; size *= 4 {
		size = min(size, maxProbe)
		send, want := sizes(size)
		took, _, err := n.probe(ctx, r, peer, send, want)
		if err != nil {
			return 0, err
		}
		if took -= rtt; took >= probeTime || size == maxProbe {
			return int64(float64(size) / max(took, time.Microsecond).Seconds()), nil
		}
	}
}

// probe sends one. With a payload its time depends on the link, and ctx bounds it.
func (n *Node) probe(ctx context.Context, r *route, peer string, send, want int) (time.Duration, *peerv1.ProbeReply, error) {
	if send+want == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, n.limit())
		defer cancel()
	}
	began := time.Now()
	reply, err := r.client.Probe(ctx, &peerv1.ProbeRequest{Payload: make([]byte, send), Reply: uint32(want)})
	took := time.Since(began)
	if err != nil {
		return 0, nil, n.ended(peer, err).err
	}
	if len(reply.Payload) != want {
		return 0, nil, violation(peer, fmt.Errorf("it sent %d bytes for %d that were asked for", len(reply.Payload), want))
	}
	return took, reply, nil
}

// Probe implements peerv1.PeerServer.
func (s service) Probe(_ context.Context, r *peerv1.ProbeRequest) (*peerv1.ProbeReply, error) {
	if r.Reply > maxProbe {
		return nil, refusal(codes.InvalidArgument, &peerv1.Refusal{Reason: peerv1.Refusal_REASON_PROTOCOL, Text: "the probe is too large"})
	}
	return &peerv1.ProbeReply{Payload: make([]byte, r.Reply), Clock: s.node.opt.Now().UnixNano()}, nil
}
