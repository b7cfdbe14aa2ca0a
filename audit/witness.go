package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"kontor/identity"
	"kontor/internal/fault"
	"kontor/store"
)

// Head is the state of a log at one time, signed by its node: entry Seq has the
// hash Hash, and with it all entries before it are fixed.
type Head struct {
	Node      string    `json:"node"`
	Seq       int64     `json:"seq"`  // 0 for an empty log
	Hash      string    `json:"hash"` // 64 hexadecimal digits
	Time      time.Time `json:"time"` // when it was signed
	Signature []byte    `json:"signature"`
}

// text is what is signed.
func (h Head) text() []byte {
	return canonical(map[string]any{"format": Format, "node": h.Node, "seq": h.Seq, "hash": h.Hash, "time": stamp(h.Time)})
}

// Verify reports whether key signed h and h is well-formed.
func (h Head) Verify(key ed25519.PublicKey) bool {
	return h.Seq >= 0 && digest(h.Hash) && identity.CheckName(h.Node) == nil && identity.Verify(key, contextHead, h.text(), h.Signature)
}

func digest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && strings.ToLower(s) == s
}

// Head returns the log's head, signed now.
func (l *Log) Head(ctx context.Context) (Head, error) {
	var h Head
	err := l.db.Read(ctx, func(t *store.Tx) (err error) {
		h, err = l.head(ctx, t, 1<<62)
		return err
	})
	return h, err
}

// head returns the head as of entry seq, or the last one before it.
func (l *Log) head(ctx context.Context, t *store.Tx, seq int64) (Head, error) {
	h := Head{Node: l.signer.Name(), Hash: strings.Repeat("0", 2*sha256.Size), Time: time.Now().UTC().Truncate(time.Microsecond)}
	err := t.QueryRow(ctx, "SELECT seq, hash FROM audit WHERE seq <= ? ORDER BY seq DESC LIMIT 1", seq).Scan(&h.Seq, &h.Hash)
	if err != nil && !store.None(err) {
		return Head{}, err
	}
	h.Signature = l.signer.Sign(contextHead, h.text())
	return h, nil
}

// Receipt is a peer's word that it has seen a head of ours, or ours that we have
// seen one of a peer's.
type Receipt struct {
	Head      Head   `json:"head"`
	By        string `json:"by"`
	Signature []byte `json:"signature"`
}

func (r Receipt) text() []byte {
	h := r.Head
	return canonical(map[string]any{"format": Format, "by": r.By, "node": h.Node, "seq": h.Seq, "hash": h.Hash, "time": stamp(h.Time)})
}

// Verify reports whether the node with the key owner signed the head and the one
// with the key by the receipt.
func (r Receipt) Verify(owner, by ed25519.PublicKey) bool {
	return r.Head.Verify(owner) && identity.CheckName(r.By) == nil && identity.Verify(by, contextReceipt, r.text(), r.Signature)
}

// Countersign returns this node's receipt for a head of the peer with that name and key.
func (l *Log) Countersign(peer string, key ed25519.PublicKey, head Head) (Receipt, error) {
	if err := checkHead(peer, key, head); err != nil {
		return Receipt{}, err
	}
	r := Receipt{Head: head, By: l.signer.Name()}
	r.Signature = l.signer.Sign(contextReceipt, r.text())
	return r, nil
}

func checkHead(peer string, key ed25519.PublicKey, head Head) error {
	if head.Node != peer || !head.Verify(key) {
		return atPeer(fault.Protocol, peer, "it sent a head of its audit log that it did not sign", "ask its operator to run kontor audit verify")
	}
	return nil
}

func atPeer(kind fault.Kind, peer, what, cure string) error {
	f := fault.New(kind, what, cure)
	f.Party = peer
	return f
}

// Witness records a peer's head in this log and, if receipt is not nil, the peer's
// receipt for a head of ours. Both are checked first. A [fault.Error] of kind [fault.Trust] says
// that a history was rewritten: the peer's, if it once signed another entry of the same
// number, or ours, if it no longer holds what the peer saw.
func (l *Log) Witness(ctx context.Context, t *store.Tx, peer string, key ed25519.PublicKey, head Head, receipt *Receipt) error {
	if err := checkHead(peer, key, head); err != nil {
		return err
	}
	if err := l.remember(ctx, t, peer, key, head); err != nil {
		return err
	}
	detail := map[string]any{"peer": peer, "identity": base64.StdEncoding.EncodeToString(key), "head": head.members()}
	if receipt != nil {
		if err := l.checkReceipt(ctx, t, peer, key, *receipt); err != nil {
			return err
		}
		detail["receipt"] = map[string]any{"head": receipt.Head.members(), "by": receipt.By, "signature": base64.StdEncoding.EncodeToString(receipt.Signature)}
	}
	return l.Append(t, Event{Actor: peer, Action: actionWitness, Object: "audit " + peer, Detail: detail})
}

// actionWitness is the action of the entries that hold a peer's head.
const actionWitness = "audit.witness"

// remember compares the head with what the peer signed before, and keeps it.
func (l *Log) remember(ctx context.Context, t *store.Tx, peer string, key ed25519.PublicKey, head Head) error {
	var before string
	err := t.QueryRow(ctx, "SELECT hash FROM audit_witness WHERE identity = ? AND seq = ?", hex.EncodeToString(key), head.Seq).Scan(&before)
	switch {
	case store.None(err):
		_, err = t.Exec(ctx, "INSERT INTO audit_witness (identity, seq, hash) VALUES (?, ?, ?)", hex.EncodeToString(key), head.Seq, head.Hash)
		return err
	case err != nil:
		return err
	case before != head.Hash:
		return atPeer(fault.Trust, peer, fmt.Sprintf("its audit log was rewritten: entry %d had the hash %.16s… and now has %.16s…", head.Seq, before, head.Hash),
			"ask its operator why; a folder restored from a backup also does this")
	}
	return nil
}

func (l *Log) checkReceipt(ctx context.Context, t *store.Tx, peer string, key ed25519.PublicKey, r Receipt) error {
	if r.By != peer || r.Head.Node != l.signer.Name() || !r.Verify(l.signer.PublicKey(), key) {
		return atPeer(fault.Protocol, peer, "it sent a receipt for the audit log that does not hold", "ask its operator to run kontor audit verify")
	}
	own, err := l.head(ctx, t, r.Head.Seq)
	if err != nil {
		return err
	}
	if own.Seq != r.Head.Seq || own.Hash != r.Head.Hash {
		return fault.New(fault.Trust, fmt.Sprintf("the audit log of this node no longer holds entry %d as %s has witnessed it", r.Head.Seq, peer),
			"run kontor audit verify; tell the partners if the node's folder was restored from a backup")
	}
	return nil
}

// members returns the head as it stands in a detail.
func (h Head) members() map[string]any {
	return map[string]any{"node": h.Node, "seq": h.Seq, "hash": h.Hash, "time": stamp(h.Time), "signature": base64.StdEncoding.EncodeToString(h.Signature)}
}
