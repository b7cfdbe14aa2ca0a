package table

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Writer writes tables of one schema to a file. The file appears under its
// name when Close succeeds, whole, in place of what was there; until then, and
// for good after an error, what was there stays.
type Writer interface {
	// Write appends the rows of t, whose schema must be the Writer's.
	Write(t *Table) error
	// Close completes the file. If it or an earlier Write failed, it removes
	// what was written and returns the error.
	Close() error
	// Abort removes what was written. After Close it does nothing.
	Abort() error
}

// encoder turns tables into the bytes of a format.
type encoder interface {
	write(t *Table) error
	finish() error
}

// Create begins to write path: .csv, .tsv or .parquet. Only the current user
// may read the file: it holds data of persons. The folder must exist.
func Create(path string, schema Schema) (Writer, error) {
	if err := schema.check(); err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	ext := strings.ToLower(filepath.Ext(path))
	if ext != ".csv" && ext != ".tsv" && ext != ".parquet" {
		return nil, &FileError{File: path, Err: ErrFormat, What: "the name does not end in .csv, .tsv or .parquet", Cure: "give it one of these endings"}
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, &FileError{File: path, Err: ErrDirectory, Cure: "name a file in it"}
	}
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+base+".*.tmp")
	if err != nil {
		return nil, createError(path, dir, err)
	}
	w := &fileWriter{path: path, file: f, buf: bufio.NewWriterSize(f, 256<<10), schema: schema}
	switch ext {
	case ".parquet":
		w.enc, err = newParquetEncoder(w.buf, schema)
	case ".tsv":
		w.enc = newCSVEncoder(w.buf, schema, '\t')
	default:
		w.enc = newCSVEncoder(w.buf, schema, ',')
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("writing %s: %w", path, err), w.Abort())
	}
	return w, nil
}

func createError(path, dir string, err error) error {
	e := &FileError{File: path, Err: err, What: "creating it: " + err.Error()}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.What, e.Cure = "there is no folder "+dir, "create it"
	case errors.Is(err, fs.ErrPermission):
		e.What, e.Cure = "this user may not write to the folder "+dir, "change its permissions or write elsewhere"
	}
	return e
}

// fileWriter implements Writer.
type fileWriter struct {
	path   string
	file   *os.File // temporary, in the same folder; nil once closed
	buf    *bufio.Writer
	enc    encoder
	schema Schema
	err    error
}

// Write implements Writer.
func (w *fileWriter) Write(t *Table) error {
	if w.err != nil {
		return w.err
	}
	if w.file == nil {
		return fmt.Errorf("writing %s: %w", w.path, ErrClosed)
	}
	if have := t.Schema(); !have.Equal(w.schema) {
		return fmt.Errorf("writing %s: %w: the table has %s, the file %s", w.path, ErrSchema, describe(have), describe(w.schema))
	}
	if err := guard(func() error { return w.enc.write(t) }); err != nil {
		w.err = &FileError{File: w.path, Err: err, What: "writing: " + err.Error(), Cure: "check that the disk is not full"}
	}
	return w.err
}

func describe(s Schema) string {
	const limit = 6
	var b strings.Builder
	for i, f := range s {
		if i == limit {
			fmt.Fprintf(&b, " and %d more", len(s)-limit)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f.Name + " " + f.Type.String())
	}
	return b.String()
}

// Close implements Writer.
func (w *fileWriter) Close() error {
	if w.file == nil {
		return w.err
	}
	if w.err != nil {
		return errors.Join(w.err, w.Abort())
	}
	if err := w.complete(); err != nil {
		w.err = &FileError{File: w.path, Err: err, What: "completing: " + err.Error(), Cure: "check that the disk is not full"}
		return errors.Join(w.err, w.Abort())
	}
	return nil
}

func (w *fileWriter) complete() error {
	if err := guard(w.enc.finish); err != nil {
		return err
	}
	if err := w.buf.Flush(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if err := w.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), w.path); err != nil {
		return err
	}
	w.file = nil
	return nil
}

// Abort implements Writer.
func (w *fileWriter) Abort() error {
	if w.file == nil {
		return nil
	}
	w.file.Close() // an error changes nothing: the file goes away
	err := os.Remove(w.file.Name())
	w.file = nil
	if w.err == nil {
		w.err = fmt.Errorf("writing %s: %w", w.path, ErrClosed)
	}
	return err
}

// csvEncoder writes RFC 4180 with "\n" at the end of each line.
type csvEncoder struct {
	w     io.Writer
	delim byte
	row   []byte
	cell  []byte
	lone  bool // one column: an empty cell would be an empty line
}

func newCSVEncoder(w io.Writer, schema Schema, delim byte) *csvEncoder {
	e := &csvEncoder{w: w, delim: delim, lone: len(schema) == 1}
	for i, f := range schema {
		e.separate(i)
		e.add([]byte(f.Name))
	}
	return e
}

func (e *csvEncoder) separate(column int) {
	if column > 0 {
		e.row = append(e.row, e.delim)
	}
}

// add appends a cell, in quotes if it needs them. It protects every delimiter
// that Open might guess, not only its own.
func (e *csvEncoder) add(cell []byte) {
	needs := e.lone && len(cell) == 0
	for _, c := range cell {
		if c == '"' || c == '\n' || c == '\r' || bytes.IndexByte(delimiters, c) >= 0 {
			needs = true
			break
		}
	}
	if !needs {
		e.row = append(e.row, cell...)
		return
	}
	e.row = append(e.row, '"')
	for _, c := range cell {
		if c == '"' {
			e.row = append(e.row, '"')
		}
		e.row = append(e.row, c)
	}
	e.row = append(e.row, '"')
}

// end writes the row.
func (e *csvEncoder) end() error {
	_, err := e.w.Write(append(e.row, '\n'))
	e.row = e.row[:0]
	return err
}

func (e *csvEncoder) write(t *Table) error {
	if len(e.row) > 0 { // the header
		if err := e.end(); err != nil {
			return err
		}
	}
	for i := range t.rows {
		for j, c := range t.columns {
			e.separate(j)
			if c.typ == String {
				e.cell = append(e.cell[:0], c.strs[i]...)
			} else {
				e.cell = c.appendText(e.cell[:0], i)
			}
			e.add(e.cell)
		}
		if err := e.end(); err != nil {
			return err
		}
	}
	return nil
}

func (e *csvEncoder) finish() error {
	if len(e.row) > 0 {
		return e.end()
	}
	return nil
}
