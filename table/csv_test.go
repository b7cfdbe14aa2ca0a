package table

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// file writes content to a fresh file of that name.
func file(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// show writes a table as one line: names and types, then rows; ~ is missing.
func show(tb *Table) string {
	var b strings.Builder
	for _, f := range tb.Schema() {
		fmt.Fprintf(&b, "%s:%s ", f.Name, f.Type)
	}
	for i := range tb.Len() {
		b.WriteString("| ")
		for _, c := range tb.Columns() {
			if c.Missing(i) {
				b.WriteString("~ ")
			} else {
				fmt.Fprintf(&b, "%q ", c.Text(i))
			}
		}
	}
	return strings.ReplaceAll(strings.TrimSpace(b.String()), `"`, "'")
}

func TestReadCSV(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, file, in string
		o              Options
		want           string
	}{
		{"all types", "a.csv", "i,f,s,b,t\n1,1.5,x,yes,2024-01-02\n-2,2,y,F,2024-01-02 03:04:05\n", Options{},
			"i:int f:float s:string b:bool t:time | '1' '1.5' 'x' 'true' '2024-01-02T00:00:00Z' | '-2' '2' 'y' 'false' '2024-01-02T03:04:05Z'"},
		{"missing", "a.csv", "i,f,s,b,t\n,NA,null,?,-\n1,1.5,none,t,2024-01-02\n \t, nan ,\\N,None,NaT\n", Options{},
			"i:int f:float s:string b:bool t:time | ~ ~ ~ ~ ~ | '1' '1.5' 'none' 'true' '2024-01-02T00:00:00Z' | ~ ~ ~ ~ ~"},
		{"extra missing", "a.csv", "x,y\n-999,unknown\n1, unknown \n2,b\n", Options{Missing: []string{"-999", "unknown"}},
			"x:int y:string | ~ ~ | '1' ~ | '2' 'b'"},
		{"nothing but missing", "a.csv", "x,y\nNA,1\n,2\n", Options{}, "x:string y:int | ~ '1' | ~ '2'"},
		{"verbatim", "a.csv", "id,x\n00123, a \n NA ,b\n,c\n", Options{Types: map[string]Type{"id": String}},
			"id:string x:string | '00123' ' a ' | ' NA ' 'b' | ~ 'c'"},
		{"declared missing", "a.csv", "id\nNA\nx\n", Options{Types: map[string]Type{"id": String}, Missing: []string{"NA"}}, "id:string | ~ | 'x'"},
		{"declared", "a.csv", "a,b\n1,1\n2,2\n", Options{Types: map[string]Type{"a": Float, "b": Int}}, "a:float b:int | '1' '1' | '2' '2'"},
		{"projection and order", "a.csv", "a,b,c\n1,x,3\n", Options{Columns: []string{"c", "a"}}, "c:int a:int | '3' '1'"},
		{"a bad cell elsewhere", "a.csv", "a,b\n1,x\n2,\xff\n", Options{Columns: []string{"a"}}, "a:int | '1' | '2'"},
		{"byte order mark, windows", "a.csv", "\xef\xbb\xbfa,b\r\n1,\"x\"\"y\"\r\n", Options{}, "a:int b:string | '1' 'x\\'y'"},
		{"semicolon", "a.csv", "a;b\n1,5;2\n2,5;3\n", Options{}, "a:string b:int | '1,5' '2' | '2,5' '3'"},
		{"bar", "a.txt", "a|b,c\n1|2\n", Options{}, "a:int b,c:int | '1' '2'"},
		{"tab", "a.tsv", "a\tb\n1,2\t3\n", Options{}, "a:string b:int | '1,2' '3'"},
		{"quoted delimiters", "a.csv", "a;b\n\"x,y,z\";1\n", Options{}, "a:string b:int | 'x,y,z' '1'"},
		{"told", "a.csv", "a;b,c\n1;2,3\n", Options{Delimiter: ';'}, "a:int b,c:string | '1' '2,3'"},
		{"one column", "a.csv", "a\n1\n\n2\n", Options{}, "a:int | '1' | '2'"},
		{"spaces", "a.csv", " a , b \n 1 , 2.5 \n", Options{}, "a:int b:float | '1' '2.5'"},
		{"int and float", "a.csv", "a\n1\n2.5\n", Options{}, "a:float | '1' | '2.5'"},
		{"promoted", "a.csv", "a\n1\nNA\n3\n2.5\n4\n", Options{InferRows: 2, BatchRows: 2}, "a:float | '1' | ~ | '3' | '2.5' | '4'"},
		{"promoted at once", "a.csv", "a\n1\nNA\n2.5\n", Options{InferRows: 1}, "a:float | '1' | ~ | '2.5'"},
		{"promoted by size", "a.csv", "a\n1\n9223372036854775808\n", Options{InferRows: 1}, "a:float | '1' | '9223372036854775808'"},
		{"nine in ten are not enough", "a.csv", "a\n1\n2\n3\n4\n5\n6\n7\n8\nx\n", Options{}, "a:string | '1' | '2' | '3' | '4' | '5' | '6' | '7' | '8' | 'x'"},
		{"infinite", "a.csv", "a\n1.5\n-inf\n", Options{}, "a:float | '1.5' | '-Inf'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := file(t, tt.file, tt.in)
			got, err := Read(t.Context(), path, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if s := show(got); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
			if got.Source() != path {
				t.Errorf("Source is %q", got.Source())
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	x := map[string]Type{"x": Float}
	tenth := "x\n" + strings.Repeat("1\n", 18) + "abc\n"
	tests := []struct {
		name, file, in string
		o              Options
		as             error // errors.Is, or the type for errors.As
		want           string
	}{
		{"bad cell", "guest.csv", "id,income\n1,\"2\n\"\n3,abc\n", Options{Types: map[string]Type{"income": Float}}, &CellError{},
			`guest.csv line 4, column income: "abc" is not a number; correct the cell, list it as missing or declare another type for the column`},
		{"bad cell after a quoted newline", "g.csv", "a,b,x\n\"1\n2\n\",\"\n\",abc\n", Options{Types: x}, &CellError{}, `g.csv line 5, column x: "abc" is not a number`},
		{"inferred, not declared", "g.csv", tenth, Options{}, &CellError{}, `g.csv line 20, column x: "abc" is not a whole number; correct the cell, list it as missing or declare the column string`},
		{"long cell", "g.csv", "x\n" + strings.Repeat("é", 60) + "\n", Options{Types: x}, &CellError{}, `column x: "` + strings.Repeat("é", 39) + `…" is not`},
		{"thousands", "g.csv", "x\n\"1,000\"\n", Options{Types: x}, &CellError{}, `"1,000" is not a number`},
		{"declared int", "g.csv", "x\n1\n1.5\n", Options{Types: map[string]Type{"x": Int}}, &CellError{}, `line 3, column x: "1.5" is not a whole number`},
		{"declared bool", "g.csv", "x\n1\n", Options{Types: map[string]Type{"x": Bool}}, &CellError{}, "is not a truth value"},
		{"declared time", "g.csv", "x\n1\n", Options{Types: map[string]Type{"x": Time}}, &CellError{}, "is not a date or time"},
		{"too few cells", "g.csv", "a,b\n1,2\n3\n", Options{}, &RaggedError{}, "g.csv line 3: the row has 1 cell where the header has 2"},
		{"too many cells", "g.csv", "a,b\n1,2,3\n", Options{}, &RaggedError{}, "g.csv line 2: the row has 3 cells where the header has 2"},
		{"duplicate header", "g.csv", "a,b, a\n1,2,3\n", Options{}, ErrHeader, `g.csv line 1: columns 1 and 3 are both named "a"`},
		{"empty header", "g.csv", "a,,b\n1,2,3\n", Options{}, ErrHeader, "g.csv line 1: column 2 has no name"},
		{"old Mac", "g.csv", "a,b\r1,2\r", Options{}, ErrHeader, "bare carriage return"},
		{"empty", "g.csv", "", Options{}, ErrEmpty, "g.csv: the file is empty; export it again"},
		{"only a mark", "g.csv", "\xef\xbb\xbf", Options{}, ErrEmpty, "empty"},
		{"only newlines", "g.csv", "\n\n", Options{}, ErrEmpty, "only empty lines"},
		{"only a header", "g.csv", "a,b\n\n", Options{}, ErrNoRows, "g.csv: there are no rows, only a header"},
		{"only a header, declared", "g.csv", "x\n", Options{Types: x}, ErrNoRows, "there are no rows"},
		{"latin-1", "g.csv", "x\na\nM\xfcller\n", Options{}, ErrEncoding, "g.csv line 3: column x holds text that is not UTF-8; save the file as UTF-8"},
		{"latin-1 header", "g.csv", "M\xfcller\na\n", Options{}, ErrEncoding, "g.csv line 1: the header is not UTF-8"},
		{"utf-16", "g.csv", "\xff\xfea\x00", Options{}, ErrEncoding, "UTF-16"},
		{"excel", "g.csv", "PK\x03\x04xx", Options{}, ErrFormat, "Excel"},
		{"excel by its name", "g.xlsx", "PK\x03\x04xx", Options{}, ErrFormat, "g.xlsx: it is an Excel workbook"},
		{"encrypted", "g.parquet", "PARExxxxxxxxPARE", Options{}, ErrFormat, "encrypted"},
		{"zeros", "g.csv", "a\n\x00\n", Options{}, ErrFormat, "zero bytes"},
		{"extension", "g.json", "{}", Options{}, ErrFormat, ".parquet"},
		{"quote", "g.csv", "a\nx\n\"y\n", Options{}, ErrQuote, "g.csv line 3: the quote that opens here is never closed"},
		{"gzip", "g.csv.gz", "\x1f\x8b\x00", Options{}, ErrCorrupt, "gzip"},
		{"unknown column", "g.csv", "a,b\n1,2\n", Options{Columns: []string{"c"}}, &ColumnError{}, `g.csv has no column "c"; it has a, b`},
		{"unknown typed column", "g.csv", "a,b\n1,2\n", Options{Types: x}, &ColumnError{}, `g.csv has no column "x"`},
		{"column twice", "g.csv", "a\n1\n", Options{Columns: []string{"a", "a"}}, ErrOptions, "twice"},
		{"no columns", "g.csv", "a\n1\n", Options{Columns: []string{}}, ErrOptions, "empty"},
		{"delimiter", "g.csv", "a\n1\n", Options{Delimiter: 'x'}, ErrOptions, "delimiter"},
		{"wide delimiter", "g.csv", "a\n1\n", Options{Delimiter: ',' + 128}, ErrOptions, "delimiter"},
		{"batch", "g.csv", "a\n1\n", Options{BatchRows: -1}, ErrOptions, "BatchRows"},
		{"infer", "g.csv", "a\n1\n", Options{InferRows: -1}, ErrOptions, "InferRows"},
		{"type", "g.csv", "x\n1\n", Options{Types: map[string]Type{"x": 9}}, ErrOptions, "type(9)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := Read(t.Context(), file(t, tt.file, tt.in), tt.o)
			if err == nil {
				t.Fatalf("read %s", show(got))
			}
			ok := false
			switch tt.as.(type) {
			case *CellError:
				ok = errors.As(err, new(*CellError))
			case *RaggedError:
				ok = errors.As(err, new(*RaggedError))
			case *ColumnError:
				ok = errors.As(err, new(*ColumnError))
			default:
				ok = errors.Is(err, tt.as)
			}
			if !ok || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got  %v (%T)\nwant %v", err, err, tt.want)
			}
		})
	}
}

func TestOpenNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Open(t.Context(), filepath.Join(dir, "none.csv"), Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no such file; check the path") {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrEmpty) {
		t.Errorf("empty folder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, filepath.Join(dir, "none.csv"), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for i := range 50_000 {
		if i == 0 {
			io.WriteString(z, "id,x\n")
		}
		fmt.Fprintf(z, "%d,%d.5\n", i, i)
	}
	z.Close()
	tb, err := Read(t.Context(), file(t, "a.csv.gz", b.String()), Options{})
	if err != nil || tb.Len() != 50_000 || tb.Columns()[1].Text(49_999) != "49999.5" {
		t.Fatalf("got %v, %v", tb, err)
	}
	if _, err := Read(t.Context(), file(t, "a.csv.gz", b.String()[:b.Len()-20]), Options{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("cut off: %v", err)
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	path := file(t, "a.csv", "id,x\na,1\n\nb,2\n\"c\n\",3\nd,4\ne,5.5\n")
	r, err := Open(t.Context(), path, Options{BatchRows: 2, InferRows: 3})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Schema(); !s.Equal(Schema{{"id", String}, {"x", Int}}) {
		t.Errorf("schema is %v", s)
	}
	var lines []int
	for range 2 {
		b, err := r.Next(t.Context())
		if err != nil || b.Len() != 2 {
			t.Fatalf("got %v, %v", b, err)
		}
		lines = append(lines, b.Line(0), b.Line(1))
	}
	if want := []int{2, 4, 5, 7}; !slices.Equal(lines, want) {
		t.Errorf("lines are %v, want %v", lines, want)
	}
	_, err = r.Next(t.Context())
	var cell *CellError
	if !errors.As(err, &cell) || cell.Line != 8 || !strings.Contains(err.Error(), "declare the column float") {
		t.Errorf("a fraction in an int stream gives %v", err)
	}
	if _, again := r.Next(t.Context()); again != err {
		t.Errorf("the error does not stay: %v", again)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}

	r, err = Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	r.Close()
	r, _ = Open(t.Context(), path, Options{})
	r.Close()
	if _, err := r.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if s, err := Infer(t.Context(), path, Options{Columns: []string{"x"}}); err != nil || !s.Equal(Schema{{"x", Float}}) {
		t.Errorf("Infer gives %v, %v", s, err)
	}
}

// Batches must not share what a later Next writes to.
func TestBatchesAreIndependent(t *testing.T) {
	t.Parallel()
	r, err := Open(t.Context(), file(t, "a.csv", "s,x,i,b\naa,1.5,1,t\n,,,\ncc,2.5,2,f\ndd,3.5,3,t\n"), Options{BatchRows: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first, err := r.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := show(first)
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := show(first); after != before {
		t.Errorf("the first batch changed from %s to %s", before, after)
	}
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "a;b\nx;2024-01-01\n", "\xef\xbb\xbfa\r\n\"x\ny\"\r\n", "a\n1\n1.5\n", "a,a\n", "a\n\xff\n", "a,b\n1\n"} {
		f.Add([]byte(s), 3, true)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte, batch int, columnString bool) {
		path := filepath.Join(dir, fmt.Sprintf("fuzz%d.csv", os.Getpid()))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		o := Options{BatchRows: batch%100 + 1, InferRows: 5}
		if batch < 0 {
			o.BatchRows = 1
		}
		tb, err := Read(t.Context(), path, o)
		if err != nil {
			if s := err.Error(); !strings.HasPrefix(s, path) {
				t.Fatalf("the error does not name the file: %s", s)
			}
			return
		}
		for _, c := range tb.Columns() {
			if c.Len() != tb.Len() || c.Type() < Int || c.Type() > Time {
				t.Fatalf("column %s has %d of %d rows, type %s", c.Name(), c.Len(), tb.Len(), c.Type())
			}
		}
		for i := range tb.Len() {
			if l := tb.Line(i); l < i+2 || l > bytes.Count(b, []byte("\n"))+1 {
				t.Fatalf("row %d is on line %d", i, l)
			}
		}
	})
}
