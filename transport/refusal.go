package transport

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

// refusal is the status by which a caller is turned down: a code, a sentence,
// and the same for machines.
func refusal(code codes.Code, r *peerv1.Refusal) error {
	s, err := status.New(code, r.Text).WithDetails(r)
	if err != nil {
		return status.Error(code, r.Text)
	}
	return s.Err()
}

// certificateRefusal tells a caller what is wrong with its certificate.
func certificateRefusal(err error) error {
	r := &peerv1.Refusal{Reason: peerv1.Refusal_REASON_MALFORMED, Text: "the certificate is not one of a Kontor node"}
	var c *identity.CertificateError
	switch {
	case !errors.As(err, &c):
		return refusal(codes.Internal, &peerv1.Refusal{Reason: peerv1.Refusal_REASON_LOCAL, Text: "the node cannot read its list of peers"})
	case errors.Is(err, identity.ErrUnknown):
		r.Reason, r.Text = peerv1.Refusal_REASON_UNKNOWN, "the identity with fingerprint "+c.Fingerprint+" is not known here"
	case errors.Is(err, identity.ErrExpired):
		r.Reason, r.Text = peerv1.Refusal_REASON_EXPIRED, c.Error()
	case errors.Is(err, identity.ErrNotYet):
		r.Reason, r.Text = peerv1.Refusal_REASON_NOT_YET, c.Error()
	}
	return refusal(codes.Unauthenticated, r)
}

// ending is how the stream or call to a peer ended.
type ending struct {
	err   error // a fault that names the peer
	retry bool  // nothing was settled; another connection may do better
}

// ended says what the error of a gRPC call or stream means.
func (n *Node) ended(peer string, err error) ending {
	if errors.Is(err, io.EOF) {
		return ending{err: lost(peer, "its node ended the session without a word")}
	}
	s, _ := status.FromError(err)
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *peerv1.Refusal:
			return n.turnedDown(peer, d)
		case *peerv1.Abort:
			return ending{err: aborted(peer, d.Text)}
		}
	}
	switch s.Code() {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return ending{err: lost(peer, "connection lost"), retry: true}
	case codes.Unimplemented:
		return ending{err: &fault.Error{Kind: fault.Version, Party: peer, What: "its node does not know a call of this Kontor",
			Cure: fmt.Sprintf("upgrade Kontor at %s to %s or later", peer, software(n.greeting))}}
	case codes.ResourceExhausted, codes.Internal:
		// A packet over the size limit, or one that cannot be decoded.
		return ending{err: violation(peer, fmt.Errorf("a packet was not allowed on the wire (%s)", clean(s.Message(), 200)))}
	}
	return ending{err: lost(peer, fmt.Sprintf("%s: %s", s.Code(), clean(s.Message(), 200)))}
}

func lost(peer, how string) error {
	return &fault.Error{Kind: fault.Peer, Party: peer, What: "it went away (" + how + ")",
		Cure: "check that its node is running and what it has printed, then run the job again"}
}

// turnedDown says what a peer's refusal means to this side. Its words are used
// only where this side has none of its own.
func (n *Node) turnedDown(peer string, r *peerv1.Refusal) ending {
	self := n.opt.Identity
	f := &fault.Error{Kind: fault.Trust, Party: peer}
	retry := false
	switch r.Reason {
	case peerv1.Refusal_REASON_UNKNOWN:
		f.What = fmt.Sprintf("it does not know this institution (%s, fingerprint %s)", self.Name(), self.Fingerprint())
		f.Cure = "send it your invitation and have it compare the fingerprint"
	case peerv1.Refusal_REASON_EXPIRED:
		f.What = "it refused the certificate of this node, which expired on " + self.NotAfter().UTC().Format("2006-01-02 15:04 UTC")
		f.Cure = "renew the certificate of this node; the identity stays as it is"
	case peerv1.Refusal_REASON_NOT_YET:
		f.What = "it refused the certificate of this node as not valid yet: one of the two clocks is wrong"
		f.Cure = "set the clock of this machine and renew its certificate, or ask the peer to set its own (NTP)"
	case peerv1.Refusal_REASON_MALFORMED:
		f.What = "it refused the certificate of this node as malformed"
		f.Cure = "renew the certificate of this node"
	case peerv1.Refusal_REASON_NAME:
		f.What = fmt.Sprintf("it knows this institution as %s, here it is %s", clean(r.Name, 32), self.Name())
		f.Cure = "agree on one name and have the peer add your invitation again"
	case peerv1.Refusal_REASON_VERSION:
		f.Kind = fault.Version
		if checkGreeting(r.Greeting) == nil {
			if err := fits(n.greeting, r.Greeting, peer); err != nil {
				return ending{err: err}
			}
		}
		f.What, f.Cure = "it refused the version of this Kontor: "+clean(r.Text, 200), "run the same version on both sides"
	case peerv1.Refusal_REASON_REPLAY:
		f.Kind, f.What, f.Cure = fault.Protocol, "it has seen this session before", "run the job again, which makes a new session"
	case peerv1.Refusal_REASON_NO_WAY:
		f.Kind, f.Err, f.Cure = fault.Peer, errNoWay, "check that the party's node is running and dials out to it"
		retry = true
	case peerv1.Refusal_REASON_CROWDED:
		f.Kind, f.Err, f.Cure = fault.Peer, ErrBusy, "try again a moment later"
	case peerv1.Refusal_REASON_BUSY:
		f.Kind, f.What, f.Cure = fault.Peer, "too many sessions wait at its node", "look there for jobs that do not proceed"
	case peerv1.Refusal_REASON_LOCAL:
		f.Kind, f.What, f.Cure = fault.Peer, "its node cannot take the session: "+clean(r.Text, 200), "look there for the reason"
		retry = true
	default:
		f.Kind, f.What, f.Cure = fault.Protocol, "it refused what this node sent: "+clean(r.Text, 200), "run the same version on both sides"
	}
	return ending{err: f, retry: retry}
}

// asFault makes any error one that names the peer.
func asFault(err error, peer string) error {
	if err == nil {
		err = &fault.Error{Kind: fault.Cancelled, Party: peer, What: "the session was given up", Cure: "run the job again"}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &fault.Error{Kind: fault.Peer, Party: peer, Err: err, Cure: "run the job again"}
	}
	return fault.At(err, peer, "")
}

// cutOff is the error of sending after a message was cut off in the middle.
func cutOff(peer string) error {
	return &fault.Error{Kind: fault.Cancelled, Party: peer, What: "an earlier message was stopped half way", Cure: "run the job again"}
}
