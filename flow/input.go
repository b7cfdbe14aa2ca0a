package flow

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"

	"kontor/fed/boost"
	"kontor/internal/fault"
	"kontor/internal/suggest"
	"kontor/session"
	"kontor/table"
)

// Input is a party's own table, ready for a job: every row with its id, the
// label where the party is the guest and a step reads it, and numeric features.
type Input struct {
	File    string // name of the file or data set, without its folder
	IDs     []string
	Label   []float64 // 0 or 1; nil at a host
	Columns []boost.Column
	Notes   []string // what was left out, and why

	once  sync.Once
	print [32]byte
}

// Fingerprint is a hash of everything a job reads of the table, the order of
// rows included. What a step has written down about rows holds for a table of
// the same fingerprint only.
func (in *Input) Fingerprint() [32]byte {
	in.once.Do(func() {
		h := sha256.New()
		buf := make([]byte, 0, 1<<12)
		flush := func(room int) {
			if len(buf)+room > cap(buf) {
				h.Write(buf)
				buf = buf[:0]
			}
		}
		text := func(s string) {
			flush(8)
			buf = binary.BigEndian.AppendUint64(buf, uint64(len(s)))
			for s != "" {
				flush(1)
				n := min(len(s), cap(buf)-len(buf))
				buf, s = append(buf, s[:n]...), s[n:]
			}
		}
		numbers := func(v []float64) {
			for _, x := range v {
				flush(8)
				if math.IsNaN(x) {
					x = math.NaN() // one pattern of bits for a missing value
				}
				buf = binary.BigEndian.AppendUint64(buf, math.Float64bits(x))
			}
		}
		text(fmt.Sprintf("kontor table v1, %d rows, %d columns, label %t", len(in.IDs), len(in.Columns), in.Label != nil))
		for _, id := range in.IDs {
			text(id)
		}
		for _, c := range in.Columns {
			text(c.Name)
			numbers(c.Values)
		}
		numbers(in.Label)
		h.Write(buf)
		in.print = [32]byte(h.Sum(nil))
	})
	return in.print
}

// LoadInput reads a party's file as the job says. Errors are of kind
// [fault.Data] and name file, line and column.
func LoadInput(ctx context.Context, p Party, path string) (*Input, error) {
	if path == "" {
		return nil, noFile(p)
	}
	return LoadInputFrom(ctx, p, table.File(path))
}

// LoadInputFrom is [LoadInput] from any source of a table.
func LoadInputFrom(ctx context.Context, p Party, src table.Source) (*Input, error) {
	pl, err := planInput(ctx, p, src)
	if err != nil {
		return nil, dataFault(err)
	}
	t, err := table.ReadSource(ctx, src, pl.options)
	if err != nil {
		return nil, dataFault(err)
	}
	if err := pl.in.fill(p, t, pl.id, pl.label, pl.features); err != nil {
		return nil, dataFault(err)
	}
	return pl.in, nil
}

// dataFault makes an error of package table, which names file and cure, a fault.
func dataFault(err error) error {
	if f := new(fault.Error); err == nil || errors.As(err, &f) || errors.Is(err, context.Canceled) {
		return err
	}
	return fault.Wrap(fault.Data, err, "", "")
}

// CheckInput finds what can be wrong with a party's file without reading it
// whole: that it is there, has a header, and the columns that the job names.
func CheckInput(ctx context.Context, p Party, path string) error {
	if path == "" {
		return noFile(p)
	}
	return CheckInputFrom(ctx, p, table.File(path))
}

// CheckInputFrom is [CheckInput] for any source of a table.
func CheckInputFrom(ctx context.Context, p Party, src table.Source) error {
	_, err := planInput(ctx, p, src)
	return dataFault(err)
}

func noFile(p Party) error {
	return fault.New(fault.Usage, "no data file is named", fmt.Sprintf("add data: to the job or give --party %s=FILE", p.Name))
}

// plan is what to read of a table.
type plan struct {
	in        *Input
	options   table.Options
	id, label string
	features  []string
}

func planInput(ctx context.Context, p Party, src table.Source) (*plan, error) {
	o := table.Options{Types: map[string]table.Type{}, Missing: p.Missing}
	for c, t := range p.Types {
		o.Types[c] = t
	}
	r, err := src.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	schema := r.Schema()
	if err := r.Close(); err != nil {
		return nil, err
	}
	pl := &plan{in: &Input{File: filepath.Base(src.String())}}
	if pl.id, pl.label, err = keyColumns(p, schema, pl.in.File); err != nil {
		return nil, err
	}
	if pl.features, err = pl.in.pickFeatures(p, schema, pl.id, pl.label); err != nil {
		return nil, err
	}
	if p.NoLabel {
		pl.label = ""
	}
	o.Types[pl.id] = table.String
	o.Columns = append([]string{pl.id}, pl.features...)
	if pl.label != "" {
		o.Types[pl.label] = table.String
		o.Columns = append(o.Columns, pl.label)
	}
	pl.options = o
	return pl, nil
}

func (in *Input) fill(p Party, t *table.Table, id, label string, features []string) (err error) {
	if in.IDs, err = table.IDs(t, id); err != nil {
		return err
	}
	for _, f := range features {
		c, _ := t.Column(f)
		v, err := c.Floats()
		if err != nil {
			return err
		}
		for i := range v {
			if math.IsInf(v[i], 0) {
				return fault.New(fault.Data, fmt.Sprintf("%s line %d, column %s is infinite", in.File, t.Line(i), f), "correct the cell or list its text under missing:")
			}
		}
		in.Columns = append(in.Columns, boost.Column{Name: f, Values: v})
	}
	if label != "" {
		c, _ := t.Column(label)
		if in.Label, err = binaryLabel(t, c, p.Positive, in.File); err != nil {
			return err
		}
	}
	return nil
}

// keyColumns finds the id and label columns: as the job names them, else by
// their usual names.
func keyColumns(p Party, schema table.Schema, file string) (id, label string, err error) {
	var names []string
	for _, f := range schema {
		names = append(names, f.Name)
	}
	find := func(given, what string, usual ...string) (string, error) {
		if given != "" {
			if !slices.Contains(names, given) {
				return "", fault.New(fault.Data, fmt.Sprintf("%s has no %s column %q", file, what, given), suggest.For(given, names))
			}
			return given, nil
		}
		for _, u := range usual {
			if slices.Contains(names, u) {
				return u, nil
			}
		}
		return "", fault.New(fault.Data, fmt.Sprintf("%s: the job names no %s column for %s and none of the columns (%s) has a usual name", file, what, p.Name, list(names)),
			fmt.Sprintf("add %s: COLUMN to the party or give --party %s=FILE,%s=COLUMN", what, p.Name, what))
	}
	if id, err = find(p.ID, "id", "id"); err != nil {
		return "", "", err
	}
	if p.Role == session.Guest && (!p.NoLabel || p.Label != "") {
		if label, err = find(p.Label, "label", "label", "y"); err != nil {
			return "", "", err
		}
		if id == label {
			return "", "", fault.New(fault.Data, fmt.Sprintf("%s: column %s is both id and label", file, id), "name two columns")
		}
	}
	return id, label, nil
}

// pickFeatures returns the names of the columns to learn from. Text and time
// columns are left out with a note unless the job asks for them by name.
func (in *Input) pickFeatures(p Party, schema table.Schema, id, label string) ([]string, error) {
	if p.NoFeatures {
		return nil, nil
	}
	var all []string
	numeric := map[string]bool{}
	for _, f := range schema {
		if f.Name == id || f.Name == label {
			continue
		}
		all = append(all, f.Name)
		numeric[f.Name] = f.Type == table.Int || f.Type == table.Float || f.Type == table.Bool
	}
	for _, name := range slices.Concat(p.Features, p.Ignore) {
		if !slices.Contains(all, name) {
			return nil, fault.New(fault.Data, fmt.Sprintf("%s has no feature column %q", in.File, name), suggest.For(name, all))
		}
	}
	var out, text []string
	for _, name := range all {
		switch {
		case slices.Contains(p.Ignore, name), p.Features != nil && !slices.Contains(p.Features, name):
		case numeric[name]:
			out = append(out, name)
		case p.Features != nil:
			return nil, fault.New(fault.Data, fmt.Sprintf("%s: feature column %s is not numeric", in.File, name), "encode it as numbers, say types: {"+name+": float} if it should be, or take it out of features:")
		default:
			text = append(text, name)
		}
	}
	if len(text) > 0 {
		in.Notes = append(in.Notes, fmt.Sprintf("%s: left out, not numeric: %s", p.Name, list(text)))
	}
	if len(out) == 0 && p.Role == session.Host {
		return nil, fault.New(fault.Data, in.File+" has no numeric feature column", "a host brings features: name a file that has some")
	}
	return out, nil
}

// ResolveFeatures returns the columns that the party would learn from: those
// that the job names, else all that are numeric and allowed. What the job names
// is returned whether or not it is allowed, so that whoever decides can say so.
// It opens nothing; schema is that of the party's table. allowed may be nil.
func ResolveFeatures(p Party, schema table.Schema, allowed func(column string) bool) ([]string, error) {
	id, label, err := keyColumns(p, schema, p.Data)
	if err != nil {
		return nil, err
	}
	if p.Features == nil && allowed != nil {
		for _, f := range schema {
			if f.Name != id && f.Name != label && !allowed(f.Name) && !slices.Contains(p.Ignore, f.Name) {
				p.Ignore = append(slices.Clip(p.Ignore), f.Name)
			}
		}
	}
	host := p.Role == session.Host && !p.NoFeatures
	p.Role = session.Guest // which may be without features
	out, err := (&Input{File: p.Data}).pickFeatures(p, schema, id, label)
	if err == nil && len(out) == 0 && host {
		err = fault.New(fault.Data, p.Data+" has no numeric column that may serve as a feature", "allow some in the policy, or name a table that has some")
	}
	return orEmpty(out), err
}

// ResolveKeys returns the columns with the id and the label that the party would
// use; label is "" where none is read.
func ResolveKeys(p Party, schema table.Schema) (id, label string, err error) {
	id, label, err = keyColumns(p, schema, p.Data)
	if p.NoLabel {
		label = ""
	}
	return id, label, err
}
