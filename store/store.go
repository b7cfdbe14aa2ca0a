// Package store keeps a node's state: one SQLite file in the node's folder, for
// one process at a time. Whoever keeps something there (jobs, the audit log, the
// catalogue, models) registers tables of its own with [DB.Migrate], reads in
// [DB.Read] and changes in [DB.Write]. What one Write does is durable when it
// returns, whole or not at all, whatever happens to the process or the power.
//
// Do not use it for rows of data, scores or models themselves: those are files.
// The layout is specified in docs/formats/state.md.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	_ "modernc.org/sqlite" // registers the driver

	"kontor/internal/fault"
)

const (
	// File is the name of the database in the folder that [Open] is given.
	File = "state.db"

	lockFile      = "lock"
	layout        = 1          // PRAGMA user_version: the layout of what this package itself keeps
	applicationID = 0x4b6f6e74 // PRAGMA application_id: "Kont"
	readers       = 4          // connections that read at once
)

// DB is the open state of a node. It is safe for concurrent use.
type DB struct {
	path   string
	lock   *os.File
	writer *sql.DB       // one connection
	reader *sql.DB       // opened when first needed
	turn   chan struct{} // holds a token while nobody writes
}

// Open opens the state in dir, making both if they are not there. The error is a
// [fault.Error]: of kind [fault.Local] if another process has the state open, or
// it cannot be read or written, of kind [fault.Version] if a later Kontor wrote it.
func Open(dir string) (*DB, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fault.Wrap(fault.Local, err, "finding "+dir, "name the folder by its full path")
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fault.Wrap(fault.Local, err, "making the node's folder", "choose a folder that this user may write")
	}
	lock, err := acquire(filepath.Join(abs, lockFile))
	if err != nil {
		return nil, err
	}
	d := &DB{path: filepath.Join(abs, File), lock: lock, turn: make(chan struct{}, 1)}
	d.turn <- struct{}{}
	if err := d.open(); err != nil {
		_ = d.Close() // the first error is the one to tell
		return nil, explain(err)
	}
	return d, nil
}

// open makes the file with its mode, then the connections.
func (d *DB) open() error {
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fault.Wrap(fault.Local, err, "opening the node's state", "make the node's folder and its files belong to the user who runs Kontor")
	}
	if err := errors.Join(f.Close(), SyncDir(filepath.Dir(d.path))); err != nil {
		return fault.Wrap(fault.Local, err, "opening the node's state", "look at the disk")
	}
	pragmas := []string{"busy_timeout(5000)", "foreign_keys(1)", "synchronous(FULL)", "temp_store(MEMORY)", "trusted_schema(0)"}
	d.writer, err = connect(d.path, "immediate", 1, append(pragmas, "cache_size(-2000)", "journal_mode(WAL)", "journal_size_limit(8388608)"))
	if err != nil {
		return err
	}
	d.reader, err = connect(d.path, "deferred", readers, append(pragmas, "cache_size(-1000)", "query_only(1)"))
	if err != nil {
		return err
	}
	return d.prepare(context.Background())
}

func connect(path, lock string, most int, pragmas []string) (*sql.DB, error) {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: slashed, RawQuery: url.Values{"_txlock": {lock}, "_pragma": pragmas}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(min(most, 2))
	return db, nil
}

// prepare checks that the file is ours and makes the table of migrations.
func (d *DB) prepare(ctx context.Context) error {
	var version, app, tables int
	err := d.writer.QueryRowContext(ctx, "SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)").Scan(&version, &app, &tables)
	if err != nil {
		return err
	}
	switch {
	case version == 0 && app == 0 && tables == 0: // new
		return d.Write(ctx, func(t *Tx) error {
			for _, q := range []string{
				"PRAGMA application_id = " + strconv.Itoa(applicationID), "PRAGMA user_version = " + strconv.Itoa(layout),
				"CREATE TABLE migration (name TEXT NOT NULL, version INTEGER NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (name, version)) STRICT, WITHOUT ROWID",
			} {
				if _, err := t.Exec(ctx, q); err != nil {
					return err
				}
			}
			return nil
		})
	case app != applicationID:
		return fault.New(fault.Local, d.path+" is no state of a Kontor node", "move the file away, or choose another folder with --home")
	case version > layout:
		return newer(fmt.Sprintf("layout %d, this Kontor knows %d", version, layout))
	}
	return nil
}

func newer(what string) error {
	return fault.New(fault.Version, "the node's state was written by a later Kontor ("+what+")", "run that version or a later one; the state cannot be turned back")
}

// Close ends all connections and lets the next process open the state. Reads and
// writes that are under way must have ended.
func (d *DB) Close() error {
	var errs []error
	for _, db := range []*sql.DB{d.reader, d.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	errs = append(errs, release(d.lock))
	if err := errors.Join(errs...); err != nil {
		return explain(err)
	}
	return nil
}

// Check reads the whole database and returns a fault if anything in it is damaged.
func (d *DB) Check(ctx context.Context) error {
	var found string
	if err := d.reader.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return explain(err)
	}
	if found != "ok" {
		return damaged(errors.New(found))
	}
	return nil
}

// Size returns the bytes that the database takes on disk, its log included.
func (d *DB) Size() (int64, error) {
	var sum int64
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(d.path + suffix)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fault.Wrap(fault.Local, err, "measuring the node's state", "look at the node's folder")
		}
		sum += info.Size()
	}
	return sum, nil
}
