package table

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func small(t *testing.T) *Table {
	t.Helper()
	gone := []bool{false, true}
	tb, err := New(IntColumn("i", []int64{7, 0, 9}, gone), FloatColumn("f", []float64{1.5, math.NaN(), 3}), StringColumn("s", []string{"a", "", "c"}, gone),
		BoolColumn("b", []bool{true, false, false}, gone), TimeColumn("t", []time.Time{time.UnixMicro(5), {}, time.UnixMicro(7)}))
	if err != nil {
		t.Fatal(err)
	}
	return tb
}

func TestTable(t *testing.T) {
	t.Parallel()
	tb := small(t)
	if got, want := show(tb), "i:int f:float s:string b:bool t:time | '7' '1.5' 'a' 'true' '1970-01-01T00:00:00.000005Z' | ~ ~ ~ ~ ~ | '9' '3' 'c' 'false' '1970-01-01T00:00:00.000007Z'"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := show(tb.Take([]int{2, 0, 1, 1})), "i:int f:float s:string b:bool t:time | '9' '3' 'c' 'false' '1970-01-01T00:00:00.000007Z' | '7' '1.5' 'a' 'true' '1970-01-01T00:00:00.000005Z' | ~ ~ ~ ~ ~ | ~ ~ ~ ~ ~"; got != want {
		t.Errorf("Take: got  %s\nwant %s", got, want)
	}
	sel, err := tb.Select("s", "i")
	if err != nil || show(sel) != "s:string i:int | 'a' '7' | ~ ~ | 'c' '9'" {
		t.Errorf("Select: %v, %v", sel, err)
	}
	var col *ColumnError
	if _, err := tb.Select("x"); !errors.As(err, &col) || err.Error() != `the table has no column "x"; it has i, f, s, b, t` {
		t.Errorf("Select of an unknown column: %v", err)
	}
	if _, err := tb.Select("s", "s"); !errors.Is(err, ErrSchema) {
		t.Errorf("Select twice: %v", err)
	}
	if tb.Line(0) != 1 || tb.Line(2) != 3 || tb.Take([]int{2, 0}).Line(0) != 3 {
		t.Error("rows made in memory are not counted from 1")
	}
}

func TestNewErrors(t *testing.T) {
	t.Parallel()
	a, b := IntColumn("a", []int64{1}, nil), IntColumn("b", []int64{1, 2}, nil)
	for _, cols := range [][]*Column{{}, {a, b}, {a, a}, {IntColumn("", nil, nil)}} {
		if _, err := New(cols...); !errors.Is(err, ErrSchema) {
			t.Errorf("New(%v): %v", cols, err)
		}
	}
}

func TestColumnAccess(t *testing.T) {
	t.Parallel()
	tb := small(t)
	for _, tt := range []struct {
		column string
		want   []float64
	}{{"i", []float64{7, math.NaN(), 9}}, {"f", []float64{1.5, math.NaN(), 3}}, {"b", []float64{1, math.NaN(), 0}}} {
		c, _ := tb.Column(tt.column)
		got, err := c.Floats()
		if err != nil || !slices.EqualFunc(got, tt.want, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }) {
			t.Errorf("Floats of %s: %v, %v", tt.column, got, err)
		}
	}
	var typ *TypeError
	s, _ := tb.Column("s")
	f, _ := tb.Column("f")
	at, _ := tb.Column("t")
	if _, err := s.Floats(); !errors.As(err, &typ) || !strings.HasPrefix(err.Error(), "column s is of type string, which cannot be used as float") {
		t.Errorf("Floats of text: %v", err)
	}
	if _, err := at.Floats(); !errors.As(err, &typ) {
		t.Errorf("Floats of time: %v", err)
	}
	if _, err := f.Strings(); !errors.As(err, &typ) {
		t.Errorf("Strings of float: %v", err)
	}
	if _, err := f.Bools(); !errors.As(err, &typ) {
		t.Errorf("Bools of float: %v", err)
	}
	if _, err := f.Ints(); !errors.As(err, &typ) {
		t.Errorf("Ints of float: %v", err)
	}
	if v, err := at.Ints(); err != nil || !slices.Equal(v, []int64{5, 0, 7}) {
		t.Errorf("Ints of time: %v, %v", v, err)
	}
	if v := []any{at.Value(0), s.Value(2), f.Value(1)}; v[0] != time.UnixMicro(5).UTC() || v[1] != "c" || v[2] != nil {
		t.Errorf("Value: %v", v)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0", math.Copysign(0, -1): "0", 1234567: "1234567", -5: "-5", 0.5: "0.5", 1e20: "100000000000000000000", 1e21: "1e+21", 0.00001: "0.00001", 1e-6: "1e-06",
		1 << 60: "1152921504606846976", math.Inf(-1): "-Inf",
	} {
		if got := FloatColumn("f", []float64{v}).Text(0); got != want {
			t.Errorf("text of %g is %q, want %q", v, got, want)
		}
	}
}

func TestTypeNames(t *testing.T) {
	t.Parallel()
	for typ := Int; typ <= Time; typ++ {
		if got, err := ParseType(typ.String()); err != nil || got != typ {
			t.Errorf("ParseType(%s) = %v, %v", typ, got, err)
		}
	}
	if _, err := ParseType("double"); err == nil {
		t.Error("ParseType accepts double")
	}
	if Type(0).String() != "type(0)" {
		t.Error(Type(0).String())
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	tb, err := Read(t.Context(), file(t, "g.csv", "id,x\n 00123 ,1\n7,2\nü,3\n"), Options{Types: map[string]Type{"id": String}})
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := IDs(tb, "id"); err != nil || !slices.Equal(ids, []string{"00123", "7", "ü"}) {
		t.Errorf("got %q, %v", ids, err)
	}
	if _, err := IDs(tb, "key"); !errors.As(err, new(*ColumnError)) {
		t.Errorf("unknown column: %v", err)
	}
	floats, _ := New(FloatColumn("id", []float64{1234567, 2}))
	if ids, err := IDs(floats, "id"); err != nil || !slices.Equal(ids, []string{"1234567", "2"}) {
		t.Errorf("got %q, %v", ids, err)
	}
}

func TestIDErrors(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	many.WriteString("id\n")
	for i := range 7 {
		many.WriteString(strings.Repeat(string(rune('a'+i))+"\n", 7))
	}
	many.WriteString(strings.Repeat("NA\n", 8))
	tests := []struct{ name, in, want string }{
		{"missing", "id,x\n1,\n,\n2,\n", "g.csv, column id: 1 row has no id (line 3); give every row one id of its own"},
		{"twice", "id,x\n1,\n2,\n\" 1\n\",\n3,\n1,\n", "g.csv, column id: 1 id occurs more than once (lines 2, 4 and 7); give"},
		{"both", "id,x\nnull,\n2,\n \t,\n2,\n", "2 rows have no id (lines 2 and 4), 1 id occurs more than once (lines 3 and 5); give"},
		{"many", many.String(), "8 rows have no id (lines 51, 52, 53, 54, 55 and 3 more), 7 ids occur more than once (lines 2, 3, 4, 5, 6 and 2 more; 9, 10, 11, 12, 13 and 2 more; 16, 17, 18, 19, 20 and 2 more; 23, 24, 25, 26, 27 and 2 more; 30, 31, 32, 33, 34 and 2 more; and 2 more ids); give"},
	}
	for _, tt := range tests {
		tb, err := Read(t.Context(), file(t, "g.csv", tt.in), Options{Types: map[string]Type{"id": String}, BatchRows: 2})
		if err != nil {
			t.Fatal(err)
		}
		_, err = IDs(tb, "id")
		var e *IDError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got  %v\nwant %v", tt.name, err, tt.want)
		}
	}
	tb, _ := New(IntColumn("id", []int64{5, 6, 5}, nil))
	_, err := IDs(tb, "id")
	var e *IDError
	if !errors.As(err, &e) || e.DuplicateCount != 1 || e.Duplicates[0].ID != "5" || !slices.Equal(e.Duplicates[0].Places, []int{1, 3}) || !strings.HasPrefix(err.Error(), "column id: 1 id occurs more than once (rows 1 and 3)") {
		t.Errorf("got %v", err)
	}
}
