package table

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

type scanned struct {
	line  int
	cells []string
}

func scanAll(s *scanner) (out []scanned, err error) {
	for {
		r, err := s.next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		x := scanned{line: r.line}
		for i := range r.len() {
			x.cells = append(x.cells, string(r.cell(i)))
		}
		out = append(out, x)
	}
}

func TestScanner(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", scanBuffer/4)
	tests := []struct {
		name, in string
		want     []scanned
	}{
		{"plain", "a,b\n1,2\n", []scanned{{1, []string{"a", "b"}}, {2, []string{"1", "2"}}}},
		{"no newline at the end", "a,b\n1,2", []scanned{{1, []string{"a", "b"}}, {2, []string{"1", "2"}}}},
		{"windows", "a,b\r\n1,\"2\"\r\n", []scanned{{1, []string{"a", "b"}}, {2, []string{"1", "2"}}}},
		{"empty lines", "\n\na\n\n\"\"\nb\n\n", []scanned{{3, []string{"a"}}, {5, []string{""}}, {6, []string{"b"}}}},
		{"quotes", "\"a,\"\"x\"\"\",b\n", []scanned{{1, []string{`a,"x"`, "b"}}}},
		{"newline in quotes", "a\n\"1\r\n2\n3\",x\ny\n", []scanned{{1, []string{"a"}}, {2, []string{"1\r\n2\n3", "x"}}, {5, []string{"y"}}}},
		{"empty cells", ",,\n\"\",,\"\"\n", []scanned{{1, []string{"", "", ""}}, {2, []string{"", "", ""}}}},
		{"bare return", "a\rb,c\n", []scanned{{1, []string{"a\rb", "c"}}}},
		{"longer than the buffer", "a\n" + long + ",\"" + long + "\"\nb\n", []scanned{{1, []string{"a"}}, {2, []string{long, long}}, {3, []string{"b"}}}},
	}
	for _, tt := range tests {
		for mode, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "data with EOF": iotest.DataErrReader,
			"bytes": func(r io.Reader) io.Reader {
				if len(tt.in) > 1000 {
					return r
				}
				return iotest.OneByteReader(r)
			},
		} {
			got, err := scanAll(newScanner(wrap(strings.NewReader(tt.in)), ','))
			if err != nil {
				t.Errorf("%s, %s: %v", tt.name, mode, err)
			}
			if !slices.EqualFunc(got, tt.want, func(a, b scanned) bool { return a.line == b.line && slices.Equal(a.cells, b.cells) }) {
				t.Errorf("%s, %s: got %.300s, want %.300s", tt.name, mode, fmt.Sprint(got), fmt.Sprint(tt.want))
			}
		}
	}
}

func TestScannerErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		line     int
		want     error
	}{
		{"bare quote", "a\nb\nx\"y\n", 3, ErrQuote},
		{"text after quote", "a\n\"x\ny\"z\n", 3, ErrQuote},
		{"never closed", "a\n\nx,\"y\nz\n", 3, ErrQuote},
		{"too long", "a\n" + strings.Repeat("x", 3*scanBuffer), 2, ErrTooLong},
		{"too long in quotes", "a\n\"" + strings.Repeat("x\n", 2*scanBuffer), 2, ErrTooLong},
	}
	for _, tt := range tests {
		s := newScanner(strings.NewReader(tt.in), ',')
		s.limit = 2 * scanBuffer
		_, err := scanAll(s)
		var e *scanError
		if !errors.As(err, &e) || !errors.Is(err, tt.want) || e.line != tt.line {
			t.Errorf("%s: got %v, want %v on line %d", tt.name, err, tt.want, tt.line)
		}
	}
	broken := errors.New("broken")
	for _, in := range []string{"a\nb", "a\n\"b", "a\n\"b\"", "a,\"b\",c"} {
		_, err := scanAll(newScanner(io.MultiReader(strings.NewReader(in), iotest.ErrReader(broken)), ','))
		if !errors.Is(err, broken) {
			t.Errorf("%q: got %v, want the error of the source", in, err)
		}
	}
}

// FuzzScanner holds the scanner to encoding/csv, except that it keeps "\r\n"
// inside quotes.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\"a\"\"\",b\r\n", "\"x\r\ny\",z", "\r", "a\rb\n", "\"a\"\r", "x\"y", "\"x\"y", "\n\r\n\"\"", "a;b\n\";\";c"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, in string, comma bool) {
		delim := byte(';')
		if comma {
			delim = ','
		}
		std := csv.NewReader(strings.NewReader(in))
		std.Comma, std.FieldsPerRecord = rune(delim), -1
		s := newScanner(iotest.HalfReader(strings.NewReader(in)), delim)
		for {
			want, wantErr := std.Read()
			got, err := s.next()
			if (err == nil) != (wantErr == nil) || (err == io.EOF) != (wantErr == io.EOF) {
				t.Fatalf("%q: got %v, encoding/csv %v", in, err, wantErr)
			}
			if err != nil {
				return
			}
			if got.len() != len(want) {
				t.Fatalf("%q: %d cells, encoding/csv %q", in, got.len(), want)
			}
			for i := range want {
				if cell := strings.ReplaceAll(string(got.cell(i)), "\r\n", "\n"); cell != want[i] {
					t.Fatalf("%q: cell %d is %q, encoding/csv %q", in, i, cell, want[i])
				}
				if line, _ := std.FieldPos(i); line != got.lineOf(i) {
					t.Fatalf("%q: cell %d is on line %d, encoding/csv %d", in, i, got.lineOf(i), line)
				}
			}
		}
	})
}
