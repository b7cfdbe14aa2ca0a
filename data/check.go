package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kontor/internal/fault"
	"kontor/store"
	"kontor/table"
)

// Check finds out whether a dataset is still what the catalogue says. Of files it
// compares the content: a change is a fault of kind [fault.Data]. A database lives;
// of a query it checks that the columns are the same.
func (c *Catalogue) Check(ctx context.Context, name string) error {
	d, err := c.Describe(ctx, name)
	if err != nil {
		return err
	}
	if d.dsn != "" {
		err = c.checkQuery(ctx, d)
	} else {
		err = c.checkFiles(ctx, d)
	}
	if err != nil {
		return asFault(name, err)
	}
	return nil
}

func (c *Catalogue) checkQuery(ctx context.Context, d Dataset) error {
	r, err := c.source(d).Open(ctx, table.Options{})
	if err != nil {
		return err
	}
	have := r.Schema()
	if err := r.Close(); err != nil {
		return err
	}
	same := len(have) == len(d.Schema)
	for i := 0; same && i < len(have); i++ {
		same = have[i].Name == d.Schema[i].Name && have[i].Type.String() == d.Schema[i].Type
	}
	if !same {
		return changed(d.Name, "gives other columns than")
	}
	return nil
}

func (c *Catalogue) checkFiles(ctx context.Context, d Dataset) error {
	now, err := look(d.Path)
	if err != nil {
		return err
	}
	if st := now.stamp(); st.Sum != "" && st == d.stamp {
		return nil
	}
	print, _, err := fingerprint(ctx, d.Path)
	if err != nil {
		return err
	}
	if print != d.Fingerprint {
		return changed(d.Name, "is not the same as")
	}
	after, err := look(d.Path)
	if err != nil {
		return err
	}
	st := after.stamp()
	if after.all != now.all || st.Sum == "" {
		return nil // its content was right; next time it is read again
	}
	return c.db.Write(ctx, func(tx *store.Tx) error {
		again, err := get(ctx, tx, d.Name)
		if err != nil || again.Fingerprint != d.Fingerprint || again.Path != d.Path {
			return err // somebody replaced it meanwhile
		}
		again.stamp = st
		return put(ctx, tx, again)
	})
}

func changed(name, how string) error {
	return fault.New(fault.Data, "dataset "+name+" "+how+" when it was added", "run kontor data add "+name+" --replace")
}

// Pinned is a dataset held still for a job.
type Pinned struct {
	table.Source
	Fingerprint string
	Rows        int64
}

// Pin checks a dataset and returns it as a job may read it, as often as it likes,
// with the same rows in the same order. Files are read where they are; the rows of
// a query are copied once to dir, which belongs to the job, with the columns of
// types read so: a number of many digits that serves as an identifier has to be
// read as text from the start. Pin again, after a restart, and the copy is used as
// it is. The fingerprint is that of the rows read; one that differs from an earlier
// Pin of the same job means that the dataset was replaced since.
func (c *Catalogue) Pin(ctx context.Context, name, dir string, types map[string]table.Type) (Pinned, error) {
	d, err := c.Describe(ctx, name)
	if err != nil {
		return Pinned{}, err
	}
	if d.dsn == "" {
		if err := c.Check(ctx, name); err != nil {
			return Pinned{}, err
		}
		return Pinned{Source: c.source(d), Fingerprint: d.Fingerprint, Rows: d.Rows}, nil
	}
	path := filepath.Join(dir, name+".parquet")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := c.Check(ctx, name); err != nil {
			return Pinned{}, err
		}
		if err := c.copy(ctx, d, path, types); err != nil {
			return Pinned{}, asFault(name, err)
		}
	} else if err != nil {
		return Pinned{}, fault.Wrap(fault.Local, err, "looking for the copy of dataset "+name, "look at the job's folder")
	}
	from := source{name: name, from: table.File(path)} // the options did their work on the way
	f, schema, err := sumUp(ctx, from)
	if err != nil {
		return Pinned{}, asFault(name, err)
	}
	return Pinned{Source: from, Fingerprint: f.sum.fingerprint(schema), Rows: f.rows}, nil
}

func sumUp(ctx context.Context, from table.Source) (*found, table.Schema, error) {
	r, err := from.Open(ctx, table.Options{})
	if err != nil {
		return nil, nil, err
	}
	defer r.Close() // it was read to its end, or given up
	f, err := read(ctx, r, true)
	return f, r.Schema(), err
}

// copy writes the rows of a query to a file, which appears when it is whole.
func (c *Catalogue) copy(ctx context.Context, d Dataset, path string, types map[string]table.Type) error {
	r, err := c.source(d).Open(ctx, table.Options{Types: types})
	if err != nil {
		return err
	}
	defer r.Close() // it was read to its end, or given up
	w, err := table.Create(path, r.Schema())
	if err != nil {
		return err
	}
	if err := table.Copy(ctx, w, r); err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.Close(); err != nil {
		return fault.Wrap(fault.Local, err, "copying the rows of dataset "+d.Name, "check that the disk is not full")
	}
	return nil
}

// String names the dataset and how it is held.
func (p Pinned) String() string { return fmt.Sprintf("%s (%s)", p.Source, p.Fingerprint) }
