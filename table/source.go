package table

import (
	"context"
	"io"
	"os"
)

// Source is where a table comes from. It can be opened any number of times.
type Source interface {
	// Open begins to read, see [Reader]. The caller closes the Reader.
	Open(ctx context.Context, o Options) (Reader, error)
	// String names the source in messages to its owner. It holds no secret.
	String() string
}

// File is the [Source] that is a file, or a folder of Parquet files.
type File string

// Open implements Source.
func (f File) Open(ctx context.Context, o Options) (Reader, error) { return Open(ctx, string(f), o) }

// String returns the path.
func (f File) String() string { return string(f) }

// ReadSource reads all of a source into one table, as [Read] does.
func ReadSource(ctx context.Context, src Source, o Options) (t *Table, err error) {
	o.Promote = true
	r, err := src.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := r.Close(); err == nil && cerr != nil {
			t, err = nil, &FileError{File: src.String(), What: "closing: " + cerr.Error(), Err: cerr}
		}
	}()
	var batches []*Table
	for {
		b, err := r.Next(ctx)
		if err == io.EOF {
			return join(batches)
		}
		if err != nil {
			return nil, err
		}
		batches = append(batches, b)
	}
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Copy writes what is left of r to w, which the caller then closes.
func Copy(ctx context.Context, w Writer, r Reader) error {
	for {
		t, err := r.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.Write(t); err != nil {
			return err
		}
	}
}
