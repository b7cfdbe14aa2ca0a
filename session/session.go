// Package session is one run of one protocol between the parties of a job.
//
// A session gives a federated algorithm what it needs and no more: who takes
// part, typed messages in order, fresh public randomness that all parties share,
// and counters. It knows no transport: whoever opens it hands over one [Conn] a
// peer. Every message carries the tag of its step in the protocol, a sequence
// number and its round; a message that does not fit ends the session with an
// error that names the peer. A retry is a new session with a new identifier.
//
// The format of a message is in docs/formats/session.md.
package session

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"kontor/internal/fault"
)

// Roles of a party in a job.
const (
	Guest = "guest" // has the label and asked for the job
	Host  = "host"  // has features
)

// Party is an institution in one job.
type Party struct {
	Name string
	Role string // [Guest] or [Host]
}

// Conn is an ordered, authenticated channel of messages to one peer. Send and
// Recv may be called at the same time, each from one goroutine at a time.
type Conn interface {
	// Send sends one message, the concatenation of its parts. It returns when the
	// transport has taken them over; the parts may be reused then.
	Send(ctx context.Context, parts ...[]byte) error
	// Recv returns the next message; one longer than limit bytes is an error.
	Recv(ctx context.Context, limit int) ([]byte, error)
}

// ID names a session. It is derived from the nonces of all parties, so that no
// party can choose it, and is never used twice.
type ID [32]byte

// Derive returns the identifier for label under id, for sessions within a run
// and for public randomness within a session.
func (id ID) Derive(label string) ID {
	h := sha256.New()
	h.Write([]byte("kontor session v1\x00"))
	h.Write(id[:])
	h.Write([]byte(label))
	return ID(h.Sum(nil))
}

// Session is one run of one protocol, seen from one party.
type Session struct {
	id       ID
	step     string
	self     Party
	parties  []Party
	links    map[string]*link
	progress func(done, total int64, unit string)

	mu     sync.Mutex
	clock  uint32 // the highest round received
	rounds uint32 // the highest round sent or received
	stats  map[statKey]*Traffic
}

type link struct {
	conn     Conn
	sendMu   sync.Mutex
	recvMu   sync.Mutex
	sent     uint32 // messages sent so far
	round    uint32 // of the last message sent
	received uint32
}

type statKey struct {
	peer, tag string
	sent      bool
}

// Traffic counts the messages of one tag to or from one peer.
type Traffic struct {
	Peer     string `json:"peer"`
	Tag      string `json:"tag"`
	Sent     bool   `json:"sent"` // sent by this party, else received
	Messages int64  `json:"messages"`
	Bytes    int64  `json:"bytes"` // session message bytes, without TLS and gRPC framing
}

// Stats is what a session has moved so far.
type Stats struct {
	BytesSent     int64
	BytesReceived int64
	Rounds        int // the longest chain of messages of which each waited for the one before
	Traffic       []Traffic
}

// Config is what a session is opened with.
type Config struct {
	ID       ID
	Step     string  // the step of the job, for errors
	Self     string  // this party's name
	Parties  []Party // all parties, in the order of the job, the guest among them
	Conns    map[string]Conn
	Progress func(done, total int64, unit string) // may be nil
}

// New returns a session. A host may be connected to the guest alone. Its error
// is a defect of the caller: the guest and a host without connection, or not
// exactly one guest.
func New(c Config) (*Session, error) {
	s := &Session{id: c.ID, step: c.Step, parties: slices.Clone(c.Parties), links: map[string]*link{},
		progress: c.Progress, stats: map[statKey]*Traffic{}}
	guests := 0
	for _, p := range c.Parties {
		if p.Role == Guest {
			guests++
		}
		if p.Name == c.Self {
			s.self = p
			continue
		}
		if conn := c.Conns[p.Name]; conn != nil {
			s.links[p.Name] = &link{conn: conn}
		}
	}
	for _, p := range c.Parties {
		if p.Name != c.Self && (s.self.Role == Guest || p.Role == Guest) && s.links[p.Name] == nil {
			return nil, fmt.Errorf("session: no connection to %s", p.Name)
		}
	}
	if guests != 1 || s.self.Name == "" {
		return nil, fmt.Errorf("session: want one guest and %q among the parties, got %v", c.Self, c.Parties)
	}
	return s, nil
}

// ID returns the session's identifier; it serves as public randomness too.
func (s *Session) ID() ID { return s.id }

// Self returns this party.
func (s *Session) Self() Party { return s.self }

// Parties returns all parties in the order of the job.
func (s *Session) Parties() []Party { return slices.Clone(s.parties) }

// Guest returns the guest's name.
func (s *Session) Guest() string {
	i := slices.IndexFunc(s.parties, func(p Party) bool { return p.Role == Guest })
	return s.parties[i].Name
}

// Hosts returns the hosts' names in the order of the job.
func (s *Session) Hosts() []string {
	var hs []string
	for _, p := range s.parties {
		if p.Role == Host {
			hs = append(hs, p.Name)
		}
	}
	return hs
}

// Progress reports that done of total units of the step's work are done. It may
// be called often and from any goroutine.
func (s *Session) Progress(done, total int64, unit string) {
	if s.progress != nil {
		s.progress(done, total, unit)
	}
}

const (
	formatVersion = 1
	maxTag        = 64
	maxHeader     = 1 + 4 + 4 + 1 + maxTag
	maxRounds     = 1 << 30 // a peer may claim any round; the count stops here
)

// Bytes is a message without structure.
type Bytes []byte

// MarshalBinary implements encoding.BinaryMarshaler.
func (b Bytes) MarshalBinary() ([]byte, error) { return b, nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler. It keeps data.
func (b *Bytes) UnmarshalBinary(data []byte) error { *b = data; return nil }

// Send sends m to one peer. tag names the message within the protocol; the peer
// must ask for the same tag. It blocks while the peer is not ready to take more,
// so two parties that both send much before they receive must do so from
// goroutines of their own.
func (s *Session) Send(ctx context.Context, to, tag string, m encoding.BinaryMarshaler) error {
	return s.send(ctx, to, tag, m, false)
}

// SendMore is [Session.Send] for a further part of what the last message to this
// peer began: it waits for nothing received since and counts as the same round.
func (s *Session) SendMore(ctx context.Context, to, tag string, m encoding.BinaryMarshaler) error {
	return s.send(ctx, to, tag, m, true)
}

func (s *Session) send(ctx context.Context, to, tag string, m encoding.BinaryMarshaler, more bool) error {
	l := s.links[to]
	if l == nil || len(tag) == 0 || len(tag) > maxTag {
		return fmt.Errorf("session: cannot send %q to %q", tag, to)
	}
	body, err := m.MarshalBinary()
	if err != nil {
		return fmt.Errorf("encoding %s: %w", tag, err)
	}
	l.sendMu.Lock()
	defer l.sendMu.Unlock()
	if !more || l.sent == 0 {
		s.mu.Lock()
		l.round = s.clock + 1
		s.mu.Unlock()
	}
	head := make([]byte, 0, maxHeader)
	head = append(head, formatVersion)
	head = binary.BigEndian.AppendUint32(head, l.sent)
	head = binary.BigEndian.AppendUint32(head, l.round)
	head = append(head, byte(len(tag)))
	head = append(head, tag...)
	if err := l.conn.Send(ctx, head, body); err != nil {
		return fault.At(err, to, s.step)
	}
	l.sent++
	s.count(to, tag, true, len(head)+len(body), l.round)
	return nil
}

// Recv receives the next message of one peer into m. Its body may have up to
// limit bytes. The error is a [fault.Error] that names the peer where the peer
// sent another tag, a wrong sequence number, too much, or what m cannot decode.
func (s *Session) Recv(ctx context.Context, from, tag string, limit int, m encoding.BinaryUnmarshaler) error {
	l := s.links[from]
	if l == nil {
		return fmt.Errorf("session: %q is no peer", from)
	}
	l.recvMu.Lock()
	defer l.recvMu.Unlock()
	msg, err := l.conn.Recv(ctx, limit+maxHeader)
	if err != nil {
		return fault.At(err, from, s.step)
	}
	seq, round, got, body, err := parseHeader(msg)
	switch {
	case err != nil:
		return s.violation(from, err.Error(), nil)
	case got != tag:
		return s.violation(from, fmt.Sprintf("it sent %q where %q was expected", got, tag), nil)
	case seq != l.received:
		return s.violation(from, fmt.Sprintf("message %d of the session came where %d was expected", seq, l.received), nil)
	case len(body) > limit:
		return s.violation(from, fmt.Sprintf("%q has %d bytes, at most %d are allowed", tag, len(body), limit), nil)
	}
	l.received++
	s.count(from, tag, false, len(msg), round)
	if err := m.UnmarshalBinary(body); err != nil {
		return s.violation(from, fmt.Sprintf("%q cannot be decoded", tag), err)
	}
	return nil
}

// Violation returns the error for a peer that broke the protocol; algorithms use
// it for messages that decode but make no sense.
func (s *Session) Violation(peer, what string) error { return s.violation(peer, what, nil) }

func (s *Session) violation(peer, what string, err error) error {
	return &fault.Error{Kind: fault.Protocol, Party: peer, Step: s.step, What: what, Err: err,
		Cure: "check that the peer runs an unmodified Kontor of the same version, then run the job again"}
}

func parseHeader(msg []byte) (seq, round uint32, tag string, body []byte, err error) {
	if len(msg) < 10 {
		return 0, 0, "", nil, fmt.Errorf("it sent a message of %d bytes, too short for a header", len(msg))
	}
	if msg[0] != formatVersion {
		return 0, 0, "", nil, fmt.Errorf("it sent message format %d, this is %d", msg[0], formatVersion)
	}
	seq, round = binary.BigEndian.Uint32(msg[1:]), binary.BigEndian.Uint32(msg[5:])
	n := int(msg[9])
	if n == 0 || n > maxTag || len(msg) < 10+n {
		return 0, 0, "", nil, fmt.Errorf("it sent a message with a malformed tag")
	}
	return seq, round, string(msg[10 : 10+n]), msg[10+n:], nil
}

func (s *Session) count(peer, tag string, sent bool, bytes int, round uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	round = min(round, maxRounds)
	s.rounds = max(s.rounds, round)
	if !sent {
		s.clock = max(s.clock, round)
	}
	k := statKey{peer, tag, sent}
	t := s.stats[k]
	if t == nil {
		t = &Traffic{Peer: peer, Tag: tag, Sent: sent}
		s.stats[k] = t
	}
	t.Messages++
	t.Bytes += int64(bytes)
}
