package table

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

func itoa(i int) string     { return strconv.Itoa(i) }
func quote(s string) string { return strconv.Quote(shorten(s)) }

// csvReader implements Reader.
type csvReader struct {
	path    string
	file    io.Closer
	scan    *scanner
	width   int // cells a record must have
	columns []*csvColumn
	custom  *tokens // from Options; nil if none
	batch   int
	promote bool // an inferred Int column may become Float
	err     error
}

// csvColumn is a wanted column and the batch under construction.
type csvColumn struct {
	builder
	place    int // in the record
	declared bool
}

func newCSVReader(ctx context.Context, src *bufio.Reader, file io.Closer, path string, o Options) (*csvReader, error) {
	r := &csvReader{path: path, file: file, promote: o.Promote}
	if len(o.Missing) > 0 {
		r.custom = newTokens(o.Missing)
	}
	// Inference keeps the bytes that it reads and they are then scanned again,
	// so that a pipe can be read as well as a file.
	var seen bytes.Buffer
	r.scan = newScanner(io.TeeReader(src, &seen), byte(o.Delimiter))
	names, err := r.header()
	if err != nil {
		return nil, err
	}
	keep, err := o.project(path, names)
	if err != nil {
		return nil, err
	}
	r.width, r.batch = len(names), o.batchRows(len(keep))
	for _, p := range keep {
		t, declared := o.Types[names[p]]
		r.columns = append(r.columns, &csvColumn{builder: builder{Field: Field{names[p], t}}, place: p, declared: declared})
	}
	if err := r.infer(ctx, o.InferRows); err != nil {
		return nil, err
	}
	r.scan = newScanner(io.MultiReader(&seen, src), byte(o.Delimiter))
	_, err = r.scan.next() // the header, which was good a moment ago
	return r, r.wrap(err)
}

func (r *csvReader) header() ([]string, error) {
	rec, err := r.scan.next()
	if err == io.EOF {
		return nil, &FileError{File: r.path, Err: ErrEmpty, What: "there are only empty lines", Cure: "export it again"}
	}
	if err != nil {
		return nil, r.wrap(err)
	}
	return parseHeader(r.path, rec)
}

// wrap turns an error of the scanner into one that names the file.
func (r *csvReader) wrap(err error) error {
	var s *scanError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &s):
		return &FileError{File: r.path, Line: s.line, Err: s.err, What: s.what, Cure: s.cure}
	}
	return &FileError{File: r.path, Line: r.scan.line, Err: errors.Join(ErrCorrupt, err), What: "reading: " + err.Error(), Cure: "check the disk, and export the file again if it is compressed"}
}

// Schema implements Reader.
func (r *csvReader) Schema() Schema {
	s := make(Schema, len(r.columns))
	for i, c := range r.columns {
		s[i] = c.Field
	}
	return s
}

// Close implements Reader.
func (r *csvReader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	if r.err == nil {
		r.err = ErrClosed
	}
	return err
}

// Next implements Reader.
func (r *csvReader) Next(ctx context.Context) (*Table, error) {
	if r.err != nil {
		return nil, r.err
	}
	t, err := r.next(ctx)
	if err != nil {
		r.err = err
	}
	return t, err
}

func (r *csvReader) next(ctx context.Context) (*Table, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	t := &Table{columns: make([]*Column, len(r.columns)), origin: origin{file: r.path, lines: true}}
	for _, c := range r.columns {
		c.reset(r.batch)
	}
	for ; t.rows < r.batch; t.rows++ {
		rec, err := r.record()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		t.origin.add(t.rows, rec.line)
		for _, c := range r.columns {
			if err := r.cell(c, rec); err != nil {
				return nil, err
			}
		}
	}
	if t.rows == 0 {
		return nil, io.EOF
	}
	for i, c := range r.columns {
		t.columns[i] = c.column()
	}
	return t, nil
}

// record returns the next row, which has the right number of cells.
func (r *csvReader) record() (*record, error) {
	rec, err := r.scan.next()
	if err == io.EOF {
		return nil, io.EOF
	}
	if err != nil {
		return nil, r.wrap(err)
	}
	if rec.len() != r.width {
		return nil, &RaggedError{File: r.path, Line: rec.line, Got: rec.len(), Want: r.width}
	}
	return rec, nil
}

// cell appends one cell to its column.
func (r *csvReader) cell(c *csvColumn, rec *record) error {
	raw := rec.cell(c.place)
	cell := trim(raw)
	if len(cell) == 0 || r.custom != nil && r.custom.has(cell) {
		c.absent()
		return nil
	}
	if c.Type != String {
		if c.parse(cell) {
			return nil
		}
		return r.misfit(c, rec, cell)
	}
	if !c.declared && defaultTokens.has(cell) {
		c.absent()
		return nil
	}
	if !utf8.Valid(raw) {
		return &FileError{File: r.path, Line: rec.lineOf(c.place), Err: ErrEncoding, What: "column " + c.Name + " holds text that is not UTF-8", Cure: "save the file as UTF-8"}
	}
	c.addText(raw)
	return nil
}

// misfit handles a cell that its column's type cannot hold.
func (r *csvReader) misfit(c *csvColumn, rec *record, cell []byte) error {
	e := &CellError{File: r.path, Line: rec.lineOf(c.place), Column: c.Name, Value: shorten(string(cell)), Want: c.Type}
	v, isFloat := parseFloat(cell)
	if isFloat && c.Type == Int && !c.declared {
		if r.promote {
			c.toFloat()
			c.addFloat(v)
			return nil
		}
		e.Cure = "the rows before it are all whole numbers; declare the column float"
		return e
	}
	e.Cure = "correct the cell, list it as missing"
	if c.declared {
		e.Cure += " or declare another type for the column"
	} else {
		e.Cure += " or declare the column string"
	}
	return e
}

// inferBytes bounds the rows that inference holds.
const inferBytes = 32 << 20

// tally counts what the cells of a column could be.
type tally struct{ values, ints, floats, bools, times int }

// infer sets the type of every column that has none from the next rows, at
// most limit of them. It fails if there is no row.
func (r *csvReader) infer(ctx context.Context, limit int) error {
	open := make(map[*csvColumn]*tally)
	for _, c := range r.columns {
		if !c.declared {
			open[c] = &tally{}
		}
	}
	if len(open) == 0 {
		limit = 1
	}
	bytesSeen := 0
	for n := range limit {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rec, err := r.record()
		if err == io.EOF && n == 0 {
			return &FileError{File: r.path, Err: ErrNoRows, Cure: "export it again, with rows"}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for _, c := range r.columns {
			if t := open[c]; t != nil {
				t.add(trim(rec.cell(c.place)), r.custom)
			}
		}
		if bytesSeen += len(rec.data); bytesSeen > inferBytes {
			break
		}
	}
	for c, t := range open {
		c.Type = t.decide()
	}
	return nil
}

func (t *tally) add(cell []byte, custom *tokens) {
	if len(cell) == 0 || custom != nil && custom.has(cell) {
		return
	}
	if _, ok := parseInt(cell); ok {
		t.ints++
		t.floats++
	} else if _, ok := parseFloat(cell); ok {
		t.floats++
	} else if defaultTokens.has(cell) {
		return
	} else if _, ok := parseBool(cell); ok {
		t.bools++
	} else if _, ok := parseTime(cell); ok {
		t.times++
	}
	t.values++
}

func (t *tally) decide() Type {
	most := func(n int) bool { return t.values > 0 && 10*n >= 9*t.values }
	switch {
	case most(t.floats) && t.ints == t.floats:
		return Int
	case most(t.floats):
		return Float
	case most(t.bools):
		return Bool
	case most(t.times):
		return Time
	}
	return String
}
