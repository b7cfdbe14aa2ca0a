package table

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding"
)

// foreign writes a Parquet file as other tools would: columns of any type.
func foreign(t testing.TB, columns map[string]parquet.Node, rows ...map[string]any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "foreign.parquet")
	if err := os.WriteFile(path, foreignBytes(t, columns, rows...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func foreignBytes(t testing.TB, columns map[string]parquet.Node, rows ...map[string]any) []byte {
	t.Helper()
	schema := parquet.NewSchema("foreign", parquet.Group(columns))
	var buf bytes.Buffer
	w := parquet.NewGenericWriter[any](&buf, schema, parquet.Compression(&parquet.Snappy))
	for _, r := range rows {
		var row parquet.Row
		for i, path := range schema.Columns() {
			leaf, _ := schema.Lookup(path...)
			v, ok := r[path[0]]
			switch {
			case !ok:
				row = append(row, parquet.NullValue().Level(0, 0, i))
			default:
				row = append(row, parquet.ValueOf(v).Level(0, leaf.MaxDefinitionLevel, i))
			}
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestParquetTypes(t *testing.T) {
	t.Parallel()
	fixed := func(n int) parquet.Type { return parquet.FixedLenByteArrayType(n) }
	i96 := deprecated.Int96{1500, 0, 2440588 + 1} // 1.5 µs into 2 January 1970
	tests := []struct {
		name string
		node parquet.Node
		v    any
		want Type // declared; 0 for none
		typ  Type
		text string
	}{
		{"int8", parquet.Int(8), int32(-7), 0, Int, "-7"},
		{"int32", parquet.Leaf(parquet.Int32Type), int32(math.MinInt32), 0, Int, "-2147483648"},
		{"int64", parquet.Int(64), int64(math.MaxInt64), 0, Int, "9223372036854775807"},
		{"uint8", parquet.Uint(8), int32(200), 0, Int, "200"},
		{"uint32", parquet.Uint(32), int32(-1), 0, Int, "4294967295"},
		{"uint64", parquet.Uint(64), int64(5), 0, Int, "5"},
		{"uint64 as string", parquet.Uint(64), int64(-1), String, String, "18446744073709551615"},
		{"uint64 as float", parquet.Uint(64), int64(-1), Float, Float, "18446744073709551616"},
		{"float", parquet.Leaf(parquet.FloatType), float32(0.1), 0, Float, "0.10000000149011612"},
		{"float as string", parquet.Leaf(parquet.FloatType), float32(0.1), String, String, "0.1"},
		{"double", parquet.Leaf(parquet.DoubleType), 0.1, 0, Float, "0.1"},
		{"NaN", parquet.Leaf(parquet.DoubleType), math.NaN(), 0, Float, ""},
		{"bool", parquet.Leaf(parquet.BooleanType), true, 0, Bool, "true"},
		{"string", parquet.String(), "ü", 0, String, "ü"},
		{"enum", parquet.Enum(), "A", 0, String, "A"},
		{"json", parquet.JSON(), "{}", 0, String, "{}"},
		{"bytes", parquet.Leaf(parquet.ByteArrayType), "raw", 0, String, "raw"},
		{"uuid", parquet.UUID(), [16]byte{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8}, 0, String, "12345678-9abc-def0-0102-030405060708"},
		{"date", parquet.Date(), int32(-1), 0, Time, "1969-12-31T00:00:00Z"},
		{"ms", parquet.Timestamp(parquet.Millisecond), int64(-1), 0, Time, "1969-12-31T23:59:59.999Z"},
		{"us", parquet.Timestamp(parquet.Microsecond), int64(1), 0, Time, "1970-01-01T00:00:00.000001Z"},
		{"ns", parquet.Timestamp(parquet.Nanosecond), int64(-1), 0, Time, "1969-12-31T23:59:59.999999Z"},
		{"local", parquet.TimestampAdjusted(parquet.Microsecond, false), int64(1e6), 0, Time, "1970-01-01T00:00:01Z"},
		{"int96", parquet.Leaf(parquet.Int96Type), i96, 0, Time, "1970-01-02T00:00:00.000001Z"},
		{"decimal32", parquet.Decimal(2, 9, parquet.Int32Type), int32(-12345), 0, Float, "-123.45"},
		{"decimal64", parquet.Decimal(3, 18, parquet.Int64Type), int64(5), 0, Float, "0.005"},
		{"whole decimal", parquet.Decimal(0, 18, parquet.Int64Type), int64(5), 0, Int, "5"},
		{"whole decimal as float", parquet.Decimal(0, 18, parquet.Int64Type), int64(5), Float, Float, "5"},
		{"short bytes", parquet.Decimal(2, 4, parquet.ByteArrayType), "\xff\x85", 0, Float, "-1.23"},
		{"fixed", parquet.Decimal(1, 20, fixed(9)), [9]byte{0, 0, 0, 0, 0, 0, 0, 0, 15}, 0, Float, "1.5"},
		{"wide", parquet.Decimal(0, 38, fixed(16)), [16]byte{0: 1}, String, String, "1329227995784915872903807060280344576"},
		{"wide negative", parquet.Decimal(2, 38, parquet.ByteArrayType), "\xff\x00\x00\x00\x00\x00\x00\x00\x00", String, String, "-184467440737095516.16"},
		{"small as string", parquet.Decimal(3, 9, parquet.Int32Type), int32(-5), String, String, "-0.005"},
		{"text as int", parquet.String(), " 12 ", Int, Int, "12"},
		{"text as float", parquet.String(), "1e3", Float, Float, "1000"},
		{"text as bool", parquet.String(), "Yes", Bool, Bool, "true"},
		{"text as time", parquet.String(), "2024-01-02", Time, Time, "2024-01-02T00:00:00Z"},
		{"NA as float", parquet.String(), "NA", Float, Float, ""},
		{"NA", parquet.String(), "NA", 0, String, "NA"},
		{"int as float", parquet.Int(64), int64(5), Float, Float, "5"},
		{"int as string", parquet.Int(64), int64(5), String, String, "5"},
		{"whole float as int", parquet.Leaf(parquet.DoubleType), -5.0, Int, Int, "-5"},
		{"whole float as string", parquet.Leaf(parquet.DoubleType), 1234567.0, String, String, "1234567"},
		{"bool as int", parquet.Leaf(parquet.BooleanType), true, Int, Int, "1"},
		{"bool as float", parquet.Leaf(parquet.BooleanType), false, Float, Float, "0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := Options{}
			if tt.want != 0 {
				o.Types = map[string]Type{"v": tt.want}
			}
			for _, node := range []parquet.Node{tt.node, parquet.Optional(tt.node)} {
				rows := []map[string]any{{"v": tt.v}, {"v": tt.v}, {"v": tt.v}}
				if node.Optional() {
					delete(rows[1], "v")
				}
				tb, err := Read(t.Context(), foreign(t, map[string]parquet.Node{"v": node}, rows...), o)
				if err != nil {
					t.Fatal(err)
				}
				c := tb.Columns()[0]
				if c.Type() != tt.typ || c.Text(0) != tt.text || c.Text(2) != tt.text || c.Len() != 3 || c.Missing(0) != (tt.text == "") {
					t.Errorf("optional %t: got %s", node.Optional(), show(tb))
				}
				if node.Optional() && !c.Missing(1) {
					t.Errorf("a null is not missing: %s", show(tb))
				}
			}
		})
	}
}

func TestParquetErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		node parquet.Node
		v    any
		o    Options
		as   error
		want string
	}{
		{"uint64", parquet.Uint(64), int64(-1), Options{}, &CellError{}, `row 2, column v: "18446744073709551615" is not a whole number; it exceeds`},
		{"text", parquet.String(), "abc", Options{Types: map[string]Type{"v": Float}}, &CellError{}, `row 2, column v: "abc" is not a number`},
		{"fraction", parquet.Leaf(parquet.DoubleType), 1.5, Options{Types: map[string]Type{"v": Int}}, &CellError{}, `row 2, column v: "1.5" is not a whole number`},
		{"too big", parquet.Leaf(parquet.DoubleType), math.Inf(1), Options{Types: map[string]Type{"v": Int}}, &CellError{}, `"+Inf" is not a whole number`},
		{"no instant", parquet.Timestamp(parquet.Millisecond), int64(math.MaxInt64), Options{}, &CellError{}, `is not a date or time`},
		{"latin-1", parquet.Leaf(parquet.ByteArrayType), "\xfc", Options{}, ErrEncoding, "column v, row 2: the bytes are not UTF-8"},
		{"time of day", parquet.Time(parquet.Millisecond), int32(1), Options{}, &TypeError{}, "column v: the Parquet type TIME"},
		{"bytes", parquet.Leaf(parquet.FixedLenByteArrayType(3)), [3]byte{}, Options{}, &TypeError{}, "is not supported; leave the column out"},
		{"time as float", parquet.Date(), int32(1), Options{Types: map[string]Type{"v": Float}}, &TypeError{}, "column v is of type time, which cannot be used as float"},
		{"unknown column", parquet.Date(), int32(1), Options{Columns: []string{"w"}}, &ColumnError{}, `has no column "w"; it has ok, v`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cols := map[string]parquet.Node{"v": parquet.Optional(tt.node), "ok": parquet.Int(64)}
			path := foreign(t, cols, map[string]any{"ok": int64(1)}, map[string]any{"ok": int64(2), "v": tt.v})
			_, err := Read(t.Context(), path, tt.o)
			ok := false
			switch tt.as.(type) {
			case *CellError:
				ok = errors.As(err, new(*CellError))
			case *TypeError:
				ok = errors.As(err, new(*TypeError))
			case *ColumnError:
				ok = errors.As(err, new(*ColumnError))
			default:
				ok = errors.Is(err, tt.as)
			}
			if !ok || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("got  %v (%T)\nwant %s", err, err, tt.want)
			}
			// What is not selected cannot do harm.
			if tb, err := Read(t.Context(), path, Options{Columns: []string{"ok"}}); err != nil || show(tb) != "ok:int | '1' | '2'" {
				t.Errorf("without the column: %v, %v", tb, err)
			}
		})
	}
}

// Every compression, page version and encoding that tools in use write. Random
// text makes pages that are barely smaller compressed, which is where a
// decompressor's buffer has to grow.
func TestParquetEncodings(t *testing.T) {
	t.Parallel()
	const rows = 2000
	rng := rand.New(rand.NewPCG(5, 5))
	var text []string
	var ints []int64
	var floats []float64
	var gone []bool
	for range rows {
		text = append(text, fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64()))
		ints = append(ints, int64(rng.Uint64()))
		floats = append(floats, rng.NormFloat64())
		gone = append(gone, rng.IntN(10) == 0)
	}
	for i := range rows {
		if gone[i] {
			text[i], ints[i], floats[i] = "", 0, math.NaN()
		}
	}
	want, err := New(FloatColumn("f", floats), IntColumn("i", ints, gone), StringColumn("s", text, gone))
	if err != nil {
		t.Fatal(err)
	}
	type encodings struct{ f, i, s encoding.Encoding }
	for _, codec := range []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip, &parquet.Brotli, &parquet.Zstd, &parquet.Lz4Raw} {
		for version := 1; version <= 2; version++ {
			for _, enc := range []encodings{
				{&parquet.Plain, &parquet.Plain, &parquet.Plain},
				{&parquet.RLEDictionary, &parquet.RLEDictionary, &parquet.RLEDictionary},
				{&parquet.ByteStreamSplit, &parquet.DeltaBinaryPacked, &parquet.DeltaLengthByteArray},
				{&parquet.Plain, &parquet.Plain, &parquet.DeltaByteArray},
			} {
				name := fmt.Sprintf("%s/v%d/%s", codec, version, enc.s)
				path := filepath.Join(t.TempDir(), "a.parquet")
				f, err := os.Create(path)
				if err != nil {
					t.Fatal(err)
				}
				w := parquet.NewGenericWriter[any](f, parquet.NewSchema("x", parquet.Group{
					"f": parquet.Optional(parquet.Encoded(parquet.Leaf(parquet.DoubleType), enc.f)),
					"i": parquet.Optional(parquet.Encoded(parquet.Int(64), enc.i)),
					"s": parquet.Optional(parquet.Encoded(parquet.String(), enc.s)),
				}), parquet.Compression(codec), parquet.DataPageVersion(version), parquet.PageBufferSize(8000))
				e := &parquetEncoder{w: w, values: make([]parquet.Value, 100)}
				if err := errors.Join(e.write(want), e.endGroup(), e.write(want), e.finish(), f.Close()); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				got, err := Read(t.Context(), path, Options{})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				half := make([]int, rows)
				for i := range half {
					half[i] = i
				}
				same(t, got.Take(half), want)
				for i := range half {
					half[i] += rows
				}
				same(t, got.Take(half), want)
			}
		}
	}
}

func TestParquetNested(t *testing.T) {
	t.Parallel()
	type row struct {
		ID   int64             `parquet:"id"`
		List []int64           `parquet:"list,list"`
		Map  map[string]int64  `parquet:"map"`
		In   struct{ X int64 } `parquet:"in"`
		Rep  []int64           `parquet:"rep"`
	}
	path := filepath.Join(t.TempDir(), "nested.parquet")
	if err := parquet.WriteFile(path, []row{{ID: 1, List: []int64{1, 2}, Rep: []int64{3, 4}}, {ID: 2}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"list", "map", "in", "rep"} {
		_, err := Read(t.Context(), path, Options{Columns: []string{"id", name}})
		if !errors.As(err, new(*TypeError)) || !strings.Contains(err.Error(), "column "+name+": a nested type") {
			t.Errorf("%s: %v", name, err)
		}
	}
	tb, err := Read(t.Context(), path, Options{Columns: []string{"id"}})
	if err != nil || show(tb) != "id:int | '1' | '2'" {
		t.Errorf("got %v, %v", tb, err)
	}
}

func TestParquetMissingTokens(t *testing.T) {
	t.Parallel()
	path := foreign(t, map[string]parquet.Node{"f": parquet.Leaf(parquet.DoubleType), "i": parquet.Int(64), "s": parquet.String()},
		map[string]any{"f": -999.0, "i": int64(-999), "s": " -999"}, map[string]any{"f": 1.0, "i": int64(1), "s": "x"})
	tb, err := Read(t.Context(), path, Options{Missing: []string{"-999"}})
	if err != nil || show(tb) != "f:float i:int s:string | ~ ~ ~ | '1' '1' 'x'" {
		t.Errorf("got %v, %v", show(tb), err)
	}
}

func TestParquetNoRows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.parquet")
	write(t, path, &Table{columns: []*Column{IntColumn("a", nil, nil)}})
	if _, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrNoRows) {
		t.Errorf("no rows: %v", err)
	}
	if _, err := Open(t.Context(), file(t, "a.parquet", "a,b\n1,2\n"), Options{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("CSV under the name of Parquet: %v", err)
	}
	if _, err := Open(t.Context(), file(t, "a.parquet", "PAR1PAR1"), Options{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("too short: %v", err)
	}
	if _, err := Open(t.Context(), file(t, "a.parquet", "PAR1xxxx\xff\xff\xff\xffPAR1"), Options{}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "longer than can be") {
		t.Errorf("long footer: %v", err)
	}
}

// readAny reads damaged bytes: any result will do but a panic or an error that
// names no file.
func readAny(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	tb, err := Read(t.Context(), path, Options{BatchRows: 3})
	if err != nil {
		if !strings.HasPrefix(err.Error(), path) {
			t.Fatalf("the error does not name the file: %v", err)
		}
		return
	}
	for _, c := range tb.Columns() {
		if c.Len() != tb.Len() {
			t.Fatalf("column %s has %d of %d rows", c.Name(), c.Len(), tb.Len())
		}
	}
}

func TestParquetDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.parquet")
	write(t, path, randomTable(rand.New(rand.NewPCG(3, 3)), 20))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(good); cut += 7 {
		b := append(bytes.Clone(good[:cut]), good[len(good)-8:]...)
		readAny(t, path, b)
	}
	rng := rand.New(rand.NewPCG(4, 4))
	for range 1000 {
		b := bytes.Clone(good)
		for range 1 + rng.IntN(3) {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
		readAny(t, path, b)
	}
}

func FuzzParquet(f *testing.F) {
	f.Add(foreignBytes(f, map[string]parquet.Node{"a": parquet.Int(64), "s": parquet.Optional(parquet.String())}, map[string]any{"a": int64(1), "s": "x"}, map[string]any{"a": int64(2)}))
	f.Add(foreignBytes(f, map[string]parquet.Node{"d": parquet.Decimal(2, 38, parquet.FixedLenByteArrayType(16)), "t": parquet.Date()}, map[string]any{"d": [16]byte{}, "t": int32(1)}))
	f.Add(foreignBytes(f, map[string]parquet.Node{"b": parquet.Leaf(parquet.BooleanType), "e": parquet.Encoded(parquet.String(), &parquet.RLEDictionary)}, map[string]any{"b": true, "e": "x"}))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		readAny(t, filepath.Join(dir, fmt.Sprintf("fuzz%d.parquet", os.Getpid())), b)
	})
}
