package boost

import (
	"bytes"
	"encoding"
	"reflect"
	"slices"
	"testing"

	"kontor/matvec"
)

type message interface {
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

// messages are one of each kind and where to decode it.
func messages() map[string][2]message {
	return map[string][2]message{
		"shape": {&shape{rowsDigest(Rows{Train: []int{1, 2}}), []int{1, 7, 254}}, &shape{}},
		"plan":  {&plan{matvec.Spec{Rows: 1 << 20, Features: 3, Bins: 262, Queries: 800, MeanBits: 4}, 26, 2, 60}, &plan{}},
		"tree":  {&treeNote{more: true}, &treeNote{}},
		"end":   {&treeNote{kept: 17}, &treeNote{}},
		"asks":  {&asks{{0, 3, false}, {0, 3, true}, {2, 0, false}}, &asks{}},
		"none":  {&asks{}, &asks{}},
		"model": {&modelNote{[32]byte{1, 2, 3}, 1000, 12}, &modelNote{}},
		"any":   {&modelNote{[32]byte{4}, -1, 0}, &modelNote{}},
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	for name, m := range messages() {
		b, err := m[0].MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := m[1].UnmarshalBinary(b); err != nil || !reflect.DeepEqual(m[0], m[1]) {
			t.Errorf("%s: %+v came back as %+v: %v", name, m[0], m[1], err)
		}
		for _, bad := range [][]byte{nil, b[:len(b)-1], append(slices.Clone(b), 0), append([]byte{b[0] + 1}, b[1:]...)} {
			if m[1].UnmarshalBinary(bad) == nil {
				t.Errorf("%s: %x was decoded", name, bad)
			}
		}
	}
}

// The encodings are part of the protocol: a change of one is a new version.
func TestKnownMessages(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"plan":  "01" + "00100000" + "00000003" + "00000106" + "00000320" + "04" + "1a" + "02" + "3c",
		"tree":  "01" + "01" + "00000000",
		"end":   "01" + "00" + "00000011",
		"asks":  "01" + "0003" + "000000000300" + "000000000301" + "000000020000",
		"model": "01" + "0102030000000000000000000000000000000000000000000000000000000000" + "000003e8" + "0000000c",
		"shape": "01" + "edba7f8b6d0d82b3f73eb85eb4b35444caef9c2de9663520404a2ee5a6d45d83" + "00000003" + "0107fe",
	} {
		b, err := messages()[name][0].MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if got := hexOf(b); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
}

func TestRowsDigest(t *testing.T) {
	t.Parallel()
	seen := map[[32]byte]string{}
	for name, r := range map[string]Rows{
		"a": {Train: []int{1, 2, 3}}, "b": {Train: []int{1, 3, 2}}, "c": {Train: []int{1, 2}, Valid: []int{3}},
		"d": {Train: []int{1}, Valid: []int{2, 3}}, "e": {Train: span(0, 2000)}, "f": {Train: span(0, 2001)},
	} {
		d := rowsDigest(r)
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[d] = name
	}
}

func TestParseSides(t *testing.T) {
	t.Parallel()
	sets, err := parseSides([]byte{0xff, 0x03, 0x01, 0x02}, 2, 10)
	if err != nil || len(sets) != 2 || !bytes.Equal(sets[1], []byte{1, 2}) {
		t.Errorf("%x %v", sets, err)
	}
	for _, tc := range []struct {
		b           []byte
		count, rows int
	}{{[]byte{0xff, 0x04}, 1, 10}, {[]byte{1}, 1, 10}, {[]byte{1, 1, 1}, 1, 10}, {[]byte{1}, 0, 10}} {
		if _, err := parseSides(tc.b, tc.count, tc.rows); err == nil {
			t.Errorf("%+v was accepted", tc)
		}
	}
}

// FuzzMessages feeds every decoder: none may panic, and what is decoded must
// encode to the same bytes.
func FuzzMessages(f *testing.F) {
	for _, m := range messages() {
		b, _ := m[0].MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range []message{&shape{}, &plan{}, &treeNote{}, &asks{}, &modelNote{}} {
			if m.UnmarshalBinary(b) != nil {
				continue
			}
			if again, err := m.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
				t.Errorf("%x decodes to %+v, which encodes to %x: %v", b, m, again, err)
			}
		}
	})
}

func FuzzSides(f *testing.F) {
	f.Add([]byte{0xff, 0x03}, uint8(1), uint16(10))
	f.Fuzz(func(t *testing.T, b []byte, count uint8, rows uint16) {
		if rows == 0 {
			return
		}
		sets, err := parseSides(b, int(count), int(rows))
		if err == nil && !bytes.Equal(slices.Concat(sets...), b) {
			t.Error("sides are not what was sent")
		}
	})
}
