package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"kontor/internal/fault"
)

// Why [VerifyPeer] refuses a certificate.
var (
	ErrUnknown   = errors.New("unknown identity")          // pin it after comparing the fingerprint
	ErrExpired   = errors.New("certificate expired")       // the peer renews it
	ErrNotYet    = errors.New("certificate not valid yet") // one of two clocks is wrong
	ErrMalformed = errors.New("malformed certificate")     // not a Kontor node
)

// CertificateError is what [VerifyPeer] found, inside a [fault.Error] of kind
// [fault.Trust]. It wraps one of [ErrUnknown], [ErrExpired], [ErrNotYet] and
// [ErrMalformed].
type CertificateError struct {
	Reason      error
	Name        string    // of the pinned peer; what the certificate claims if it is unknown
	Fingerprint string    // of the identity key; empty if malformed
	NotBefore   time.Time // of the node certificate, for ErrNotYet
	NotAfter    time.Time // of the node certificate, for ErrExpired
	Now         time.Time // by the clock of this machine
	Detail      string    // for ErrMalformed
}

// dateFormat is how dates in certificates are shown to people.
const dateFormat = "2006-01-02 15:04 UTC"

// Error implements error.
func (e *CertificateError) Error() string {
	switch e.Reason {
	case ErrUnknown:
		return fmt.Sprintf("its identity is not known here (it calls itself %q, fingerprint %s)", e.Name, e.Fingerprint)
	case ErrExpired:
		return fmt.Sprintf("the certificate of its node expired on %s", e.NotAfter.UTC().Format(dateFormat))
	case ErrNotYet:
		return fmt.Sprintf("the certificate of its node is valid from %s, the clock here says %s: one of the two clocks is wrong by %s or more",
			e.NotBefore.UTC().Format(dateFormat), e.Now.UTC().Format(dateFormat), e.NotBefore.Sub(e.Now).Round(time.Minute))
	}
	return fmt.Sprintf("its certificate is malformed: %s", e.Detail)
}

// Unwrap returns the reason.
func (e *CertificateError) Unwrap() error { return e.Reason }

func (e *CertificateError) fault() error {
	cure := "check that the address is that of a Kontor node"
	switch e.Reason {
	case ErrUnknown:
		cure = "if this is the institution that you expect, compare the fingerprint with it by telephone and add its invitation"
	case ErrExpired:
		cure = "ask " + e.Name + " to renew the certificate of its node; the identity and what is pinned stay as they are"
	case ErrNotYet:
		cure = "set the clock of this machine or ask " + e.Name + " to set its own (NTP)"
	}
	party := e.Name
	if e.Reason == ErrUnknown || e.Reason == ErrMalformed {
		party = "" // the name is only claimed
	}
	return &fault.Error{Kind: fault.Trust, Party: party, Err: e, Cure: cure}
}

// maxCertificate bounds one certificate in bytes; ours have under 500.
const maxCertificate = 8 << 10

// VerifyPeer returns the pinned peer that a TLS chain belongs to. The chain is
// the node certificate and the identity certificate, raw, as TLS hands them over;
// TLS has proved already that the other side holds the node key. The error is a
// [fault.Error] of kind [fault.Trust] around a [CertificateError], or of kind
// [fault.Local] if the peers cannot be read.
func VerifyPeer(chain [][]byte, peers *Peers, now time.Time) (Peer, error) {
	malformed := func(detail string) (Peer, error) {
		return Peer{}, (&CertificateError{Reason: ErrMalformed, Now: now, Detail: detail}).fault()
	}
	if len(chain) != 2 || len(chain[0]) > maxCertificate || len(chain[1]) > maxCertificate {
		return malformed("the chain is not a node certificate and an identity certificate")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return malformed("the node certificate cannot be read")
	}
	ca, err := x509.ParseCertificate(chain[1])
	if err != nil {
		return malformed("the identity certificate cannot be read")
	}
	key := publicKey(ca)
	if key == nil || publicKey(leaf) == nil || leaf.IsCA {
		return malformed("it is not an Ed25519 node certificate under an Ed25519 identity")
	}
	peer, err := peers.ByKey(key)
	if errors.Is(err, ErrUnknown) {
		claimed := ca.Subject.CommonName
		if CheckName(claimed) != nil {
			claimed = "?"
		}
		return Peer{}, (&CertificateError{Reason: ErrUnknown, Name: claimed, Fingerprint: Fingerprint(key), Now: now}).fault()
	}
	if err != nil {
		return Peer{}, err
	}
	// From here on the key is the pinned one. What else the identity certificate
	// says does not matter: nothing but the key is trusted.
	if !signedBy(leaf, peer.Key) {
		return malformed("the node certificate is not signed by the identity " + peer.Name + " that it shows")
	}
	e := &CertificateError{Name: peer.Name, Fingerprint: Fingerprint(key), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Now: now}
	switch {
	case now.After(leaf.NotAfter):
		e.Reason = ErrExpired
		return Peer{}, e.fault()
	case now.Before(leaf.NotBefore):
		e.Reason = ErrNotYet
		return Peer{}, e.fault()
	}
	return peer, nil
}

// publicKey returns the Ed25519 key of c, nil if it has another kind.
func publicKey(c *x509.Certificate) PublicKey {
	k, _ := c.PublicKey.(ed25519.PublicKey)
	return k
}

// signedBy reports whether key itself signed c. It needs no more than that, so
// it does not ask x509 to build a path.
func signedBy(c *x509.Certificate, key PublicKey) bool {
	return c.SignatureAlgorithm == x509.PureEd25519 && len(key) == ed25519.PublicKeySize &&
		ed25519.Verify(key, c.RawTBSCertificate, c.Signature)
}
