package table

import (
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// randomTable has a column of each type. Texts are such that CSV can hold them:
// it knows no empty text that is not missing.
func randomTable(rng *rand.Rand, rows int) *Table {
	edge := []float64{0, 1, -1, 1e21, 1e-5, 9.99e-6, 1e300, 5e-324, math.MaxFloat64, 1 << 53, 123456789, 0.1, math.Inf(1), math.Inf(-1)}
	texts := []string{"a", " ", "ü", "日本", "\"", "\"\"", "a,b", "a;b\t|", "line\nbreak", "win\r\ndows", "\r", "NA", "1", " x ", "😀", "true", "\\N", "a\"b", "0\x01"}
	var (
		f     = make([]float64, rows)
		i64   = make([]int64, rows)
		s     = make([]string, rows)
		b     = make([]bool, rows)
		ts    = make([]time.Time, rows)
		gone  = make([]bool, rows)
		blank = rng.IntN(3) // none, some, all
	)
	for i := range rows {
		gone[i] = blank == 2 || blank == 1 && rng.IntN(4) == 0
		if f[i] = rng.NormFloat64(); rng.IntN(2) == 0 {
			f[i] = edge[rng.IntN(len(edge))]
		}
		i64[i] = int64(rng.Uint64()) >> rng.IntN(64)
		s[i] = texts[rng.IntN(len(texts))] + texts[rng.IntN(len(texts))]
		if strings.TrimSpace(s[i]) == "" {
			s[i] = "x"
		}
		b[i] = rng.IntN(2) == 0
		ts[i] = time.Date(1+rng.IntN(9998), time.Month(1+rng.IntN(12)), 1+rng.IntN(28), rng.IntN(24), rng.IntN(60), rng.IntN(60), rng.IntN(1e6)*1000, time.UTC)
		if gone[i] {
			f[i], i64[i], s[i], b[i], ts[i] = math.NaN(), 0, "", false, time.Time{}
		}
	}
	tb, err := New(IntColumn("whole", i64, gone), FloatColumn("a, \"b\"", f), StringColumn("texte é", s, gone), BoolColumn("Z", b, gone), TimeColumn("at", ts))
	if err != nil {
		panic(err)
	}
	return tb
}

func typesOf(s Schema) map[string]Type {
	m := make(map[string]Type)
	for _, f := range s {
		m[f.Name] = f.Type
	}
	return m
}

// same compares values, not texts.
func same(t *testing.T, got, want *Table) {
	t.Helper()
	if !got.Schema().Equal(want.Schema()) || got.Len() != want.Len() {
		t.Fatalf("got %d rows of %v, want %d of %v", got.Len(), got.Schema(), want.Len(), want.Schema())
	}
	for j, w := range want.Columns() {
		g := got.Columns()[j]
		for i := range want.Len() {
			if g.Value(i) != w.Value(i) || g.Missing(i) != w.Missing(i) || g.Text(i) != w.Text(i) {
				t.Fatalf("column %q, row %d: got %#v, want %#v", w.Name(), i, g.Value(i), w.Value(i))
			}
		}
		if g.MissingCount() != w.MissingCount() {
			t.Fatalf("column %q: %d missing, want %d", w.Name(), g.MissingCount(), w.MissingCount())
		}
	}
}

func write(t testing.TB, path string, parts ...*Table) {
	t.Helper()
	w, err := Create(path, parts[0].Schema())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, ext := range []string{".csv", ".tsv", ".parquet"} {
		t.Run(ext, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(25) {
				rng := rand.New(rand.NewPCG(seed, 1))
				want := randomTable(rng, 1+rng.IntN(300))
				path := filepath.Join(t.TempDir(), "out"+ext)
				half := want.Len() / 2
				rows := make([]int, want.Len())
				for i := range rows {
					rows[i] = i
				}
				write(t, path, want.Take(rows[:half]), want.Take(rows[half:]))
				got, err := Read(t.Context(), path, Options{Types: typesOf(want.Schema()), BatchRows: 1 + rng.IntN(100)})
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				same(t, got, want)
			}
		})
	}
}

// What has types in the file needs none declared, and keeps empty text.
func TestParquetKeepsTypes(t *testing.T) {
	t.Parallel()
	want, err := New(StringColumn("s", []string{"", "NA", "x", ""}, []bool{false, false, false, true}), IntColumn("i", []int64{1, 2, 3, 4}, nil))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "out.parquet")
	write(t, path, want)
	got, err := Read(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
	// The content decides, not the name.
	other := filepath.Join(filepath.Dir(path), "other.csv")
	if err := os.Rename(path, other); err != nil {
		t.Fatal(err)
	}
	if got, err = Read(t.Context(), other, Options{}); err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
}

func TestRowGroups(t *testing.T) {
	t.Parallel()
	rows := groupRows + 1000
	v := make([]int64, rows)
	for i := range v {
		v[i] = int64(i) * 7
	}
	want, _ := New(IntColumn("v", v, nil))
	path := filepath.Join(t.TempDir(), "out.parquet")
	write(t, path, want)
	got, err := Read(t.Context(), path, Options{BatchRows: 5000})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
	if l := got.Line(rows - 1); l != rows {
		t.Errorf("the last row is row %d, want %d", l, rows)
	}
}

// A lone column of missing values must not become empty lines.
func TestLoneColumn(t *testing.T) {
	t.Parallel()
	want, _ := New(IntColumn("v", []int64{0, 1, 0}, []bool{true, false, true}))
	path := filepath.Join(t.TempDir(), "out.csv")
	write(t, path, want)
	got, err := Read(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
}

func TestWriterIsAtomic(t *testing.T) {
	t.Parallel()
	one, _ := New(IntColumn("v", []int64{1}, nil))
	wrong, _ := New(IntColumn("w", []int64{1}, nil))
	for _, ext := range []string{".csv", ".parquet"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out"+ext)
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		unchanged := func(when string) {
			t.Helper()
			if b, err := os.ReadFile(path); err != nil || string(b) != "old" {
				t.Errorf("%s, %s: the file holds %q, %v", ext, when, b, err)
			}
		}
		alone := func(when string) {
			t.Helper()
			if names, _ := os.ReadDir(dir); len(names) != 1 {
				t.Errorf("%s, %s: the folder holds %v", ext, when, names)
			}
		}
		w, err := Create(path, one.Schema())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(one); err != nil {
			t.Fatal(err)
		}
		if err := w.Write(wrong); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "the table has w int, the file v int") {
			t.Errorf("wrong schema: %v", err)
		}
		unchanged("before Close")
		if err := w.Abort(); err != nil {
			t.Error(err)
		}
		unchanged("after Abort")
		alone("after Abort")
		if err := w.Write(one); !errors.Is(err, ErrClosed) {
			t.Errorf("Write after Abort: %v", err)
		}
		if err := w.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("Close after Abort: %v", err)
		}

		write(t, path, one)
		alone("after Close")
		if got, err := Read(t.Context(), path, Options{}); err != nil || got.Len() != 1 {
			t.Errorf("read back %v, %v", got, err)
		}
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("permissions are %v, %v", info.Mode(), err)
		}

		// A failed Write must leave the old file whatever the caller does next.
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if w, err = Create(path, one.Schema()); err != nil {
			t.Fatal(err)
		}
		full := errors.New("disk full")
		w.(*fileWriter).enc = failing{full}
		if err := w.Write(one); !errors.Is(err, full) {
			t.Errorf("failing Write: %v", err)
		}
		if err := w.Close(); !errors.Is(err, full) {
			t.Errorf("Close after a failed Write: %v", err)
		}
		unchanged("after a failed Write")
		alone("after a failed Write")
	}
}

type failing struct{ err error }

func (f failing) write(*Table) error { return f.err }
func (f failing) finish() error      { return f.err }

func TestCreateErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ok := Schema{{"a", Int}}
	if err := os.Mkdir(filepath.Join(dir, "d.csv"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		s    Schema
		want error
	}{
		{"a.json", ok, ErrFormat}, {"d.csv", ok, ErrDirectory}, {"no/a.csv", ok, fs.ErrNotExist},
		{"a.csv", nil, ErrSchema}, {"a.csv", Schema{{"", Int}}, ErrSchema}, {"a.csv", Schema{{"a", 0}}, ErrSchema}, {"a.csv", Schema{{"a", Int}, {"a", Int}}, ErrSchema},
	} {
		if _, err := Create(filepath.Join(dir, tt.path), tt.s); !errors.Is(err, tt.want) {
			t.Errorf("Create(%s, %v): %v, want %v", tt.path, tt.s, err, tt.want)
		}
	}
}
