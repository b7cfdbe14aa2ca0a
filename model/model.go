// Package model is a node's registry of models: what a step of a job has learned, kept
// unchanged under the one id that all parties share, each with its own part.
// A record says where a model comes from; tags name models by hand and may be moved.
//
// It knows nothing of what is in the files. Do not use it for scores or
// other results: those stay with their job. The layout is specified in
// docs/formats/state.md.
package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kontor/internal/fault"
	"kontor/store"
)

const (
	minID      = 16 // hexadecimal digits of an id
	maxID      = 64
	minPrefix  = 4
	maxTag     = 64
	maxRecord  = 4 << 20 // bytes of a record as JSON
	filesDir   = "files"
	recordFile = "record.json"
	sumsFile   = "SHA256SUMS"
	staging    = ".new-"
)

var tables = []string{
	"CREATE TABLE model (id TEXT PRIMARY KEY, job TEXT NOT NULL, step TEXT NOT NULL, kind TEXT NOT NULL, created TEXT NOT NULL, record TEXT NOT NULL) STRICT",
	"CREATE INDEX model_created ON model (created)",
	"CREATE INDEX model_job ON model (job)",
	"CREATE TABLE model_tag (tag TEXT PRIMARY KEY, id TEXT NOT NULL REFERENCES model (id)) STRICT, WITHOUT ROWID",
}

// Record is what is known of a model. All but Tags stays as it was when the model was added.
type Record struct {
	Format   string          `json:"format"`            // [Format]
	ID       string          `json:"id"`                // the same at all parties: 16 to 64 hexadecimal digits
	Job      string          `json:"job"`               // id of the job that made it
	JobName  string          `json:"job_name"`          // its name
	Step     string          `json:"step"`              // the step's name
	Kind     string          `json:"kind"`              // the step's kind: "boost"
	Party    string          `json:"party"`             // whose part this is
	Role     string          `json:"role"`              // guest, host
	Created  time.Time       `json:"created"`           // when it was added, UTC
	Parties  []string        `json:"parties"`           // of the job
	Spec     string          `json:"spec"`              // hash of the specification
	Software string          `json:"software"`          // the version of Kontor
	Data     []Lineage       `json:"data,omitempty"`    // what it was made from, as far as this party knows
	Metrics  json.RawMessage `json:"metrics,omitempty"` // as the job reports them
	Tags     []string        `json:"tags,omitempty"`    // now, sorted
	Files    []string        `json:"files"`             // paths in the model's folder, with "/", sorted
	SHA256   string          `json:"sha256"`            // of SHA256SUMS: of names and content of all files
}

// Format is the format of records.
const Format = "kontor-model-record-v1"

// Lineage is one party's data in a model.
type Lineage struct {
	Party       string `json:"party"`
	Name        string `json:"name"`        // in the party's catalogue
	Fingerprint string `json:"fingerprint"` // of the content
}

// Registry is the models of one node. It is safe for concurrent use.
type Registry struct {
	db  *store.DB
	dir string
}

// Open returns the registry that has its records in db and its files in dir, and
// removes what an interrupted Add left in dir.
func Open(db *store.DB, dir string) (*Registry, error) {
	if err := db.Migrate("model", tables...); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, local(err, "making the folder of models")
	}
	r := &Registry{db: db, dir: dir}
	return r, r.sweep(context.Background())
}

func local(err error, doing string) error {
	return fault.Wrap(fault.Local, err, doing, "look at the disk, its free space and at who owns the node's folder")
}

// sweep removes folders without a record: of an Add whose transaction did not hold.
func (r *Registry) sweep(ctx context.Context) error {
	known := map[string]bool{}
	err := r.db.Read(ctx, func(t *store.Tx) error {
		rows, err := t.Query(ctx, "SELECT id FROM model")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			known[id] = true
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return local(err, "reading the folder of models")
	}
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || known[name] || !strings.HasPrefix(name, staging) && checkID(name) != nil {
			continue // not ours to remove
		}
		if err := os.RemoveAll(filepath.Join(r.dir, name)); err != nil {
			return local(err, "removing what an interrupted job left")
		}
	}
	return nil
}

// Filter selects models.
type Filter struct {
	Job   string // id of the job, all if empty
	Kind  string // of the step, all if empty
	Tag   string // all if empty
	Limit int    // at most so many; 1000 if 0
}

// List returns the records that f selects, newest first.
func (r *Registry) List(ctx context.Context, f Filter) ([]Record, error) {
	limit := f.Limit
	if limit <= 0 || limit > 1000 {
		limit = 1000
	}
	var out []Record
	err := r.db.Read(ctx, func(t *store.Tx) (err error) {
		out, err = r.query(ctx, t, `WHERE (?1 = '' OR job = ?1) AND (?2 = '' OR kind = ?2)
			AND (?3 = '' OR id IN (SELECT id FROM model_tag WHERE tag = ?3)) ORDER BY created DESC, id LIMIT ?4`, f.Job, f.Kind, f.Tag, limit)
		return err
	})
	return out, err
}

func (r *Registry) query(ctx context.Context, t *store.Tx, where string, args ...any) ([]Record, error) {
	rows, err := t.Query(ctx, "SELECT record, (SELECT coalesce(group_concat(tag, ' '), '') FROM (SELECT tag FROM model_tag WHERE model_tag.id = model.id ORDER BY tag)) FROM model "+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Record
	for rows.Next() {
		var doc, tags string
		if err := rows.Scan(&doc, &tags); err != nil {
			return nil, err
		}
		var rec Record
		if err := json.Unmarshal([]byte(doc), &rec); err != nil {
			return nil, fault.Wrap(fault.Local, err, "the record of a model is damaged", "restore the node's folder from a backup")
		}
		rec.Tags = strings.Fields(tags)
		out = append(out, rec)
	}
	return out, rows.Err()
}

// Lookup returns the record of the model that ref names: a tag, an id or the
// beginning of one. It does not look at the files.
func (r *Registry) Lookup(ctx context.Context, ref string) (Record, error) {
	var rec Record
	err := r.db.Read(ctx, func(t *store.Tx) (err error) {
		rec, err = r.find(ctx, t, ref)
		return err
	})
	return rec, err
}

func (r *Registry) find(ctx context.Context, t *store.Tx, ref string) (Record, error) {
	found, err := r.query(ctx, t, "WHERE id = (SELECT id FROM model_tag WHERE tag = ?)", ref)
	if err == nil && len(found) == 0 && len(ref) >= minPrefix && hexadecimal(ref) {
		found, err = r.query(ctx, t, "WHERE id >= ? AND id < ? ORDER BY id LIMIT 3", ref, ref+"g") // "g" follows all digits
		if len(found) > 1 && found[0].ID == ref {
			found = found[:1]
		}
	}
	switch {
	case err != nil:
		return Record{}, err
	case len(found) == 0:
		return Record{}, fault.New(fault.Usage, fmt.Sprintf("there is no model %.80q", ref), "give a tag, an id or at least four digits of its beginning, see kontor model ls")
	case len(found) > 1:
		return Record{}, fault.New(fault.Usage, fmt.Sprintf("%.80q is the beginning of several ids: %.12s…, %.12s…", ref, found[0].ID, found[1].ID), "give more of it")
	}
	return found[0], nil
}

// Get returns the record of the model that ref names, see [Registry.Lookup], after checking that its
// files are those that were added.
func (r *Registry) Get(ctx context.Context, ref string) (Record, error) {
	rec, err := r.Lookup(ctx, ref)
	if err != nil {
		return Record{}, err
	}
	_, err = r.verify(ctx, rec)
	return rec, err
}

// Dir returns the folder with the files of the model that ref names, checked as by
// [Registry.Get]. Whoever reads it changes nothing there.
func (r *Registry) Dir(ctx context.Context, ref string) (string, error) {
	rec, err := r.Get(ctx, ref)
	if err != nil {
		return "", err
	}
	return r.files(rec.ID), nil
}

func (r *Registry) files(id string) string { return filepath.Join(r.dir, id, filesDir) }

// verify reads all files of rec and returns the checksums.
func (r *Registry) verify(ctx context.Context, rec Record) ([]sum, error) {
	sums, err := scan(ctx, r.files(rec.ID), nil)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil && total(sums) == rec.SHA256 {
		return sums, nil
	}
	what := fmt.Sprintf("the files of model %.16s… are not those that were added", rec.ID)
	cure := "restore " + filepath.Join(r.dir, rec.ID) + " from a backup, or train again"
	if err != nil {
		return nil, fault.Wrap(fault.Local, err, what, cure)
	}
	return nil, fault.New(fault.Local, what, cure)
}

// Tag gives the model that ref names a tag, taking it from the model that had it. It returns
// the id of that one, empty if none had it, for the caller's record.
func (r *Registry) Tag(ctx context.Context, t *store.Tx, ref, tag string) (before string, err error) {
	if err := checkTag(tag); err != nil {
		return "", err
	}
	rec, err := r.find(ctx, t, ref)
	if err != nil {
		return "", err
	}
	if err := t.QueryRow(ctx, "SELECT id FROM model_tag WHERE tag = ?", tag).Scan(&before); err != nil && !store.None(err) {
		return "", err
	}
	_, err = t.Exec(ctx, "INSERT INTO model_tag (tag, id) VALUES (?, ?) ON CONFLICT (tag) DO UPDATE SET id = excluded.id", tag, rec.ID)
	return before, err
}

// Untag takes a tag away and returns the id of the model that had it.
func (r *Registry) Untag(ctx context.Context, t *store.Tx, tag string) (id string, err error) {
	err = t.QueryRow(ctx, "DELETE FROM model_tag WHERE tag = ? RETURNING id", tag).Scan(&id)
	if store.None(err) {
		return "", fault.New(fault.Usage, fmt.Sprintf("no model has the tag %.80q", tag), "see kontor model ls")
	}
	return id, err
}

// checkTag returns an error unless tag is one to 64 of a-z, 0-9, ".", "_", "-"
// and begins with a letter or digit; one that could be the beginning of an id is none.
func checkTag(tag string) error {
	plain := len(tag) > 0 && len(tag) <= maxTag && strings.Trim(tag, "abcdefghijklmnopqrstuvwxyz0123456789._-") == "" && !strings.ContainsAny(tag[:1], "._-")
	if !plain {
		return fault.New(fault.Usage, fmt.Sprintf("%.80q cannot be a tag", tag), "use up to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first")
	}
	if len(tag) >= minPrefix && hexadecimal(tag) {
		return fault.New(fault.Usage, fmt.Sprintf("the tag %q could be the beginning of an id", tag), "add a letter from g to z, or a '-'")
	}
	return nil
}

func hexadecimal(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

func checkID(id string) error {
	if len(id) < minID || len(id) > maxID || !hexadecimal(id) {
		return errors.New("an id has 16 to 64 hexadecimal digits")
	}
	return nil
}
