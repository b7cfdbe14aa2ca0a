package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"kontor/internal/fault"
)

const (
	invitePrefix  = "kontor-invite-v1:"
	inviteContext = "kontor invitation v1"
	maxInvite     = 4096 // characters, white space included
	maxAddress    = 255
)

// ErrInvitation is wrapped by the errors of [ParseInvitation].
var ErrInvitation = errors.New("not a valid invitation")

// Invitation is how one institution presents itself to another: its name, key
// and address, signed by that key. The signature proves that the parts belong
// together, not whose they are.
type Invitation struct {
	Name    string
	Address string // host:port, empty for an institution that takes no connections
	Key     PublicKey
	Created time.Time // whole seconds, UTC
}

// Fingerprint returns the fingerprint of the key, to be compared by telephone
// before the invitation is accepted.
func (inv *Invitation) Fingerprint() string { return Fingerprint(inv.Key) }

// CheckAddress returns an error unless address is host:port with a port of 1 to 65535.
func CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	bad := strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' })
	if err != nil || perr != nil || n == 0 || host == "" || bad || len(address) > maxAddress {
		return fault.New(fault.Usage, fmt.Sprintf("%.80q is not an address of the form host:port", address),
			"give the host name or IP address and the port by which peers reach this node")
	}
	return nil
}

// Invite returns a line of text by which others can pin this identity. address
// is where they reach its node; empty if they cannot and it only dials itself.
func (id *Identity) Invite(address string, now time.Time) (string, error) {
	if address != "" {
		if err := CheckAddress(address); err != nil {
			return "", err
		}
	}
	b := []byte{byte(len(id.name))}
	b = append(b, id.name...)
	b = append(b, byte(len(address)))
	b = append(b, address...)
	b = append(b, id.PublicKey()...)
	b = binary.BigEndian.AppendUint64(b, uint64(now.Unix()))
	b = append(b, id.Sign(inviteContext, b)...)
	return invitePrefix + base64.RawURLEncoding.EncodeToString(b), nil
}

// ParseInvitation reads the line that [Identity.Invite] wrote; white space that
// a mail program put into it is ignored. It checks form and signature and
// establishes no trust: compare [Invitation.Fingerprint] with what the
// institution says by another way before [Peers.Add]. The error wraps
// [ErrInvitation].
func ParseInvitation(text string) (*Invitation, error) {
	refuse := func(why string) (*Invitation, error) {
		return nil, fault.Wrap(fault.Trust, fmt.Errorf("%w: %s", ErrInvitation, why), "", "ask for the invitation again and copy all of its line")
	}
	if len(text) > maxInvite {
		return refuse("it is too long")
	}
	line := strings.Join(strings.Fields(text), "")
	body, ok := strings.CutPrefix(line, invitePrefix)
	if !ok {
		return refuse("it does not begin with " + invitePrefix)
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return refuse("a character is wrong or missing")
	}
	r := bytes.NewBuffer(data)
	name, ok1 := next(r)
	address, ok2 := next(r)
	if !ok1 || !ok2 || r.Len() != ed25519.PublicKeySize+8+ed25519.SignatureSize {
		return refuse("a part is missing")
	}
	key := PublicKey(bytes.Clone(r.Next(ed25519.PublicKeySize)))
	created := binary.BigEndian.Uint64(r.Next(8))
	inv := &Invitation{Name: name, Address: address, Key: key, Created: time.Unix(int64(created), 0).UTC()}
	if CheckName(name) != nil || address != "" && CheckAddress(address) != nil || created > uint64(forever.Unix()) {
		return refuse("its name, address or date is not allowed")
	}
	if !Verify(key, inviteContext, data[:len(data)-ed25519.SignatureSize], r.Bytes()) {
		return refuse("its signature is wrong")
	}
	return inv, nil
}

// next takes a string preceded by its length in one byte.
func next(r *bytes.Buffer) (string, bool) {
	n, err := r.ReadByte()
	if err != nil || r.Len() < int(n) {
		return "", false
	}
	return string(r.Next(int(n))), true
}
