package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// parquetReader implements Reader.
type parquetReader struct {
	path    string
	file    *os.File
	size    int64
	groups  []format.RowGroup
	virtual *parquet.File
	columns []*parquetColumn
	custom  *tokens // from Options; nil if none
	batch   int
	left    int64 // rows not yet read
	done    int   // rows read
	buf     []parquet.Value
	err     error
}

// parquetColumn is a wanted column, its place in the file and the batch under
// construction, which has the type that the file gives it.
type parquetColumn struct {
	builder
	want   Type
	decode decoder
	leaf   int    // the column's number among the leaves of the schema
	group  int    // the row group to begin next
	due    int64  // values of this row group still to come
	chunk  *chunk // of this row group
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	inPage int64 // values of this page still to come
}

// guard runs f and turns a panic into an error: the Parquet library panics on
// some damaged files.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoding: %v", p)
		}
	}()
	return f()
}

// damaged describes an error that the library gave for a file.
func damaged(path string, err error) error {
	var known *FileError
	if errors.As(err, &known) {
		return err
	}
	return &FileError{File: path, Err: errors.Join(ErrCorrupt, err), What: "the Parquet file is damaged: " + err.Error(), Cure: "export it again"}
}

func openParquet(f *os.File, path string, o Options) (*parquetReader, error) {
	r := &parquetReader{path: path, file: f, buf: make([]parquet.Value, 1024)}
	if len(o.Missing) > 0 {
		r.custom = newTokens(o.Missing)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, &FileError{File: path, Err: err, What: err.Error()}
	}
	r.size = info.Size()
	if err := guard(func() error { return r.bind(o) }); err != nil {
		return nil, r.typed(err)
	}
	if r.left == 0 && !o.part {
		return nil, &FileError{File: path, Err: ErrNoRows, What: "there are no rows", Cure: "export it again, with rows"}
	}
	return r, nil
}

// typed leaves errors of ours alone and calls the file damaged for the rest.
func (r *parquetReader) typed(err error) error {
	for _, target := range []any{new(*FileError), new(*CellError), new(*ColumnError), new(*TypeError)} {
		if errors.As(err, target) {
			return err
		}
	}
	if errors.Is(err, ErrOptions) {
		return err
	}
	return damaged(r.path, err)
}

// bind finds the wanted columns in the file.
func (r *parquetReader) bind(o Options) error {
	meta, err := readFooter(r.file, r.size)
	if err != nil {
		return err
	}
	if meta.EncryptionAlgorithm.Value != nil {
		return &FileError{File: r.path, Err: ErrFormat, What: "it is an encrypted Parquet file", Cure: "decrypt it first"}
	}
	pf, err := virtual(meta)
	if err != nil {
		return err
	}
	r.groups, r.virtual = meta.RowGroups, pf
	names, err := columnNames(r.path, pf.Root().Columns())
	if err != nil {
		return err
	}
	keep, err := o.project(r.path, names)
	if err != nil {
		return err
	}
	r.batch = o.batchRows(len(keep))
	for _, p := range keep {
		col := pf.Root().Columns()[p]
		c := &parquetColumn{}
		c.Name = col.Name()
		c.want = o.Types[c.Name]
		if c.Type, c.decode, err = decoderFor(col, c.want); err != nil {
			return r.at(c, 0, err)
		}
		if c.want == 0 {
			c.want = c.Type
		}
		if !convertible(c.Type, c.want) {
			return &TypeError{File: r.path, Column: c.Name, Have: c.Type, Want: c.want}
		}
		c.leaf = col.Index()
		r.columns = append(r.columns, c)
	}
	for i := range r.groups {
		n := r.groups[i].NumRows
		if n < 0 || r.left+n < 0 {
			return errors.New("it claims an impossible number of rows")
		}
		r.left += n
	}
	return nil
}

func columnNames(path string, columns []*parquet.Column) ([]string, error) {
	names := make([]string, len(columns))
	seen := make(map[string]int, len(columns))
	for i, c := range columns {
		name := c.Name()
		if name == "" {
			return nil, &FileError{File: path, Err: ErrHeader, What: "column " + itoa(i+1) + " has no name", Cure: "name every column"}
		}
		if j, ok := seen[name]; ok {
			return nil, &FileError{File: path, Err: ErrHeader, What: "columns " + itoa(j+1) + " and " + itoa(i+1) + " are both named " + quote(name), Cure: "give each column a name of its own"}
		}
		seen[name] = i
		names[i] = name
	}
	return names, nil
}

// at adds file, column and row to an error of a decoder.
func (r *parquetReader) at(c *parquetColumn, row int, err error) error {
	switch e := err.(type) {
	case *CellError:
		e.File, e.Column, e.Row = r.path, c.Name, row
	case *TypeError:
		e.File, e.Column = r.path, c.Name
	case *FileError:
		e.File = r.path
		e.What = fmt.Sprintf("column %s, row %d: %s", c.Name, row, e.What)
	default:
		return damaged(r.path, fmt.Errorf("column %s: %w", c.Name, err))
	}
	return err
}

// Schema implements Reader.
func (r *parquetReader) Schema() Schema {
	s := make(Schema, len(r.columns))
	for i, c := range r.columns {
		s[i] = Field{c.Name, c.want}
	}
	return s
}

// Close implements Reader.
func (r *parquetReader) Close() error {
	if r.file == nil {
		return nil
	}
	for _, c := range r.columns {
		c.closePages()
	}
	err := r.file.Close()
	r.file = nil
	if r.err == nil {
		r.err = ErrClosed
	}
	return err
}

// Next implements Reader.
func (r *parquetReader) Next(ctx context.Context) (*Table, error) {
	if r.err != nil {
		return nil, r.err
	}
	t, err := r.next(ctx)
	if err != nil {
		r.err = err
	}
	return t, err
}

func (r *parquetReader) next(ctx context.Context) (*Table, error) {
	if r.left == 0 {
		return nil, io.EOF
	}
	n := int(min(int64(r.batch), r.left))
	t := &Table{rows: n, columns: make([]*Column, len(r.columns)), origin: origin{file: r.path}}
	t.origin.add(0, r.done+1)
	for i, c := range r.columns {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c.reset(n)
		if err := guard(func() error { return r.fill(c, n) }); err != nil {
			return nil, r.typed(err)
		}
		col := c.column()
		if r.custom != nil {
			col = blank(col, r.custom)
		}
		col, row, err := convert(col, c.want)
		if err != nil {
			return nil, r.at(c, r.done+row+1, err)
		}
		t.columns[i] = col
	}
	r.left -= int64(n)
	r.done += n
	return t, nil
}

// fill reads n values of c, from as many pages and row groups as it takes.
func (r *parquetReader) fill(c *parquetColumn, n int) error {
	for c.n < n {
		if c.due == 0 {
			if err := r.nextGroup(c); err != nil {
				return r.at(c, 0, err)
			}
			continue
		}
		if c.inPage == 0 {
			c.closePage()
			if err := c.nextPage(); err != nil {
				return r.at(c, 0, err)
			}
			continue
		}
		k, err := c.values.ReadValues(r.buf[:min(int64(len(r.buf)), int64(n-c.n), c.inPage)])
		if err != nil && err != io.EOF {
			return r.at(c, 0, err)
		}
		if k == 0 {
			return r.at(c, 0, errors.New("a page has fewer values than it says"))
		}
		c.due -= int64(k)
		c.inPage -= int64(k)
		for _, v := range r.buf[:k] {
			if v.IsNull() {
				c.absent()
			} else if err := c.decode(v, &c.builder); err != nil {
				return r.at(c, r.done+c.n+1, err)
			}
		}
	}
	return nil
}

// nextGroup moves c to the next row group.
func (r *parquetReader) nextGroup(c *parquetColumn) error {
	if c.group == len(r.groups) {
		return errors.New("it has fewer values than the file has rows")
	}
	c.closePages()
	group := c.group
	g := &r.groups[group]
	c.group++
	c.due = g.NumRows
	if c.due == 0 {
		return nil
	}
	var err error
	if c.chunk, err = newChunk(r.file, &g.Columns[c.leaf], g.NumRows, r.size, c.chunk); err != nil {
		return err
	}
	part, ok := r.virtual.RowGroups()[group].ColumnChunks()[c.leaf].(*parquet.FileColumnChunk)
	if !ok {
		return errors.New("it has no pages")
	}
	c.pages = part.PagesFrom(c.chunk)
	return nil
}

func (c *parquetColumn) nextPage() error {
	page, err := c.pages.ReadPage()
	if err != nil {
		if c.chunk.err != nil && c.chunk.err != io.EOF {
			return c.chunk.err
		}
		if err == io.EOF {
			return errors.New("a row group has fewer values than rows")
		}
		return err
	}
	c.page, c.values, c.inPage = page, page.Values(), page.NumValues()
	return nil
}

func (c *parquetColumn) closePage() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	c.page, c.values = nil, nil
}

func (c *parquetColumn) closePages() {
	c.closePage()
	if c.pages != nil {
		c.pages.Close()
		c.pages = nil
	}
}
