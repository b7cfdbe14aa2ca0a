package table

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// What Options leaves open.
const (
	DefaultBatchRows = 8192
	DefaultInferRows = 10_000
)

const maxBatchRows = 1 << 20

// Options says how to read a file. The zero value reads every column and
// infers its type.
type Options struct {
	// Columns to keep, in this order; nil keeps all, in the file's order.
	Columns []string
	// Types declared for columns by name. A column declared String is read
	// verbatim: "00123" keeps its zeros, and only an empty cell and the tokens
	// in Missing are missing. Other columns have the type the file or Infer says.
	Types map[string]Type
	// Missing lists further cells that stand for a missing value, as they are
	// written in the file: "-999". See DefaultMissing.
	Missing []string
	// Delimiter of a CSV file: a comma, semicolon, tab or bar; 0 finds out.
	Delimiter rune
	// BatchRows bounds the rows that Next returns; 0 means DefaultBatchRows, and
	// fewer for a table of more than 512 columns.
	BatchRows int
	// InferRows is how many rows inference looks at; 0 means DefaultInferRows.
	InferRows int
	// Promote lets an Int column that was inferred become Float with the batch in
	// which a number with a fraction turns up, where the Reader would else fail.
	Promote bool

	part bool // a file of a folder, which may have no rows
}

// Reader streams a file as tables of at most Options.BatchRows rows.
type Reader interface {
	// Schema returns the columns of every table that Next returns.
	Schema() Schema
	// Next returns the next rows, at least one, or io.EOF after the last. Any
	// other error is final.
	Next(ctx context.Context) (*Table, error)
	// Close releases the file. It is safe to call more than once.
	Close() error
}

// normalise checks o and fills in the defaults.
func (o Options) normalise() (Options, error) {
	switch {
	case o.BatchRows < 0 || o.BatchRows > maxBatchRows:
		return o, fmt.Errorf("%w: BatchRows is %d, want 1 to %d, or 0 for %d", ErrOptions, o.BatchRows, maxBatchRows, DefaultBatchRows)
	case o.InferRows < 0:
		return o, fmt.Errorf("%w: InferRows is %d, want at least 1, or 0 for %d", ErrOptions, o.InferRows, DefaultInferRows)
	case o.Delimiter != 0 && !slices.Contains(delimiters, byte(o.Delimiter&0x7f)) || o.Delimiter > 0x7f || o.Delimiter < 0:
		return o, fmt.Errorf("%w: the delimiter is %q, want a comma, semicolon, tab or bar", ErrOptions, o.Delimiter)
	}
	if o.InferRows == 0 {
		o.InferRows = DefaultInferRows
	}
	seen := make(map[string]bool, len(o.Columns))
	for _, c := range o.Columns {
		if seen[c] {
			return o, fmt.Errorf("%w: column %q is asked for twice", ErrOptions, c)
		}
		seen[c] = true
	}
	for name, t := range o.Types {
		if t < Int || t > Time {
			return o, fmt.Errorf("%w: column %q has the type %s", ErrOptions, name, t)
		}
	}
	return o, nil
}

// batchRows returns the rows of a batch of so many columns. By default it has
// no more than four million cells, which is 32 MiB of numbers.
func (o Options) batchRows(columns int) int {
	const cells = 4 << 20
	if o.BatchRows > 0 {
		return o.BatchRows
	}
	return max(1, min(DefaultBatchRows, cells/columns))
}

// project returns the places of the wanted columns among names, in the order
// wanted, and checks every name in o against the file.
func (o Options) project(file string, names []string) ([]int, error) {
	place := make(map[string]int, len(names))
	for i, n := range names {
		place[n] = i
	}
	for _, n := range slices.Sorted(maps.Keys(o.Types)) {
		if _, ok := place[n]; !ok {
			return nil, &ColumnError{File: file, Column: n, Have: names}
		}
	}
	if o.Columns == nil {
		all := make([]int, len(names))
		for i := range all {
			all[i] = i
		}
		return all, nil
	}
	if len(o.Columns) == 0 {
		return nil, fmt.Errorf("%w: Columns is empty but not nil, so nothing is asked for", ErrOptions)
	}
	keep := make([]int, len(o.Columns))
	for i, n := range o.Columns {
		p, ok := place[n]
		if !ok {
			return nil, &ColumnError{File: file, Column: n, Have: names}
		}
		keep[i] = p
	}
	return keep, nil
}

// Infer returns the schema that reading path with o gives. A column that
// o.Types does not declare has in Parquet the type that the file states; in CSV
// the type of at least nine in ten of the cells with a value among the first
// o.InferRows rows, tried in this order: a number (Int if all of the numbers
// are whole and fit an int64, else Float), a truth value, a time; else String,
// also if there is no value at all. The rows looked at are bounded to 32 MiB.
func Infer(ctx context.Context, path string, o Options) (Schema, error) {
	r, err := Open(ctx, path, o)
	if err != nil {
		return nil, err
	}
	s := r.Schema()
	return s, r.Close()
}

// Read reads all of path into one table. Where a column was inferred to be Int
// and a later cell is a number with a fraction or too big, the whole column
// becomes Float; the streaming Reader cannot go back and fails instead, unless
// o.Promote is set.
func Read(ctx context.Context, path string, o Options) (*Table, error) {
	return ReadSource(ctx, File(path), o)
}
