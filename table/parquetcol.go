package table

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// decoder adds one value that is not null to a batch.
type decoder func(v parquet.Value, b *builder) error

// decoderFor returns the type in which a column of the file is read and how.
// want is the declared type, 0 if none: where the file's type holds more than
// ours does, it decides what is kept.
func decoderFor(col *parquet.Column, want Type) (Type, decoder, error) {
	if !col.Leaf() || col.Repeated() {
		return 0, nil, &TypeError{Detail: "a nested type (list, map or structure)"}
	}
	typ := col.Type()
	if lt := typ.LogicalType(); lt != nil {
		switch l := lt.Value.(type) {
		case *format.DecimalType:
			return decimalDecoder(typ.Kind(), l, want)
		case *format.DateType:
			return Time, decodeDate, nil
		case *format.TimestampType:
			return timestampDecoder(typ.Kind(), l)
		case *format.IntType:
			if !l.IsSigned {
				return unsignedDecoder(typ.Kind(), want)
			}
		case *format.NullType:
			return String, func(_ parquet.Value, b *builder) error { b.absent(); return nil }, nil
		case *format.UUIDType:
			return String, decodeUUID, nil
		case *format.StringType, *format.EnumType, *format.JsonType, nil:
		default:
			return 0, nil, &TypeError{Detail: "the Parquet type " + lt.String()}
		}
	}
	switch typ.Kind() {
	case parquet.Boolean:
		return Bool, func(v parquet.Value, b *builder) error { b.addBool(v.Boolean()); return nil }, nil
	case parquet.Int32:
		return Int, func(v parquet.Value, b *builder) error { b.addInt(int64(v.Int32())); return nil }, nil
	case parquet.Int64:
		return Int, func(v parquet.Value, b *builder) error { b.addInt(v.Int64()); return nil }, nil
	case parquet.Int96:
		return Time, decodeInt96, nil
	case parquet.Float:
		return Float, floatDecoder(want), nil
	case parquet.Double:
		return Float, func(v parquet.Value, b *builder) error { b.addFloat(v.Double()); return nil }, nil
	case parquet.ByteArray:
		return String, decodeText, nil
	}
	return 0, nil, &TypeError{Detail: "the Parquet type " + typ.String()}
}

// floatDecoder widens float32. To text goes the shortest decimal of the
// float32, not that of the float64 it becomes.
func floatDecoder(want Type) decoder {
	if want != String {
		return func(v parquet.Value, b *builder) error { b.addFloat(float64(v.Float())); return nil }
	}
	return func(v parquet.Value, b *builder) error {
		f, err := strconv.ParseFloat(strconv.FormatFloat(float64(v.Float()), 'g', -1, 32), 64)
		b.addFloat(f)
		return err
	}
}

func decodeText(v parquet.Value, b *builder) error {
	text := v.ByteArray()
	if !utf8.Valid(text) {
		return &FileError{Err: ErrEncoding, What: "the bytes are not UTF-8 text", Cure: "leave the column out or export it as text"}
	}
	b.addText(text)
	return nil
}

func decodeUUID(v parquet.Value, b *builder) error {
	u := v.ByteArray()
	if len(u) != 16 {
		return errors.New("a UUID has not 16 bytes")
	}
	var t [36]byte
	for i, at := range [...]struct{ from, to, text int }{{0, 4, 0}, {4, 6, 9}, {6, 8, 14}, {8, 10, 19}, {10, 16, 24}} {
		hex.Encode(t[at.text:], u[at.from:at.to])
		if i > 0 {
			t[at.text-1] = '-'
		}
	}
	b.addText(t[:])
	return nil
}

const dayMicros = 24 * 3600 * 1e6

func decodeDate(v parquet.Value, b *builder) error {
	b.addInt(int64(v.Int32()) * dayMicros)
	return nil
}

// decodeInt96 reads what Hive, Impala and older Spark write for a timestamp:
// nanoseconds of the day and a Julian day.
func decodeInt96(v parquet.Value, b *builder) error {
	const epoch = 2440588 // 1 January 1970
	x := v.Int96()
	nanos := int64(uint64(x[1])<<32 | uint64(x[0]))
	b.addInt((int64(int32(x[2]))-epoch)*dayMicros + floorDiv(nanos, 1000))
	return nil
}

func floorDiv(a, by int64) int64 {
	q := a / by
	if a%by < 0 {
		q--
	}
	return q
}

func timestampDecoder(kind parquet.Kind, l *format.TimestampType) (Type, decoder, error) {
	if kind != parquet.Int64 {
		return 0, nil, &TypeError{Detail: "a timestamp that is no 64-bit integer"}
	}
	switch l.Unit.Value.(type) {
	case *format.MilliSeconds:
		return Time, func(v parquet.Value, b *builder) error {
			ms := v.Int64()
			if ms > math.MaxInt64/1000 || ms < math.MinInt64/1000 {
				return &CellError{Value: strconv.FormatInt(ms, 10) + " ms", Want: Time}
			}
			b.addInt(ms * 1000)
			return nil
		}, nil
	case *format.MicroSeconds:
		return Time, func(v parquet.Value, b *builder) error { b.addInt(v.Int64()); return nil }, nil
	case *format.NanoSeconds:
		return Time, func(v parquet.Value, b *builder) error { b.addInt(floorDiv(v.Int64(), 1000)); return nil }, nil
	}
	return 0, nil, &TypeError{Detail: "a timestamp of unknown unit"}
}

// unsignedDecoder reads unsigned integers. What exceeds an int64 is kept if
// the column is declared Float or String.
func unsignedDecoder(kind parquet.Kind, want Type) (Type, decoder, error) {
	switch {
	case kind == parquet.Int32:
		return Int, func(v parquet.Value, b *builder) error { b.addInt(int64(v.Uint32())); return nil }, nil
	case want == String:
		return String, func(v parquet.Value, b *builder) error {
			b.addText(strconv.AppendUint(nil, v.Uint64(), 10))
			return nil
		}, nil
	case want == Float:
		return Float, func(v parquet.Value, b *builder) error { b.addFloat(float64(v.Uint64())); return nil }, nil
	}
	return Int, func(v parquet.Value, b *builder) error {
		u := v.Uint64()
		if u > math.MaxInt64 {
			return &CellError{Value: strconv.FormatUint(u, 10), Want: Int, Cure: "it exceeds 64 bits with sign; declare the column float or string"}
		}
		b.addInt(int64(u))
		return nil
	}, nil
}

// decimalDecoder reads decimals: Int if they are whole and surely fit, Float
// otherwise; as String if declared so, exactly, because wide decimals without
// a fraction are how Oracle and Spark export numeric identifiers.
func decimalDecoder(kind parquet.Kind, l *format.DecimalType, want Type) (Type, decoder, error) {
	scale := int(l.Scale)
	if scale < 0 || scale > 1000 {
		return 0, nil, &TypeError{Detail: "a decimal of scale " + strconv.Itoa(scale)}
	}
	// small is the unscaled value if it fits an int64, else text holds its digits.
	read := func(v parquet.Value) (small int64, text string) {
		switch kind {
		case parquet.Int32:
			return int64(v.Int32()), ""
		case parquet.Int64:
			return v.Int64(), ""
		}
		raw := v.ByteArray()
		if len(raw) <= 8 {
			var x [8]byte
			if len(raw) > 0 && raw[0]&0x80 != 0 {
				binary.BigEndian.PutUint64(x[:], math.MaxUint64)
			}
			copy(x[8-len(raw):], raw)
			return int64(binary.BigEndian.Uint64(x[:])), ""
		}
		u := new(big.Int).SetBytes(raw)
		if raw[0]&0x80 != 0 {
			u.Sub(u, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
		}
		if u.IsInt64() {
			return u.Int64(), ""
		}
		return 0, u.String()
	}
	exact := func(v parquet.Value) string {
		small, text := read(v)
		if text == "" {
			text = strconv.FormatInt(small, 10)
		}
		return point(text, scale)
	}
	switch {
	case want == String:
		return String, func(v parquet.Value, b *builder) error { b.addText([]byte(exact(v))); return nil }, nil
	case scale == 0 && l.Precision <= 18 && want != Float:
		return Int, func(v parquet.Value, b *builder) error {
			small, text := read(v)
			if text != "" {
				return errors.New("a decimal has more digits than its type allows")
			}
			b.addInt(small)
			return nil
		}, nil
	}
	return Float, func(v parquet.Value, b *builder) error {
		small, text := read(v)
		if text == "" && small < 1<<53 && small > -1<<53 && scale < len(pow10) {
			b.addFloat(float64(small) / pow10[scale])
			return nil
		}
		f, err := strconv.ParseFloat(exact(v), 64)
		b.addFloat(f)
		return err
	}, nil
}

// point puts a decimal point before the last scale digits.
func point(digits string, scale int) string {
	if scale == 0 {
		return digits
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale+1-len(digits)) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}
