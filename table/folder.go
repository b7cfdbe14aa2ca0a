package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxParts bounds the files of a folder.
const maxParts = 100_000

// FolderFiles returns the paths of the Parquet files of a folder, by name. What
// begins with a dot or an underscore is not part of the table: that is how
// other tools mark their own files. Anything else that is no Parquet file, and a
// folder in it, is an error, because rows in it would be missed in silence.
func FolderFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &FileError{File: dir, Err: fs.ErrNotExist, What: "there is no such folder", Cure: "check the path"}
	case errors.Is(err, fs.ErrPermission):
		return nil, &FileError{File: dir, Err: err, What: "this user may not read the folder", Cure: "change its permissions"}
	case err != nil:
		return nil, &FileError{File: dir, Err: err, What: "reading the folder: " + err.Error()}
	}
	var out []string
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(dir, name)
		switch {
		case name[0] == '.' || name[0] == '_':
			continue
		case isFolder(path):
			return nil, &FileError{File: dir, Err: ErrFormat, What: "it holds the folder " + quote(name) + "; folders in folders (partitions) are not read", Cure: "name the inner folder, or put all files into one"}
		case !strings.EqualFold(filepath.Ext(name), ".parquet"):
			return nil, &FileError{File: dir, Err: ErrFormat, What: "it holds " + quote(name) + ", which is no .parquet file", Cure: "move it away, or name one file instead of the folder"}
		}
		if out = append(out, path); len(out) > maxParts {
			return nil, &FileError{File: dir, Err: ErrFormat, What: fmt.Sprintf("it has more than %d files", maxParts), Cure: "write fewer, bigger files"}
		}
	}
	if len(out) == 0 {
		return nil, &FileError{File: dir, Err: ErrEmpty, What: "there is no .parquet file in the folder", Cure: "check the path"}
	}
	return out, nil
}

// folderReader implements Reader for a folder of Parquet files.
type folderReader struct {
	dir    string
	files  []string // still to be read
	o      Options
	schema Schema
	part   Reader // being read; nil between files
	rows   int    // read
	done   bool
	err    error
}

// OpenFolder begins to read a folder of Parquet files as one table: one file
// after the other, by name. All have the same columns with the same types, which
// is checked for every file before the first row is read.
func OpenFolder(ctx context.Context, dir string, o Options) (Reader, error) {
	o, err := o.normalise()
	if err != nil {
		return nil, err
	}
	files, err := FolderFiles(dir)
	if err != nil {
		return nil, err
	}
	r := &folderReader{dir: dir, files: files, o: o}
	r.o.part = true
	total := int64(0)
	for i, f := range files {
		rows, err := r.look(ctx, i, f)
		if err != nil {
			return nil, err
		}
		total += rows
	}
	if total == 0 {
		return nil, &FileError{File: dir, Err: ErrNoRows, What: "there are no rows in any of its files", Cure: "export it again, with rows"}
	}
	r.o.Columns = r.schema.Names()
	return r, nil
}

// look checks the columns of file i against those of the first and counts rows.
func (r *folderReader) look(ctx context.Context, i int, file string) (rows int64, err error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	p, err := openPart(file, r.o)
	if err != nil {
		return 0, err
	}
	defer p.Close() // nothing was written, and nothing more is read
	if i == 0 {
		r.schema = p.Schema()
		return p.left, nil
	}
	return p.left, sameColumns(r.files[0], file, r.schema, p.Schema())
}

// sameColumns compares two files of one table; the order of columns is free.
func sameColumns(first, file string, want, have Schema) error {
	fail := func(what string) error {
		return &FileError{File: file, Err: ErrSchema, What: what + "; all files of a folder have the same columns", Cure: "export the folder again, or move the file away"}
	}
	types := make(map[string]Type, len(have))
	for _, f := range have {
		types[f.Name] = f.Type
	}
	for _, f := range want {
		t, ok := types[f.Name]
		switch {
		case !ok:
			return fail("it has no column " + quote(f.Name) + ", which " + filepath.Base(first) + " has")
		case t != f.Type:
			return fail(fmt.Sprintf("column %s is of type %s, in %s of type %s", f.Name, t, filepath.Base(first), f.Type))
		}
		delete(types, f.Name)
	}
	for _, f := range have {
		if _, more := types[f.Name]; more {
			return fail("it has a column " + quote(f.Name) + ", which " + filepath.Base(first) + " does not have")
		}
	}
	return nil
}

func openPart(file string, o Options) (*parquetReader, error) {
	f, err := openFile(file)
	if err != nil {
		return nil, err
	}
	p, err := openParquet(f, file, o)
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// Schema implements Reader.
func (r *folderReader) Schema() Schema { return r.schema }

// Close implements Reader.
func (r *folderReader) Close() error {
	if r.done {
		return nil
	}
	r.done = true
	if r.err == nil {
		r.err = ErrClosed
	}
	if r.part == nil {
		return nil
	}
	return r.part.Close()
}

// Next implements Reader.
func (r *folderReader) Next(ctx context.Context) (*Table, error) {
	if r.err != nil {
		return nil, r.err
	}
	t, err := r.next(ctx)
	if err != nil {
		r.err = err
	}
	return t, err
}

func (r *folderReader) next(ctx context.Context) (*Table, error) {
	for {
		if r.part == nil {
			if len(r.files) == 0 {
				return nil, io.EOF
			}
			p, err := openPart(r.files[0], r.o)
			if err != nil {
				return nil, err
			}
			r.part, r.files = p, r.files[1:]
		}
		t, err := r.part.Next(ctx)
		if err == io.EOF {
			err = r.part.Close()
			if r.part = nil; err != nil {
				return nil, &FileError{File: r.dir, What: "closing: " + err.Error(), Err: err}
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		// Rows are counted through the folder; an error in a cell still names its file.
		t.origin = origin{file: r.dir}
		t.origin.add(0, r.rows+1)
		r.rows += t.rows
		return t, nil
	}
}
