package table

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func part(t *testing.T, dir, name string, columns ...*Column) {
	t.Helper()
	tb, err := New(columns...)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name), tb)
}

func TestFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	part(t, dir, "part-1.parquet", IntColumn("id", []int64{3, 4, 5}, nil), FloatColumn("x", []float64{.3, .4, .5}))
	part(t, dir, "part-0.parquet", IntColumn("id", []int64{1, 2}, nil), FloatColumn("x", []float64{.1, .2}))
	part(t, dir, "part-2.parquet", FloatColumn("x", nil), IntColumn("id", nil, nil)) // no rows, another order
	part(t, dir, "part-3.PARQUET.parquet", FloatColumn("x", []float64{.6}), IntColumn("id", []int64{6}, nil))
	for _, name := range []string{"_SUCCESS", ".part-0.parquet.crc"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tb, err := Read(t.Context(), dir, Options{BatchRows: 2})
	if err != nil {
		t.Fatal(err)
	}
	want, err := New(IntColumn("id", []int64{1, 2, 3, 4, 5, 6}, nil), FloatColumn("x", []float64{.1, .2, .3, .4, .5, .6}))
	if err != nil {
		t.Fatal(err)
	}
	same(t, tb, want)
	if tb.Source() != dir || tb.Line(5) != 6 {
		t.Errorf("row 5 stands at %s row %d", tb.Source(), tb.Line(5))
	}
	tb, err = Read(t.Context(), dir, Options{Columns: []string{"x"}, Types: map[string]Type{"x": String}})
	if err != nil {
		t.Fatal(err)
	}
	if c := tb.Columns()[0]; len(tb.Columns()) != 1 || c.Text(5) != "0.6" || c.Type() != String {
		t.Errorf("selected: %v, %s", tb.Schema(), c.Text(5))
	}
	r, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestFolderRefused(t *testing.T) {
	t.Parallel()
	good := func(t *testing.T, dir string) {
		part(t, dir, "a.parquet", IntColumn("id", []int64{1}, nil), FloatColumn("x", []float64{1}))
	}
	for _, tt := range []struct {
		name string
		make func(t *testing.T, dir string)
		is   error
		say  string
	}{
		{"empty", func(*testing.T, string) {}, ErrEmpty, "no .parquet file"},
		{"a stranger", func(t *testing.T, dir string) {
			good(t, dir)
			if err := os.WriteFile(filepath.Join(dir, "b.csv"), []byte("id\n1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrFormat, "b.csv"},
		{"a folder inside", func(t *testing.T, dir string) {
			good(t, dir)
			if err := os.Mkdir(filepath.Join(dir, "year=2024"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, ErrFormat, "year=2024"},
		{"a column less", func(t *testing.T, dir string) {
			good(t, dir)
			part(t, dir, "b.parquet", IntColumn("id", []int64{1}, nil))
		}, ErrSchema, `b.parquet: it has no column "x"`},
		{"a column more", func(t *testing.T, dir string) {
			good(t, dir)
			part(t, dir, "b.parquet", IntColumn("id", []int64{1}, nil), FloatColumn("x", []float64{1}), FloatColumn("y", []float64{1}))
		}, ErrSchema, `b.parquet: it has a column "y"`},
		{"another type", func(t *testing.T, dir string) {
			good(t, dir)
			part(t, dir, "b.parquet", IntColumn("id", []int64{1}, nil), IntColumn("x", []int64{1}, nil))
		}, ErrSchema, "column x is of type int, in a.parquet of type float"},
		{"no rows at all", func(t *testing.T, dir string) {
			part(t, dir, "a.parquet", IntColumn("id", nil, nil))
		}, ErrNoRows, "no rows"},
		{"damaged", func(t *testing.T, dir string) {
			good(t, dir)
			if err := os.WriteFile(filepath.Join(dir, "b.parquet"), []byte("PAR1 and no more"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt, "b.parquet"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tt.make(t, dir)
			if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("got %v, want %q", err, tt.say)
			}
		})
	}
	if _, err := OpenFolder(t.Context(), filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	dir := t.TempDir()
	good(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenFolder(ctx, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPromote(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.csv")
	if err := os.WriteFile(path, []byte("x\n1\n2\n2.5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{InferRows: 2, BatchRows: 1, Promote: true}
	r, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []Type
	for {
		b, err := r.Next(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b.Schema()[0].Type)
	}
	if len(got) != 3 || got[0] != Int || got[2] != Float || r.Schema()[0].Type != Float {
		t.Errorf("types %v, schema %v", got, r.Schema())
	}
}
