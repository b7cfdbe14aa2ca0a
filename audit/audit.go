// Package audit is a node's record of what happened on it: jobs, approvals,
// changes of data, logins, predictions. Each entry holds the hash of the one
// before and is signed by the institution's key, so that an edit, a gap or
// another order shows. At a job's end the parties sign each other's latest entry;
// so not even the owner of the key can rewrite what others have witnessed.
//
// It proves that what is in the log was not changed later, not that it was true
// when it was written, nor that nothing was left out. Do not put secrets or
// rows of data into it: it is made to be handed out.
//
// The format is specified in docs/formats/audit.md.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"kontor/identity"
	"kontor/internal/fault"
	"kontor/store"
)

const (
	// Format names the format of entries and exports.
	Format = "kontor-audit-v1"

	contextEntry   = "kontor audit v1"
	contextHead    = "kontor audit head v1"
	contextReceipt = "kontor audit receipt v1"

	maxActor  = 256
	maxAction = 64
	maxObject = 1024
)

var tables = []string{
	`CREATE TABLE audit (seq INTEGER PRIMARY KEY, time TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL,
		entry TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, signature BLOB NOT NULL) STRICT`,
	"CREATE INDEX audit_object ON audit (object, seq)",
	"CREATE INDEX audit_action ON audit (action, seq)",
	`CREATE TABLE audit_witness (identity TEXT NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (identity, seq)) STRICT, WITHOUT ROWID`,
}

// Signer is who signs the log. identity.Identity is one.
type Signer interface {
	Name() string
	PublicKey() identity.PublicKey
	Sign(context string, msg []byte) []byte
}

// Event is what happened.
type Event struct {
	Time   time.Time      // now if zero
	Actor  string         // who did it: a user's token by its name, a peer, "node"
	Action string         // what, in lower case with dots: "job.approve"
	Object string         // to what: "job 3f9a…", "data customers"
	Detail map[string]any // more, see docs/formats/audit.md for what becomes of the values
}

// Entry is an event in the log.
type Entry struct {
	Seq       int64     `json:"seq"` // from 1
	Time      time.Time `json:"time"`
	Node      string    `json:"node"`
	Actor     string    `json:"actor"`
	Action    string    `json:"action"`
	Object    string    `json:"object"`
	Detail    any       `json:"detail,omitempty"` // a map, as JSON gives it
	Hash      string    `json:"hash"`
	Signature []byte    `json:"signature"`
}

// Log is the log of one node. It is safe for concurrent use.
type Log struct {
	db     *store.DB
	signer Signer
}

// Open returns the log that is kept in db. It belongs to one identity: a log
// begun under another key is a [fault.Error] of kind [fault.Trust].
func Open(db *store.DB, signer Signer) (*Log, error) {
	if err := db.Migrate("audit", tables...); err != nil {
		return nil, err
	}
	l, ctx := &Log{db: db, signer: signer}, context.Background()
	var hash string
	var signature []byte
	err := db.Read(ctx, func(t *store.Tx) error {
		return t.QueryRow(ctx, "SELECT hash, signature FROM audit ORDER BY seq DESC LIMIT 1").Scan(&hash, &signature)
	})
	if store.None(err) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(hash)
	if err != nil || !identity.Verify(signer.PublicKey(), contextEntry, raw, signature) {
		return nil, fault.New(fault.Trust, "the last entry of the audit log is not signed by this node's identity", "start the node with the identity that the log was begun with; export the log and begin a new folder if the identity was replaced")
	}
	return l, nil
}

// Append adds e in the caller's transaction, so that what was done and the record
// of it hold together or not at all. Details that are too large are replaced by their hash, values
// under names that speak of secrets by "(redacted)".
func (l *Log) Append(t *store.Tx, e Event) error {
	_, err := l.add(t, e)
	return err
}

func (l *Log) add(t *store.Tx, e Event) (int64, error) {
	if !action(e.Action) {
		return 0, fault.New(fault.Internal, fmt.Sprintf("%q cannot be an action in the audit log", e.Action), "this is a defect of Kontor, please report it")
	}
	ctx := context.Background()
	seq, prev := int64(0), strings.Repeat("0", 2*sha256.Size)
	if err := t.QueryRow(ctx, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").Scan(&seq, &prev); err != nil && !store.None(err) {
		return 0, err
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	seq++
	at := stamp(e.Time)
	actor, object := short(mask(e.Actor), maxActor), short(mask(e.Object), maxObject)
	text := canonical(map[string]any{
		"format": Format, "node": l.signer.Name(), "seq": seq, "time": at, "prev": prev,
		"actor": actor, "action": e.Action, "object": object, "detail": clean(e.Detail),
	})
	sum := sha256.Sum256(text)
	_, err := t.Exec(ctx, "INSERT INTO audit (seq, time, actor, action, object, entry, hash, signature) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		seq, at, actor, e.Action, object, string(text), hex.EncodeToString(sum[:]), l.signer.Sign(contextEntry, sum[:]))
	return seq, err
}

// action reports whether s is one to 64 of a-z, 0-9, "-", "_" and ".".
func action(s string) bool {
	return s != "" && len(s) <= maxAction && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// stamp returns t as it stands in the log: UTC, with microseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// Filter selects entries.
type Filter struct {
	Object string // exactly this one, all if empty
	Action string // this one or, if it ends in ".", those that begin so; all if empty
	Before int64  // entries before this one; from the newest if 0
	Limit  int    // at most so many, 100 if 0, 1000 at most
}

// Entries returns the entries that f selects, newest first.
func (l *Log) Entries(ctx context.Context, f Filter) ([]Entry, error) {
	query, args := "SELECT entry, hash, signature FROM audit WHERE 1", []any{}
	if f.Object != "" {
		query, args = query+" AND object = ?", append(args, f.Object)
	}
	if prefix, ok := strings.CutSuffix(f.Action, "."); ok {
		query, args = query+" AND action >= ? AND action < ?", append(args, prefix+".", prefix+"/") // "/" follows "."
	} else if f.Action != "" {
		query, args = query+" AND action = ?", append(args, f.Action)
	}
	if f.Before > 0 {
		query, args = query+" AND seq < ?", append(args, f.Before)
	}
	limit := min(f.Limit, 1000)
	if limit <= 0 {
		limit = 100
	}
	var out []Entry
	err := l.db.Read(ctx, func(t *store.Tx) error {
		rows, err := t.Query(ctx, query+" ORDER BY seq DESC LIMIT ?", append(args, limit)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text, hash string
			var e Entry
			if err := rows.Scan(&text, &hash, &e.Signature); err != nil {
				return err
			}
			d, err := parseEntry([]byte(text))
			if err != nil {
				return fault.Wrap(fault.Local, err, "an entry of the audit log is damaged", "run kontor audit verify, restore the node's folder from a backup")
			}
			e.Seq, e.Time, e.Node, e.Actor, e.Action, e.Object, e.Detail, e.Hash = d.seq, d.time, d.node, d.actor, d.action, d.object, d.detail, hash
			out = append(out, e)
		}
		return rows.Err()
	})
	return out, err
}
