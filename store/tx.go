package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"kontor/internal/fault"
)

// Tx is one transaction. It is used by one goroutine, inside the function that
// was given to [DB.Write] or [DB.Read], and no longer.
type Tx struct {
	tx    *sql.Tx
	err   error // the first error after which SQLite may have given up the transaction
	after []func(committed bool)
}

// Write runs f in a transaction that may change the state. Writes take turns, and
// f must not call Write itself. If f returns an error or panics, or ctx ends, nothing of it
// stays. When Write returns nil, all of it is on the disk. A full disk is a
// [fault.Error] of kind [fault.Local]; the state stays usable, and the same Write
// works when there is room again.
func (d *DB) Write(ctx context.Context, f func(*Tx) error) error {
	select {
	case <-d.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { d.turn <- struct{}{} }()
	return run(ctx, d.writer, f)
}

// Read runs f in a transaction that sees one state throughout, whatever is written
// meanwhile, and cannot change it.
func (d *DB) Read(ctx context.Context, f func(*Tx) error) error {
	return run(ctx, d.reader, f)
}

func run(ctx context.Context, db *sql.DB, f func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// The transaction does not end with ctx behind f's back: statements do, and
	// what is asked last here decides. So there is no commit that may have happened.
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return explain(err)
	}
	t, committed := &Tx{tx: tx}, false
	defer func() {
		if !committed {
			_ = tx.Rollback() // fails only where SQLite has rolled back itself
		}
		for _, g := range t.after {
			g(committed)
		}
	}()
	err = f(t)
	if err == nil {
		err = t.err
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = tx.Commit()
		committed = err == nil
	}
	return explain(err)
}

// After has f called when the transaction has ended, with whether it holds. Use
// it for what a transaction cannot take back: files, notices to watchers. f runs before the next
// Write and must not read or write the state.
func (t *Tx) After(f func(committed bool)) { t.after = append(t.after, f) }

// Exec runs a statement that returns no rows.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if t.err != nil {
		return nil, t.err
	}
	r, err := t.tx.ExecContext(ctx, query, args...)
	return r, t.note(err)
}

// Query runs a statement that returns rows. The caller closes them before it
// calls the transaction again, and looks at their Err.
func (t *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if t.err != nil {
		return nil, t.err
	}
	rows, err := t.tx.QueryContext(ctx, query, args...)
	return rows, t.note(err)
}

// QueryRow runs a statement that returns at most one row; Scan gives
// [sql.ErrNoRows] where there is none.
func (t *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(ctx, query, args...)
}

// note keeps an error after which the transaction must not go on. SQLite rolls back by
// itself on some of them, and what came after would be outside any transaction. Only a
// constraint that was hit undoes no more than its own statement.
func (t *Tx) note(err error) error {
	if err != nil && !Conflict(err) && t.err == nil {
		t.err = err
	}
	return err
}

// Migrate brings the tables that belong to name up to date: statements are run in
// order, each once in the life of the state, all or none. A later version of the caller adds statements at
// the end and never changes one that was released.
func (d *DB) Migrate(name string, statements ...string) error {
	ctx := context.Background()
	done := 0
	err := d.Read(ctx, func(t *Tx) error {
		rows, err := t.Query(ctx, "SELECT version, sha256 FROM migration WHERE name = ? ORDER BY version", name)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var version int
			var sum string
			if err := rows.Scan(&version, &sum); err != nil {
				return err
			}
			if version > len(statements) {
				return newer(fmt.Sprintf("%s version %d, this Kontor knows %d", name, version, len(statements)))
			}
			if version != done+1 || sum != hash(statements[done]) {
				return fault.New(fault.Internal, fmt.Sprintf("migration %d of %s is not the one that the state was made with", version, name), "this is a defect of Kontor, please report it")
			}
			done++
		}
		return rows.Err()
	})
	if err != nil || done == len(statements) {
		return err
	}
	return d.Write(ctx, func(t *Tx) error {
		for i := done; i < len(statements); i++ {
			if _, err := t.Exec(ctx, statements[i]); err != nil {
				return fmt.Errorf("migration %d of %s: %w", i+1, name, err)
			}
			if _, err := t.Exec(ctx, "INSERT INTO migration (name, version, sha256) VALUES (?, ?, ?)", name, i+1, hash(statements[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

func hash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// None reports whether err says that there was no such row.
func None(err error) bool { return errors.Is(err, sql.ErrNoRows) }
