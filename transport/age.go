package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc/status"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
)

// A connection shows the certificates of the day on which it was made, and calls
// on it are refused once they have expired, whatever was renewed meanwhile. So
// nothing new begins on one that is old, or whose certificate this node has
// replaced: the next call makes a new connection, and the old one is closed when
// the last call on it has ended. Who calls decides, so that no call is refused for
// it. Node certificates are renewed weeks before they expire; half a day is soon.

// maxAge is how old a connection gets on which something new may begin.
const maxAge = 12 * time.Hour

// lifetime returns for how long a connection or tunnel is good, up to a tenth less
// than all of it, so that many that were made at one moment are not replaced at one.
func lifetime(all time.Duration) time.Duration {
	return all - rand.N(all/10+1)
}

// renewed reports whether this node has another certificate now than it showed.
func (n *Node) renewed(shown tls.Certificate) bool {
	return !shown.Leaf.Equal(n.opt.Identity.TLSCertificate().Leaf)
}

// stale reports whether r is too old for something new.
func (n *Node) stale(r *route) bool {
	now := n.opt.Now()
	return now.After(r.until) || now.After(r.state.PeerCertificates[0].NotAfter) || n.renewed(r.shown)
}

// release gives back a route that was taken for use.
func (n *Node) release(r *route) {
	n.mu.Lock()
	r.users--
	last := r.retired && r.users == 0
	n.mu.Unlock()
	if last {
		r.close()
	}
}

// keep has a route used until ctx ends, which is that of a stream on it.
func (n *Node) keep(ctx context.Context, r *route) {
	n.mu.Lock()
	r.users++
	n.mu.Unlock()
	context.AfterFunc(ctx, func() { n.release(r) })
}

// retire has nothing new begin on r. It is closed when nobody uses it any more.
func (n *Node) retire(r *route) {
	n.mu.Lock()
	if n.routes[r.way.key] == r {
		delete(n.routes, r.way.key)
	}
	unused := !r.retired && r.users == 0
	r.retired = true
	n.mu.Unlock()
	if unused {
		r.close()
	}
}

// superseded reports whether r, a connection that the peer keeps to this node, is
// stale and there is a later one.
func (n *Node) superseded(r *route, key string) bool {
	if !n.stale(r) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	newest := n.newest(key)
	return newest != nil && newest != r
}

// expired reports whether a call was refused because the certificate that this
// node showed on its connection has expired.
func expired(err error) bool {
	s, _ := status.FromError(err)
	return slices.ContainsFunc(s.Details(), func(d any) bool {
		r, ok := d.(*peerv1.Refusal)
		return ok && r.Reason == peerv1.Refusal_REASON_EXPIRED
	})
}

// checkReverse has nothing new begin on a connection that a peer keeps to this
// node when it is superseded, or its certificate has expired: what runs on it goes
// on to its end. The error is why it must end at once.
func (n *Node) checkReverse(r *route, key string) error {
	_, err := identity.VerifyPeer(rawChain(r.state), n.opt.Peers, n.opt.Now())
	if err != nil && !errors.Is(err, identity.ErrExpired) {
		return err
	}
	if err != nil || n.superseded(r, key) {
		n.retire(r)
	}
	return nil
}
