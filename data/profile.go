package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"kontor/engine"
	"kontor/internal/fault"
	"kontor/table"
)

// found is what was found in a part of a table.
type found struct {
	rows    int64
	columns []*column
	sum     rowSum // of databases only
}

// read profiles what r gives, and sums its rows up if sum says so.
func read(ctx context.Context, r table.Reader, sum bool) (*found, error) {
	f := &found{}
	for _, s := range r.Schema() {
		f.columns = append(f.columns, &column{name: s.Name, typ: s.Type})
	}
	for {
		b, err := r.Next(ctx)
		if err == io.EOF {
			return f, nil
		}
		if err != nil {
			return nil, err
		}
		f.rows += int64(b.Len())
		for i, c := range b.Columns() {
			if err := f.columns[i].add(c); err != nil {
				return nil, err
			}
		}
		if sum {
			f.sum.add(b)
		}
	}
}

func merge(sum, next *found) (*found, error) {
	sum.rows += next.rows
	for i, c := range sum.columns {
		c.merge(next.columns[i])
	}
	return sum, nil
}

// profile reads all of a source once and describes it.
func (c *Catalogue) profile(ctx context.Context, s Spec) (Dataset, error) {
	d := Dataset{Name: s.Name, Kind: s.Kind, Path: s.Path, DSN: s.DSN, Query: s.Query, Options: s.Options, Added: time.Now().UTC().Truncate(time.Second), dsn: s.DSN}
	var f *found
	var err error
	if s.sql() {
		d.DSN = table.MaskDSN(s.DSN)
		f, err = c.profileQuery(ctx, &d)
	} else {
		f, err = profileFiles(ctx, &d)
	}
	if err != nil {
		return Dataset{}, asFault(s.Name, err)
	}
	d.Rows = f.rows
	for _, col := range f.columns {
		d.Schema = append(d.Schema, col.profile())
	}
	if l := d.Options.Label; l != "" && !slices.ContainsFunc(d.Schema, func(p ColumnProfile) bool { return p.Name == l }) {
		return Dataset{}, fault.New(fault.Data, fmt.Sprintf("dataset %s has no column %q to be its label", d.Name, clip(l)), "name a column that it has")
	}
	return d, nil
}

func (c *Catalogue) profileQuery(ctx context.Context, d *Dataset) (*found, error) {
	r, err := c.source(*d).Open(ctx, table.Options{})
	if err != nil {
		return nil, err
	}
	defer r.Close() // a query that was read to its end, or given up
	f, err := read(ctx, r, true)
	if err != nil {
		return nil, err
	}
	d.Fingerprint = f.sum.fingerprint(r.Schema())
	return f, nil
}

// profileFiles also fingerprints the files, and finds out if they change meanwhile.
func profileFiles(ctx context.Context, d *Dataset) (*found, error) {
	if err := checkKind(*d); err != nil {
		return nil, err
	}
	before, err := look(d.Path)
	if err != nil {
		return nil, err
	}
	parts, err := table.Parts(ctx, d.Path)
	if err != nil {
		return nil, err
	}
	o := d.Options.table()
	o.Promote = true
	f, err := engine.Reduce(ctx, parts, func(ctx context.Context, p table.Part) (*found, error) {
		r, err := table.OpenPart(ctx, p, o)
		if err != nil {
			return nil, err
		}
		defer r.Close() // it was read to its end, or given up
		return read(ctx, r, false)
	}, merge)
	if err != nil {
		return nil, err
	}
	if d.Fingerprint, d.Bytes, err = fingerprint(ctx, d.Path); err != nil {
		return nil, err
	}
	after, err := look(d.Path)
	if err != nil {
		return nil, err
	}
	if before.all != after.all {
		return nil, fault.New(fault.Data, "dataset "+d.Name+" was changed while it was read", "add it when nobody writes to it")
	}
	d.stamp = after.stamp()
	return f, nil
}

// checkKind holds what a path is to what the user called it.
func checkKind(d Dataset) error {
	folder := isFolder(d.Path)
	if folder != (d.Kind == Folder) {
		is := "a file"
		if folder {
			is = "a folder"
		}
		if _, err := look(d.Path); err != nil {
			return err
		}
		return fault.New(fault.Usage, fmt.Sprintf("dataset %s: %s is %s, which is not of the kind %s", d.Name, d.Path, is, d.Kind), "leave the kind out")
	}
	return nil
}

// asFault makes an error of package table, which names file and cure, a fault.
func asFault(name string, err error) error {
	if f := new(fault.Error); errors.As(err, &f) || errors.Is(err, context.Canceled) {
		return err
	}
	kind, cure := fault.Data, ""
	switch {
	case errors.Is(err, table.ErrOptions):
		kind = fault.Usage
	case errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), ";"):
		cure = "check the path"
	case errors.Is(err, context.DeadlineExceeded):
		cure = "try again when the source answers faster"
	}
	return fault.Wrap(kind, err, "dataset "+name, cure)
}
