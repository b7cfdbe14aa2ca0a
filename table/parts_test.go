package table

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestParts(t *testing.T) {
	t.Parallel()
	const rows = 300_000
	ids := make([]int64, rows)
	for i := range ids {
		ids[i] = int64(i)
	}
	dir := t.TempDir()
	part(t, dir, "a.parquet", IntColumn("id", ids, nil))
	part(t, dir, "b.parquet", IntColumn("id", nil, nil))
	part(t, dir, "c.parquet", IntColumn("id", ids[:5], nil))
	parts, err := Parts(t.Context(), dir)
	if err != nil || len(parts) < 4 {
		t.Fatal(parts, err)
	}
	at, sum := int64(0), int64(0)
	for _, p := range parts {
		if filepath.Base(p.Path) == "c.parquet" {
			at = 0
		}
		if p.First != at || p.Rows < 1 {
			t.Fatalf("%+v at row %d", p, at)
		}
		r, err := OpenPart(t.Context(), p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		n := int64(0)
		for {
			b, err := r.Next(t.Context())
			if err != nil {
				break
			}
			v, err := b.Columns()[0].Ints()
			if err != nil {
				t.Fatal(err)
			}
			if v[0] != at+n || int64(b.Line(0)) != at+n+1 {
				t.Fatalf("%+v: row %d holds %d and says it is %d", p, n, v[0], b.Line(0))
			}
			n += int64(len(v))
		}
		if err := r.Close(); err != nil || n != p.Rows {
			t.Fatalf("%+v gave %d rows, %v", p, n, err)
		}
		at += n
		sum += n
	}
	if sum != rows+5 {
		t.Errorf("%d rows in all", sum)
	}
	for _, p := range []Part{{parts[0].Path, 1, 5}, {parts[0].Path, 0, rows + 1}, {parts[0].Path, -1, 5}, {parts[0].Path, 0, -1}, {parts[0].Path, parts[1].First, rows}} {
		if _, err := OpenPart(t.Context(), p, Options{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	csv := filepath.Join(dir, "a.csv")
	if err := os.WriteFile(csv, []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if parts, err := Parts(t.Context(), csv); err != nil || len(parts) != 1 || parts[0] != (Part{Path: csv}) {
		t.Errorf("CSV: %v %v", parts, err)
	}
	r, err := OpenPart(t.Context(), Part{Path: csv}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Parts(t.Context(), dir); !errors.Is(err, ErrFormat) {
		t.Errorf("a folder with a CSV in it: %v", err)
	}
	if _, err := Parts(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Parts(ctx, csv); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
