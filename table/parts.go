package table

import (
	"context"
	"fmt"
	"strings"
)

// Part refers to rows of a file, without holding any: it costs nothing to hand on
// and is the same tomorrow as long as the file is.
type Part struct {
	Path  string `json:"path"`
	First int64  `json:"first,omitempty"` // row, from 0
	Rows  int64  `json:"rows,omitempty"`  // 0 for all of the file
}

// partRows is how many rows a part has at least, where its file has as many.
const partRows = 1 << 17

// Parts splits the table at path into parts that together are all of it, in order:
// row groups of Parquet files. A CSV file is one part, because where its rows
// begin is not known before it is read.
func Parts(ctx context.Context, path string) ([]Part, error) {
	files := []string{path}
	if isFolder(path) {
		r, err := OpenFolder(ctx, path, Options{}) // checks that its files fit together
		if err != nil {
			return nil, err
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
		if files, err = FolderFiles(path); err != nil {
			return nil, err
		}
	} else {
		r, err := Open(ctx, path, Options{})
		if err != nil {
			return nil, err
		}
		_, parquet := r.(*parquetReader)
		if err := r.Close(); err != nil {
			return nil, err
		}
		if !parquet {
			return []Part{{Path: path}}, nil
		}
	}
	var out []Part
	for _, f := range files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		p, err := openPart(f, Options{part: true})
		if err != nil {
			return nil, err
		}
		out = append(out, p.parts()...)
		if err := p.Close(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// parts joins row groups into parts of at least partRows.
func (r *parquetReader) parts() (out []Part) {
	first, rows := int64(0), int64(0)
	for i := range r.groups {
		if rows += r.groups[i].NumRows; rows >= partRows || rows > 0 && i == len(r.groups)-1 {
			out = append(out, Part{Path: r.path, First: first, Rows: rows})
			first, rows = first+rows, 0
		}
	}
	if rows > 0 {
		out = append(out, Part{Path: r.path, First: first, Rows: rows})
	}
	return out
}

// OpenPart begins to read a part that [Parts] gave. Rows are counted through its file.
func OpenPart(ctx context.Context, p Part, o Options) (Reader, error) {
	if p.Rows == 0 {
		return Open(ctx, p.Path, o)
	}
	o, err := o.normalise()
	if err != nil {
		return nil, err
	}
	r, err := openPart(p.Path, o)
	if err != nil {
		return nil, err
	}
	if err := r.narrow(p); err != nil {
		r.Close() // nothing was written
		return nil, err
	}
	return r, nil
}

// narrow has r read the rows of p only.
func (r *parquetReader) narrow(p Part) error {
	var bounds []string
	at := int64(0)
	group := -1
	for i := range r.groups {
		if at == p.First && r.groups[i].NumRows > 0 {
			group = i
		}
		at += r.groups[i].NumRows
		bounds = append(bounds, fmt.Sprint(at))
	}
	if group < 0 || p.Rows < 0 || p.Rows > at-p.First {
		return &FileError{File: r.path, Err: ErrCorrupt, What: fmt.Sprintf("it has no rows %d to %d; its row groups end at %s", p.First, p.First+p.Rows, shorten(strings.Join(bounds, ", "))), Cure: "begin again: the file was changed meanwhile"}
	}
	r.left, r.done = p.Rows, int(p.First)
	for _, c := range r.columns {
		c.group = group
	}
	return nil
}
