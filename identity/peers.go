package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"kontor/internal/fault"
)

// ErrConflict is wrapped by [Peers.Add] where a name or a key is pinned otherwise.
var ErrConflict = errors.New("another identity is pinned already")

// Peer is an institution whose identity key is pinned.
type Peer struct {
	Name    string    `json:"name"`
	Address string    `json:"address,omitempty"` // host:port, empty if it only dials
	Key     PublicKey `json:"key"`
	Added   time.Time `json:"added"`
}

// Fingerprint returns the fingerprint of the pinned key.
func (p Peer) Fingerprint() string { return Fingerprint(p.Key) }

// Peers are the institutions that a node knows, one file a peer. Files are read
// on every call, so that a peer that is added or removed while a node runs
// counts at once. It is safe for concurrent use.
type Peers struct {
	dir string // empty: in memory

	mu    sync.Mutex
	known map[string]Peer // in memory only
}

// OpenPeers returns the peers kept in dir/peers, where dir is the folder of the
// identity. The folder need not exist yet.
func OpenPeers(dir string) *Peers { return &Peers{dir: filepath.Join(dir, "peers")} }

// MemoryPeers returns peers that live in memory, none to begin with.
func MemoryPeers() *Peers { return &Peers{known: map[string]Peer{}} }

// peerRecord is the file of a peer. The fingerprint is there for people who look
// at it and must fit the key.
type peerRecord struct {
	Version     int    `json:"version"`
	Fingerprint string `json:"fingerprint"`
	Peer
}

// Add pins the identity of inv under its name. If it is pinned already, its
// address is replaced. The error wraps [ErrConflict] where the name has another
// key or the key another name: then somebody is not who they say, or has lost
// their key, and a person must decide.
func (ps *Peers) Add(inv *Invitation, now time.Time) error {
	p := Peer{Name: inv.Name, Address: inv.Address, Key: inv.Key, Added: now.UTC().Truncate(time.Second)}
	if err := p.check(); err != nil {
		return err
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	all, err := ps.list()
	if err != nil {
		return err
	}
	for _, q := range all {
		same := bytes.Equal(q.Key, p.Key)
		if same && q.Name == p.Name {
			p.Added = q.Added
		} else if same || q.Name == p.Name {
			return &fault.Error{Kind: fault.Trust, Party: p.Name,
				Err:  fmt.Errorf("%w: %s with fingerprint %s", ErrConflict, q.Name, q.Fingerprint()),
				Cure: "ask the institution by telephone what happened; only if its identity really changed, remove " + q.Name + " and add the invitation again"}
		}
	}
	if ps.dir == "" {
		ps.known[p.Name] = p
		return nil
	}
	data, err := json.MarshalIndent(peerRecord{Version: 1, Fingerprint: p.Fingerprint(), Peer: p}, "", "  ")
	if err == nil {
		err = os.MkdirAll(ps.dir, 0o700)
	}
	if err == nil {
		err = writeFile(ps.path(p.Name), append(data, '\n'))
	}
	if err != nil {
		return fault.Wrap(fault.Local, err, "the peer cannot be written", "check space and permissions of the folder")
	}
	return nil
}

func (p Peer) check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if p.Address != "" {
		if err := CheckAddress(p.Address); err != nil {
			return err
		}
	}
	if len(p.Key) != ed25519.PublicKeySize {
		return fmt.Errorf("identity: a key has %d bytes, got %d", ed25519.PublicKeySize, len(p.Key))
	}
	return nil
}

func (ps *Peers) path(name string) string { return filepath.Join(ps.dir, name+".json") }

// Get returns the peer of that name. The error wraps [ErrUnknown] if there is none.
func (ps *Peers) Get(name string) (Peer, error) {
	all, err := ps.List()
	if err != nil {
		return Peer{}, err
	}
	if i := slices.IndexFunc(all, func(p Peer) bool { return p.Name == name }); i >= 0 {
		return all[i], nil
	}
	return Peer{}, &fault.Error{Kind: fault.Trust, Party: name, What: "this node does not know the party", Err: ErrUnknown,
		Cure: "ask it for an invitation, compare the fingerprint and add it"}
}

// ByKey returns the peer with that identity key. The error wraps [ErrUnknown] if
// there is none.
func (ps *Peers) ByKey(key PublicKey) (Peer, error) {
	all, err := ps.List()
	if err != nil {
		return Peer{}, err
	}
	if i := slices.IndexFunc(all, func(p Peer) bool { return bytes.Equal(p.Key, key) }); i >= 0 {
		return all[i], nil
	}
	return Peer{}, fmt.Errorf("%w: fingerprint %s", ErrUnknown, Fingerprint(key))
}

// Remove forgets a peer. Connections that it has end with their sessions; new
// ones are refused. The error wraps [ErrUnknown] if it was not known.
func (ps *Peers) Remove(name string) error {
	if _, err := ps.Get(name); err != nil {
		return err
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.dir == "" {
		delete(ps.known, name)
		return nil
	}
	err := os.Remove(ps.path(name))
	if err == nil {
		err = syncDir(ps.dir)
	}
	if err != nil {
		return fault.Wrap(fault.Local, err, "the peer cannot be removed", "check the permissions of the folder")
	}
	return nil
}

// List returns all peers, sorted by name.
func (ps *Peers) List() ([]Peer, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.list()
}

func (ps *Peers) list() ([]Peer, error) {
	var all []Peer
	if ps.dir == "" {
		for _, p := range ps.known {
			all = append(all, p)
		}
	} else {
		entries, err := os.ReadDir(ps.dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fault.Wrap(fault.Local, err, "the known peers cannot be read", "check the permissions of the folder")
		}
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), ".json")
			if !ok || CheckName(name) != nil {
				continue // a file being written, or one of an editor
			}
			p, err := ps.read(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed since
			}
			if err != nil {
				return nil, fault.Wrap(fault.Local, err, "the file of peer "+name+" cannot be used", "delete "+ps.path(name)+" and add its invitation again")
			}
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (ps *Peers) read(name string) (Peer, error) {
	data, err := readBounded(ps.path(name))
	if err != nil {
		return Peer{}, err
	}
	return parsePeer(name, data)
}

func parsePeer(name string, data []byte) (Peer, error) {
	var r peerRecord
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Peer{}, fmt.Errorf("reading: %w", err)
	}
	if d.More() {
		return Peer{}, errors.New("there is something after the record")
	}
	if r.Version != 1 {
		return Peer{}, fmt.Errorf("format version %d is not known here", r.Version)
	}
	if err := r.check(); err != nil {
		return Peer{}, err
	}
	if r.Name != name || r.Fingerprint != r.Peer.Fingerprint() {
		return Peer{}, errors.New("name or fingerprint do not fit")
	}
	return r.Peer, nil
}
