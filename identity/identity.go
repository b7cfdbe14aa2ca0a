// Package identity is who an institution is to the others: one long-lived
// Ed25519 key, the short-lived certificate its node shows on every connection,
// the invitations by which institutions come to know each other, and the peers
// that a node has pinned.
//
// Trust is one thing only: the identity key that was pinned under a peer's name
// after two people compared its fingerprint. There is no certificate authority
// outside the institution, no host name that is believed, no system trust store.
// A node certificate is good if the pinned key signed it and today lies within
// its dates.
//
// Do not use it for the keys of a protocol: those are made fresh in a session
// and die with it.
//
// The formats (files, certificates, signatures, invitations) are specified in
// docs/formats/identity.md.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"kontor/internal/fault"
)

// PublicKey is an institution's identity: an Ed25519 public key of 32 bytes.
type PublicKey = ed25519.PublicKey

// Errors that callers may match with errors.Is. All of them reach the caller
// inside a [fault.Error] that says what to do.
var (
	ErrExists  = errors.New("there is an identity already") // use it, or choose another folder
	ErrNone    = errors.New("there is no identity")         // create one
	ErrExposed = errors.New("its key can be read by others")
	ErrDamaged = errors.New("the identity is damaged") // restore it from a backup
)

// NodeValidity is how long a node certificate lasts.
const NodeValidity = 90 * 24 * time.Hour

// backdate is how far a node certificate's start lies before its making, so that
// a peer whose clock is an hour behind, or was set to the wrong zone, takes it.
const backdate = 3 * time.Hour

// forever is the date by which RFC 5280 says that a certificate does not expire.
var forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Identity is an institution with its private keys. It is safe for concurrent use.
type Identity struct {
	name string
	key  ed25519.PrivateKey
	cert *x509.Certificate
	dir  string // empty for one that lives in memory

	mu   sync.Mutex
	node tls.Certificate // replaced whole by Renew
}

// CheckName returns an error unless name is one to 32 of a-z, 0-9 and "-".
func CheckName(name string) error {
	ok := len(name) >= 1 && len(name) <= 32
	for i := 0; i < len(name) && ok; i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if !ok {
		return fault.New(fault.Usage, fmt.Sprintf("the name %.40q is not one to 32 of a-z, 0-9 and \"-\"", name), "choose another name")
	}
	return nil
}

// Ephemeral returns an identity that lives in memory, for simulations and tests.
func Ephemeral(name string, now time.Time) (*Identity, error) {
	id, err := generate(name, now)
	if err != nil {
		return nil, err
	}
	if id.node, err = id.issue(now); err != nil {
		return nil, err
	}
	return id, nil
}

// generate makes a new key and its self-signed certificate, without a node certificate.
func generate(name string, now time.Time) (*Identity, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("identity: making a key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate).UTC(), NotAfter: forever,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: name}}, pub, key)
	if err != nil {
		return nil, fmt.Errorf("identity: making the certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("identity: reading the certificate back: %w", err)
	}
	return &Identity{name: name, key: key, cert: cert}, nil
}

// issue makes a node key and a certificate for it.
func (id *Identity) issue(now time.Time) (tls.Certificate, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("identity: making a node key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: id.name},
		NotBefore: now.Add(-backdate).UTC(), NotAfter: now.Add(NodeValidity).UTC(),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, id.cert, pub, id.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("identity: making the node certificate: %w", err)
	}
	return id.nodeCertificate(der, key)
}

func (id *Identity) nodeCertificate(der []byte, key ed25519.PrivateKey) (tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("identity: reading the node certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der, id.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f // positive, at most 20 bytes in DER
	b[0] |= 0x40 // and never zero
	return new(big.Int).SetBytes(b[:])
}

// Name returns the institution's name.
func (id *Identity) Name() string { return id.name }

// PublicKey returns the identity key.
func (id *Identity) PublicKey() PublicKey { return id.key.Public().(ed25519.PublicKey) }

// Fingerprint returns the fingerprint of the identity key, see [Fingerprint].
func (id *Identity) Fingerprint() string { return Fingerprint(id.PublicKey()) }

// Fingerprint returns what two people compare by telephone: the first 160 bits
// of the key's SHA-256 as ten groups of four hexadecimal digits.
func Fingerprint(key PublicKey) string {
	sum := sha256.Sum256(key)
	h := hex.EncodeToString(sum[:20])
	groups := make([]string, 0, 10)
	for i := 0; i < len(h); i += 4 {
		groups = append(groups, h[i:i+4])
	}
	return strings.Join(groups, "-")
}

// Sign signs msg with the identity key. context names what the signature is for
// ("kontor consent v1"); a signature made for one context is good for no other.
func (id *Identity) Sign(context string, msg []byte) []byte {
	return ed25519.Sign(id.key, signed(context, msg))
}

// Verify reports whether sig is pub's signature of msg for context.
func Verify(pub PublicKey, context string, msg, sig []byte) bool {
	return len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, signed(context, msg), sig)
}

// signed is what the key really signs. It begins with a letter and so can never
// be a certificate, which begins with 0x30; the hash fixes where context ends.
func signed(context string, msg []byte) []byte {
	c, m := sha256.Sum256([]byte(context)), sha256.Sum256(msg)
	return append(append([]byte("kontor signature v1\x00"), c[:]...), m[:]...)
}

// TLSCertificate returns the current node certificate, followed by the
// identity's own, and the node key. It is empty if the identity was loaded
// without one, see [Identity.NotAfter].
func (id *Identity) TLSCertificate() tls.Certificate {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.node
}

// NotAfter returns when the node certificate expires; the zero time if there is
// none. Whoever runs a node keeps it far away with [KeepFresh].
func (id *Identity) NotAfter() time.Time {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.node.Leaf == nil {
		return time.Time{}
	}
	return id.node.Leaf.NotAfter
}

// NotBefore returns from when on the node certificate is valid; the zero time if
// there is none.
func (id *Identity) NotBefore() time.Time {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.node.Leaf == nil {
		return time.Time{}
	}
	return id.node.Leaf.NotBefore
}

// Renew makes a new node key and certificate for the same identity, and keeps
// them where the identity was loaded from. Peers notice nothing.
func (id *Identity) Renew(now time.Time) error {
	node, err := id.issue(now)
	if err != nil {
		return err
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.dir != "" {
		if err := id.writeNode(node); err != nil {
			return err
		}
	}
	id.node = node
	return nil
}
