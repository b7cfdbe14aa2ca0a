package table

import (
	"io"
	"reflect"

	"github.com/parquet-go/parquet-go"
)

// A row group is closed after so many rows or bytes, whichever comes first, as
// the library holds it in memory.
const (
	groupRows  = 1 << 17
	groupBytes = 64 << 20
)

// parquetEncoder writes optional columns, compressed with Zstandard.
type parquetEncoder struct {
	w      *parquet.GenericWriter[any]
	rows   int // in the open row group
	bytes  int
	values []parquet.Value
}

// ordered is a Parquet group that keeps the order of its columns, which
// parquet.Group sorts by name.
type ordered struct {
	parquet.Group
	fields []parquet.Field
}

func (o ordered) Fields() []parquet.Field { return o.fields }

// leaf is one of its columns. Value, by which the library walks Go structs, is
// never called: values are written column by column.
type leaf struct {
	parquet.Node
	name string
}

func (l leaf) Name() string                               { return l.name }
func (l leaf) Value(base reflect.Value) (v reflect.Value) { return v }

func newParquetEncoder(w io.Writer, schema Schema) (e *parquetEncoder, err error) {
	root := ordered{Group: parquet.Group{}}
	for _, f := range schema {
		var n parquet.Node
		switch f.Type {
		case Int:
			n = parquet.Int(64)
		case Float:
			n = parquet.Leaf(parquet.DoubleType)
		case String:
			n = parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
		case Bool:
			n = parquet.Leaf(parquet.BooleanType)
		case Time:
			n = parquet.Timestamp(parquet.Microsecond)
		}
		n = parquet.Optional(n)
		root.Group[f.Name] = n
		root.fields = append(root.fields, leaf{n, f.Name})
	}
	e = &parquetEncoder{values: make([]parquet.Value, 1024)}
	err = guard(func() error {
		e.w = parquet.NewGenericWriter[any](w, parquet.NewSchema("table", root),
			parquet.Compression(&parquet.Zstd), parquet.DictionaryMaxBytes(1<<20), parquet.CreatedBy("kontor", "1", ""))
		return nil
	})
	return e, err
}

func (e *parquetEncoder) write(t *Table) error {
	for from := 0; from < t.rows; {
		to := min(t.rows, from+min(groupRows-e.rows, DefaultBatchRows))
		for j, c := range t.columns {
			if err := e.column(e.w.ColumnWriters()[j], c, from, to); err != nil {
				return err
			}
		}
		e.rows += to - from
		from = to
		if e.rows >= groupRows || e.bytes >= groupBytes {
			if err := e.endGroup(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *parquetEncoder) endGroup() error {
	e.rows, e.bytes = 0, 0
	for _, w := range e.w.ColumnWriters() {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return e.w.Flush()
}

// column appends rows from to to of c.
func (e *parquetEncoder) column(w *parquet.ColumnWriter, c *Column, from, to int) error {
	for from < to {
		n := min(len(e.values), to-from)
		for k := range n {
			e.values[k] = e.value(c, from+k)
		}
		if _, err := w.WriteRowValues(e.values[:n]); err != nil {
			return err
		}
		from += n
	}
	return nil
}

func (e *parquetEncoder) value(c *Column, i int) parquet.Value {
	if c.missing.get(i) {
		return parquet.NullValue()
	}
	var v parquet.Value
	size := 8
	switch c.typ {
	case Int, Time:
		v = parquet.Int64Value(c.ints[i])
	case Float:
		v = parquet.DoubleValue(c.floats[i])
	case Bool:
		v, size = parquet.BooleanValue(c.bools[i]), 1
	case String:
		v, size = parquet.ByteArrayValue([]byte(c.strs[i])), len(c.strs[i])
	}
	e.bytes += size
	return v.Level(0, 1, 0)
}

func (e *parquetEncoder) finish() error { return e.w.Close() }
