package table

import (
	"fmt"
	"sort"
)

// Table is an immutable set of equally long columns with distinct names.
type Table struct {
	columns []*Column
	rows    int
	origin  origin
}

// New returns a table of the columns given, in that order. Columns that differ
// in length or share a name are an error that wraps [ErrSchema].
func New(columns ...*Column) (*Table, error) {
	t := &Table{columns: columns}
	if err := t.Schema().check(); err != nil {
		return nil, err
	}
	t.rows = columns[0].n
	for _, c := range columns {
		if c.n != t.rows {
			return nil, fmt.Errorf("%w: column %s has %d rows, column %s has %d", ErrSchema, columns[0].name, t.rows, c.name, c.n)
		}
	}
	return t, nil
}

// Len returns the number of rows.
func (t *Table) Len() int { return t.rows }

// Columns returns the columns in order. The slice is the table's own.
func (t *Table) Columns() []*Column { return t.columns }

// Column returns the column of that name.
func (t *Table) Column(name string) (*Column, bool) {
	for _, c := range t.columns {
		if c.name == name {
			return c, true
		}
	}
	return nil, false
}

// Schema returns names and types in order.
func (t *Table) Schema() Schema {
	s := make(Schema, len(t.columns))
	for i, c := range t.columns {
		s[i] = Field{Name: c.name, Type: c.typ}
	}
	return s
}

// Select returns a table of the columns named, in that order, which shares
// them with t. A name that t does not have is a [*ColumnError].
func (t *Table) Select(names ...string) (*Table, error) {
	out := &Table{rows: t.rows, origin: t.origin, columns: make([]*Column, len(names))}
	for i, n := range names {
		c, ok := t.Column(n)
		if !ok {
			return nil, &ColumnError{File: t.origin.file, Column: n, Have: t.Schema().Names()}
		}
		out.columns[i] = c
	}
	if err := out.Schema().check(); err != nil {
		return nil, err
	}
	return out, nil
}

// Take returns the rows named, in that order; a row may occur more than once.
// As with a slice, an index outside [0, Len) panics.
func (t *Table) Take(rows []int) *Table {
	out := &Table{rows: len(rows), columns: make([]*Column, len(t.columns))}
	for i, c := range t.columns {
		out.columns[i] = c.take(rows)
	}
	out.origin = origin{file: t.origin.file, lines: t.origin.lines}
	for i, r := range rows {
		out.origin.add(i, t.origin.at(r))
	}
	return out
}

// Source returns the path of the file that the rows came from, "" for a table
// made in memory.
func (t *Table) Source() string { return t.origin.file }

// Line says where row i stands in its source: the line on which it begins in a
// CSV file, else the number of the row. Both count from 1.
func (t *Table) Line(i int) int { return t.origin.at(i) }

// origin maps rows to places in a file. Rows that follow each other line by
// line are one run, so a file without quoted newlines and blank lines needs
// one run in all.
type origin struct {
	file  string
	lines bool // places are lines, not row numbers
	runs  []run
}

// run says that row stands at place, row+1 at place+1 and so on.
type run struct{ row, place int }

// add records the place of a row; rows are added in order.
func (o *origin) add(row, place int) {
	if k := len(o.runs); k > 0 {
		if r := o.runs[k-1]; place-r.place == row-r.row {
			return
		}
	}
	o.runs = append(o.runs, run{row, place})
}

func (o *origin) at(row int) int {
	k := sort.Search(len(o.runs), func(k int) bool { return o.runs[k].row > row })
	if k == 0 {
		return row + 1
	}
	return o.runs[k-1].place + row - o.runs[k-1].row
}

func (o *origin) unit() string {
	if o.lines {
		return "line"
	}
	return "row"
}

// join concatenates batches of one file into one table. It empties the batches.
func join(batches []*Table) (*Table, error) {
	first := batches[0]
	if len(batches) == 1 {
		return first, nil
	}
	out := &Table{columns: make([]*Column, len(first.columns))}
	out.origin = origin{file: first.origin.file, lines: first.origin.lines}
	for _, b := range batches {
		for _, r := range b.origin.runs {
			out.origin.add(out.rows+r.row, r.place)
		}
		out.rows += b.rows
	}
	parts := make([]*Column, len(batches))
	for j := range out.columns {
		for i, b := range batches {
			parts[i], b.columns[j] = b.columns[j], nil
		}
		c, err := concat(parts)
		if err != nil {
			return nil, fmt.Errorf("joining the batches of %s: %w", out.origin.file, err)
		}
		out.columns[j] = c
	}
	return out, nil
}
