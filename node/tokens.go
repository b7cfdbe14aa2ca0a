package node

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"kontor/api/rest"
	"kontor/internal/fault"
	"kontor/store"
)

var migrations = []string{
	`CREATE TABLE tokens (id TEXT PRIMARY KEY, hash BLOB NOT NULL, doc TEXT NOT NULL, used INTEGER NOT NULL) STRICT, WITHOUT ROWID`,
	`CREATE TABLE answers (key TEXT PRIMARY KEY, time INTEGER NOT NULL, doc BLOB NOT NULL) STRICT, WITHOUT ROWID`,
}

func putToken(ctx context.Context, tx *store.Tx, t rest.Token, hash [32]byte) error {
	doc, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO tokens (id, hash, doc, used) VALUES (?, ?, ?, 0)`, t.ID, hash[:], string(doc))
	return err
}

// token returns a token with the hash of its secret.
func (n *Institution) token(ctx context.Context, id string) (t rest.Token, hash [32]byte, err error) {
	var doc string
	var h []byte
	var used int64
	err = n.db.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT hash, doc, used FROM tokens WHERE id = ?`, id).Scan(&h, &doc, &used)
	})
	if store.None(err) {
		return t, hash, rest.NotFound(fmt.Sprintf("there is no token %q", id), "see kontor token ls")
	}
	if err == nil {
		err = json.Unmarshal([]byte(doc), &t)
	}
	if used > 0 {
		t.Used = time.Unix(used, 0).UTC()
	}
	copy(hash[:], h)
	return t, hash, err
}

// Authenticate implements rest.Gate.
func (s service) Authenticate(ctx context.Context, id string) ([32]byte, rest.Identity, error) {
	t, hash, err := s.n.token(ctx, id)
	if err != nil {
		return hash, rest.Identity{}, err
	}
	now := s.n.now().UTC()
	if !t.Expires.IsZero() && now.After(t.Expires) {
		return hash, rest.Identity{}, rest.NotFound("the token has expired", "ask an administrator for a new one")
	}
	return hash, rest.Identity{ID: t.ID, Name: t.Name, Role: t.Role}, nil
}

// Admitted implements rest.Gate: the first use of a token from an address within
// an hour is a login, and goes on record.
func (s service) Admitted(ctx context.Context, who rest.Identity, from string) {
	hour := s.n.now().UTC().Truncate(time.Hour)
	key := who.ID + "\x00" + from
	s.n.mu.Lock()
	known := s.n.logins[key].Equal(hour)
	if !known {
		if len(s.n.logins) > maxLogins {
			clear(s.n.logins)
		}
		s.n.logins[key] = hour
	}
	s.n.mu.Unlock()
	if known {
		return
	}
	err := s.n.change(context.WithoutCancel(ctx), who.String(), "login", "token "+who.ID, map[string]any{"from": from, "role": string(who.Role)}, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE tokens SET used = ? WHERE id = ?`, hour.Unix(), who.ID)
		return err
	})
	if err != nil { // a full disk must not keep people from looking
		s.n.log.Warn("a login could not be recorded", "token", who.ID, "error", err)
	}
}

// maxLogins bounds the logins of the hour that are remembered.
const maxLogins = 10_000

// Tokens implements rest.Account.
func (s service) Tokens(ctx context.Context) (out []rest.Token, err error) {
	err = s.n.db.Read(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, `SELECT doc, used FROM tokens ORDER BY id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var doc string
			var used int64
			if err := rows.Scan(&doc, &used); err != nil {
				return err
			}
			var t rest.Token
			if err := json.Unmarshal([]byte(doc), &t); err != nil {
				return err
			}
			if used > 0 {
				t.Used = time.Unix(used, 0).UTC()
			}
			out = append(out, t)
		}
		return rows.Err()
	})
	return out, err
}

// AddToken implements rest.Account.
func (s service) AddToken(ctx context.Context, t rest.Token, hash [32]byte) error {
	return s.change(ctx, "token.created", "token "+t.ID, map[string]any{"holder": t.Name, "role": string(t.Role)}, func(tx *store.Tx) error {
		return putToken(ctx, tx, t, hash)
	})
}

// RemoveToken implements rest.Account.
func (s service) RemoveToken(ctx context.Context, id string) error {
	t, _, err := s.n.token(ctx, id)
	if err != nil {
		return err
	}
	if t.ID == rest.Caller(ctx).ID {
		return rest.Conflict("that is the token that you are using", "revoke it with another administrator's")
	}
	return s.change(ctx, "token.revoked", "token "+id, map[string]any{"holder": t.Name}, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM tokens WHERE id = ?`, id)
		return err
	})
}

// keepAnswers is how long a repeated request gets the first one's answer.
const keepAnswers = 48 * time.Hour

// StoredAnswer implements rest.Gate.
func (s service) StoredAnswer(ctx context.Context, key string) (*rest.Answer, error) {
	var doc []byte
	err := s.n.db.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT doc FROM answers WHERE key = ?`, key).Scan(&doc)
	})
	if store.None(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a := &rest.Answer{}
	if err := json.Unmarshal(doc, a); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "a stored answer cannot be read", "repeat the request with another Idempotency-Key")
	}
	return a, nil
}

// StoreAnswer implements rest.Gate.
func (s service) StoreAnswer(ctx context.Context, key string, a rest.Answer) error {
	doc, err := json.Marshal(a)
	if err != nil {
		return err
	}
	now := s.n.now()
	return s.n.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM answers WHERE time < ?`, now.Add(-keepAnswers).Unix()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT OR REPLACE INTO answers (key, time, doc) VALUES (?, ?, ?)`, key, now.Unix(), doc)
		return err
	})
}
