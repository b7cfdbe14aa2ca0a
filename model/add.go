package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kontor/internal/fault"
	"kontor/store"
)

// Staged is a model whose files are in place but that is not in the registry yet.
type Staged struct {
	r    *Registry
	rec  Record
	temp string
}

// Add puts the files of folder src into the registry under rec.ID, in the caller's
// transaction: files and record are there together or not at all, whatever happens.
// It fills rec's Format, Files and SHA256, and Created if that is zero. Adding the same model again changes nothing.
// While files are copied nobody else writes to the state; [Registry.Stage] copies before.
func (r *Registry) Add(ctx context.Context, t *store.Tx, rec Record, src string) (Record, error) {
	s, err := r.Stage(ctx, rec, src)
	if err != nil {
		return Record{}, err
	}
	defer s.Discard()
	return s.Add(ctx, t)
}

// Stage copies the files of folder src, makes them durable and returns what
// [Staged.Add] then enters in a transaction. The caller calls [Staged.Discard] in
// any case.
func (r *Registry) Stage(ctx context.Context, rec Record, src string) (*Staged, error) {
	if err := checkID(rec.ID); err != nil {
		return nil, fault.Wrap(fault.Internal, err, fmt.Sprintf("%.80q cannot name a model", rec.ID), "this is a defect of Kontor, please report it")
	}
	temp, err := os.MkdirTemp(r.dir, staging)
	if err != nil {
		return nil, local(err, "making a folder for a model")
	}
	s := &Staged{r: r, temp: temp}
	sums, err := scan(ctx, src, func(path string) (*os.File, error) {
		return create(filepath.Join(temp, filesDir, filepath.FromSlash(path)))
	})
	if err == nil && len(sums) == 0 {
		err = errors.New("the folder is empty")
	}
	if err == nil {
		err = syncTree(temp)
	}
	if err != nil {
		s.Discard()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, local(err, "keeping a model")
	}
	rec.Format, rec.Tags, rec.Files, rec.SHA256 = Format, nil, names(sums), total(sums)
	if rec.Created.IsZero() {
		rec.Created = time.Now()
	}
	rec.Created = rec.Created.UTC().Truncate(time.Millisecond)
	s.rec = rec
	return s, nil
}

// Add enters the model.
func (s *Staged) Add(ctx context.Context, t *store.Tx) (Record, error) {
	r, rec := s.r, s.rec
	doc, err := json.Marshal(rec)
	if err != nil || len(doc) > maxRecord {
		return Record{}, fault.Wrap(fault.Internal, err, fmt.Sprintf("a record of %d bytes cannot be kept with a model", len(doc)), "this is a defect of Kontor, please report it")
	}
	found, err := r.query(ctx, t, "WHERE id = ?", rec.ID)
	if err != nil {
		return Record{}, err
	}
	if len(found) == 1 {
		if found[0].SHA256 == rec.SHA256 && found[0].Job == rec.Job && found[0].Step == rec.Step {
			return found[0], nil
		}
		return Record{}, fault.New(fault.Internal, fmt.Sprintf("there is another model with the id %s", rec.ID), "this is a defect of Kontor, please report it")
	}
	_, err = t.Exec(ctx, "INSERT INTO model (id, job, step, kind, created, record) VALUES (?, ?, ?, ?, ?, ?)",
		rec.ID, rec.Job, rec.Step, rec.Kind, rec.Created.Format("2006-01-02T15:04:05.000Z"), string(doc))
	if err != nil {
		return Record{}, err
	}
	// The folder comes before the commit: a folder without record is swept away, a
	// record without folder would be a loss.
	final := filepath.Join(r.dir, rec.ID)
	t.After(func(committed bool) {
		if !committed {
			_ = os.RemoveAll(final) // if this fails, the next start sweeps
		}
	})
	if err := os.RemoveAll(final); err != nil {
		return Record{}, local(err, "keeping a model")
	}
	if err := os.Rename(s.temp, final); err != nil {
		return Record{}, local(err, "keeping a model")
	}
	if err := store.SyncDir(r.dir); err != nil {
		return Record{}, local(err, "keeping a model")
	}
	return rec, nil
}

// Discard removes the copy, unless it was added.
func (s *Staged) Discard() { _ = os.RemoveAll(s.temp) } // if this fails, the next start sweeps

func names(sums []sum) []string {
	out := make([]string, len(sums))
	for i, s := range sums {
		out[i] = s.path
	}
	return slices.Clip(out)
}
