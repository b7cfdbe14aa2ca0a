package align

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"kontor/internal/fault"
	"kontor/psi"
)

func encode(m encoding.BinaryMarshaler) []byte {
	b, err := m.MarshalBinary()
	if err != nil {
		panic(err)
	}
	return b
}

// swap replaces the bytes at i.
func swap(b []byte, i int, with ...byte) []byte {
	c := bytes.Clone(b)
	copy(c[i:], with)
	return c
}

func one(b []byte) [][]byte { return [][]byte{b} }

// Each attack changes what one party sends with one tag. The party that receives
// it must end with a protocol fault that names the sender, and nobody may hang.
func TestHostilePeer(t *testing.T) {
	t.Parallel()
	const rows = 60
	attacks := []struct {
		name, from, tag string
		change          func(b []byte) [][]byte
		says            string // part of the error
	}{
		{"size: short", "host1", tagSize, func(b []byte) [][]byte { return one(b[:9]) }, "cannot be decoded"},
		{"size: long", "host1", tagSize, func(b []byte) [][]byte { return one(append(b, 0)) }, "at most"},
		{"size: version", "host1", tagSize, func(b []byte) [][]byte { return one(swap(b, 0, 9)) }, "version 9"},
		{"size: reason", "host1", tagSize, func(b []byte) [][]byte { return one(swap(b, 1, byte(fewRows))) }, "reason"},
		{"size: too many rows", "host1", tagSize, func([]byte) [][]byte { return one(encode(size{fit, psi.MaxItems + 1, 1})) }, "rows"},
		{"size: nothing needed", "host1", tagSize, func([]byte) [][]byte { return one(encode(size{fit, rows, 0})) }, "at least 0"},
		{"size: one row more than it has", "host1", tagSize, func([]byte) [][]byte { return one(encode(size{fit, rows + 1, 1})) }, "bytes where ids"},
		{"size: one row less than it has", "host1", tagSize, func([]byte) [][]byte { return one(encode(size{fit, rows - 1, 1})) }, "bytes where ids"},

		{"host: no stream", "host1", tagHost, func([]byte) [][]byte { return one(nil) }, "no stream"},
		{"host: unknown stream", "host1", tagHost, func(b []byte) [][]byte { return one(swap(b, 0, 'x')) }, "no stream"},
		{"host: empty part", "host1", tagHost, func(b []byte) [][]byte { return one(b[:1]) }, "bytes where ids"},
		{"host: byte missing", "host1", tagHost, func(b []byte) [][]byte { return one(b[:len(b)-1]) }, "bytes where ids"},
		{"host: part twice", "host1", tagHost, func(b []byte) [][]byte { return [][]byte{b, b} }, "bytes where ids"},
		{"host: other stream", "host1", tagHost, func(b []byte) [][]byte { return one(swap(b, 0, b[0]^'m'^'d')) }, "bytes where ids"},
		{"host: identity", "host1", tagHost, func(b []byte) [][]byte {
			if b[0] == streamMasked {
				b = swap(b, 1+32, make([]byte, 32)...)
			}
			return one(b)
		}, "canonical"},
		{"host: not canonical", "host1", tagHost, func(b []byte) [][]byte {
			if b[0] == streamMasked {
				b = swap(b, 1+31, 0xff)
			}
			return one(b)
		}, "canonical"},
		{"host: an id twice", "host1", tagHost, func(b []byte) [][]byte {
			if b[0] == streamMasked {
				b = swap(b, 1, b[33:65]...)
			}
			return one(b)
		}, "twice"},
		{"host: an answer twice", "host1", tagHost, func(b []byte) [][]byte {
			if b[0] == streamDoubled {
				b = swap(b, 1, b[17:33]...)
			}
			return one(b)
		}, "twice"},

		{"start: party", "bank", tagStart, func(b []byte) [][]byte { return one(swap(b, 1, 0xff)) }, "verdict"},
		{"start: reason of a later step", "bank", tagStart, func(b []byte) [][]byte { return one(swap(b, 0, byte(fewJoint))) }, "verdict"},
		{"start: unknown reason", "bank", tagStart, func(b []byte) [][]byte { return one(swap(b, 0, byte(reasons))) }, "reason"},
		{"start: short", "bank", tagStart, func(b []byte) [][]byte { return one(b[:14]) }, "cannot be decoded"},
		{"start: asks for fewer", "bank", tagStart, func([]byte) [][]byte { return one(encode(start{verdict{need: 9}, rows})) }, "no less than 10"},
		{"start: asks for more than there is", "bank", tagStart, func([]byte) [][]byte { return one(encode(start{verdict{need: 61}, 70})) }, "are needed"},
		{"start: guest too small", "bank", tagStart, func([]byte) [][]byte { return one(encode(start{verdict{need: 10}, 9})) }, "are needed"},
		{"start: too many rows", "bank", tagStart, func([]byte) [][]byte { return one(encode(start{verdict{need: 10}, psi.MaxItems + 1})) }, "rows"},

		{"guest: byte missing", "bank", tagGuest, func(b []byte) [][]byte { return one(b[1:]) }, "bytes where ids"},
		{"guest: id missing", "bank", tagGuest, func(b []byte) [][]byte { return one(b[32:]) }, "bytes where ids"},
		{"guest: identity", "bank", tagGuest, func(b []byte) [][]byte { return one(swap(b, 64, make([]byte, 32)...)) }, "canonical"},
		{"guest: not canonical", "bank", tagGuest, func(b []byte) [][]byte { return one(swap(b, 63, 0xff)) }, "canonical"},
		{"guest: an id twice", "bank", tagGuest, func(b []byte) [][]byte { return one(swap(b, 0, b[32:64]...)) }, "twice"},
		{"guest: part twice", "bank", tagGuest, func(b []byte) [][]byte { return [][]byte{b, b} }, "at most"},

		{"outcome: too few rows", "bank", tagOutcome, func([]byte) [][]byte { return one(encode(verdict{rows: 9, need: 10})) }, "9 joint rows"},
		{"outcome: more rows than ids", "bank", tagOutcome, func([]byte) [][]byte { return one(encode(verdict{rows: rows + 1, need: 10})) }, "61 joint rows"},
		{"outcome: stops without cause", "bank", tagOutcome, func([]byte) [][]byte { return one(encode(verdict{fewJoint, 0, 10, 10})) }, "reason"},
		{"outcome: another minimum", "bank", tagOutcome, func([]byte) [][]byte { return one(encode(verdict{fewJoint, 0, 20, 30})) }, "reason"},
		{"outcome: reason of an earlier step", "bank", tagOutcome, func([]byte) [][]byte { return one(encode(verdict{emptyID, 0, 0, 10})) }, "reason"},

		{"rows: out of range", "bank", tagRows, func(b []byte) [][]byte { return one(swap(b, 0, 0, 0, 0, rows)) }, "position"},
		{"rows: far out of range", "bank", tagRows, func(b []byte) [][]byte { return one(swap(b, 0, 0xff)) }, "position"},
		{"rows: twice", "bank", tagRows, func(b []byte) [][]byte { return one(swap(b, 0, b[4:8]...)) }, "position"},
		{"rows: one missing", "bank", tagRows, func(b []byte) [][]byte { return one(b[4:]) }, "positions where"},
		{"rows: one more", "bank", tagRows, func(b []byte) [][]byte { return one(append(b, b[:4]...)) }, ""},
		{"rows: half a position", "bank", tagRows, func(b []byte) [][]byte { return one(b[:len(b)-2]) }, "cannot be decoded"},
		{"rows: none", "bank", tagRows, func([]byte) [][]byte { return one(nil) }, "positions where"},
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			ms := members(numbers("a", 0, rows), numbers("a", 0, rows), numbers("a", 0, rows))
			for i := range ms {
				ms[i].opt.MinRows = 10
			}
			n := &network{tamper: func(f frame) [][]byte {
				if f.from == a.from && f.tag == a.tag && (f.from != "bank" || f.to == "host1") {
					return a.change(f.body)
				}
				return one(f.body)
			}}
			out := play(t, t.Context(), n, ms)
			victim := 0
			if a.from == "bank" {
				victim = 1
			}
			var f *fault.Error
			if err := out[victim].err; !errors.As(err, &f) || f.Kind != fault.Protocol || f.Party != a.from || !strings.Contains(err.Error(), a.says) {
				t.Errorf("got %v, want a protocol fault of %s with %q", err, a.from, a.says)
			}
			if out[victim].res != nil {
				t.Errorf("got a result with the error: %+v", out[victim].res)
			}
		})
	}
}

// decodes checks for a decoder that what it takes is exactly what the encoder
// makes of it.
func decodes[M encoding.BinaryMarshaler](t *testing.T, m M, b []byte) {
	into := reflect.New(reflect.TypeOf(m))
	if err := into.Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		if !errors.Is(err, errMalformed) {
			t.Fatalf("%T: got %v, want an %v", m, err, errMalformed)
		}
		if !into.Elem().IsZero() {
			t.Fatalf("%T: the receiver was changed along with the error %v", m, err)
		}
		return
	}
	if got := encode(into.Elem().Interface().(M)); !bytes.Equal(got, b) {
		t.Fatalf("%T: %x was taken and encodes as %x", m, b, got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(size{duplicateID, 70, 50}))
	f.Add(encode(verdict{fewRows, 2, 12, 50}))
	f.Add(encode(start{verdict{need: 50}, 1 << 20}))
	f.Add(encode(part{streamMasked, make([]byte, 32)}))
	f.Add(encode(part{streamDoubled, make([]byte, 16)}))
	f.Add(encode(positions{1, 1 << 31}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		decodes(t, size{}, b)
		decodes(t, verdict{}, b)
		decodes(t, start{}, b)
		decodes(t, part{}, b)
		decodes(t, positions{}, b)
	})
}

// The bytes of each message, as PROTOCOL.md has them.
func TestEncodings(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]encoding.BinaryMarshaler{
		"01020000004600000032":           size{duplicateID, 70, 50},
		"0500020000000c00000032":         verdict{fewRows, 2, 12, 50},
		"000000000000000000003200000100": start{verdict{need: 50}, 256},
		"6d0102":                         part{streamMasked, []byte{1, 2}},
		"640102":                         part{streamDoubled, []byte{1, 2}},
		"0000000100000203":               positions{1, 515},
	} {
		if got := fmt.Sprintf("%x", encode(m)); got != want {
			t.Errorf("%T: got %s, want %s", m, got, want)
		}
	}
}
