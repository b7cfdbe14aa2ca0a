package flow

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestRowsAndPartsAreWhatTheyWere(t *testing.T) {
	t.Parallel()
	s := &rowSet{table: [32]byte{1, 2}, of: 9, rows: []int{8, 0, 3, 5}}
	got, err := decodeRows(s.encode())
	if err != nil || got.table != s.table || got.of != 9 || !slices.Equal(got.rows, s.rows) || got.digest() != s.digest() {
		t.Errorf("%+v, %v", got, err)
	}
	d := &division{of: s.digest(), n: 4, parts: []part{{"train", []int{0, 2}}, {"test", []int{1, 3}}}}
	back, err := decodeParts(d.encode())
	if err != nil || !reflect.DeepEqual(back, d) {
		t.Errorf("%+v, %v", back, err)
	}
	// docs/formats/artifacts.md, "Known answers"
	if sum := s.digest(); hex.EncodeToString(sum[:8]) != knownRows {
		t.Errorf("the rows end with %x", sum[:8])
	}
	if e := d.encode(); hex.EncodeToString(e[len(e)-32:len(e)-24]) != knownParts {
		t.Errorf("the parts end with %x", e[len(e)-32:len(e)-24])
	}
}

const (
	knownRows  = "6ac294d57c773d00"
	knownParts = "d428f859f57ccc41"
)

// TestImpossibleArtifacts are well sealed and make no sense.
func TestImpossibleArtifacts(t *testing.T) {
	t.Parallel()
	rows := func(of uint64, n uint64, list ...uint32) []byte {
		b := append([]byte(rowsMark), make([]byte, 32)...)
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, of), n)
		for _, r := range list {
			b = binary.BigEndian.AppendUint32(b, r)
		}
		return seal(b)
	}
	for name, b := range map[string][]byte{
		"row twice": rows(5, 2, 1, 1), "row beyond": rows(5, 1, 5), "more than there are": rows(1<<20, 1<<20, 1),
		"a huge table": rows(1<<60, 0), "fewer than said": rows(5, 3, 0, 1), "more than said": rows(5, 1, 0, 1),
		"another mark": seal([]byte(partsMark + strings.Repeat("\x00", 48))), "nothing": nil, "a mark": []byte(rowsMark),
	} {
		if got, err := decodeRows(b); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, d := range map[string]*division{
		"row in two parts": {n: 2, parts: []part{{"train", []int{0, 1}}, {"test", []int{1}}}},
		"row in no part":   {n: 3, parts: []part{{"train", []int{0, 1}}}},
		"row beyond":       {n: 2, parts: []part{{"train", []int{0, 2}}}},
	} {
		if got, err := decodeParts(d.encode()); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, text := range map[string]string{
		"another format": `{"format": "kontor-evaluation-v2", "sets": []}`, "unknown member": `{"format": "kontor-evaluation-v1", "sets": [], "x": 1}`,
		"no curves": `{"format": "kontor-evaluation-v1", "sets": [{"name": "test"}]}`, "bad name": `{"format": "kontor-evaluation-v1", "sets": [{"name": "../x", "evaluation": {}}]}`,
		"two values": `{"format": "kontor-evaluation-v1", "sets": []} {}`,
	} {
		if _, err := decodeSets([]byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for name, st := range map[string]storedStep{
		"a path out":  {Format: stepFormat, Contents: map[string]content{"../x": {}}},
		"itself":      {Format: stepFormat, Contents: map[string]content{stepFile: {}}},
		"not listed":  {Format: stepFormat, StepResult: StepResult{Files: []string{"model.json"}}},
		"next format": {Format: "kontor-step-v2"},
	} {
		st.Sum = st.sum()
		b, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeStep(b); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzRows(f *testing.F) {
	f.Add((&rowSet{of: 5, rows: []int{4, 0}}).encode())
	f.Add([]byte(rowsMark))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(bytes.Clone(b))} { // the hash is no secret
			if s, err := decodeRows(b); err == nil && !bytes.Equal(s.encode(), b) {
				t.Fatalf("%x is read as %+v", b, s)
			}
		}
	})
}

func FuzzParts(f *testing.F) {
	f.Add((&division{n: 3, parts: []part{{"train", []int{2, 0}}, {"valid", []int{1}}}}).encode())
	f.Add([]byte(partsMark))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(bytes.Clone(b))} {
			if d, err := decodeParts(b); err == nil && !bytes.Equal(d.encode(), b) {
				t.Fatalf("%x is read as %+v", b, d)
			}
		}
	})
}

// FuzzStepFiles is for the JSON of a step's folder: what is read can be written
// and read again.
func FuzzStepFiles(f *testing.F) {
	st := storedStep{Format: stepFormat, StepResult: StepResult{Report: StepReport{Name: "align", Kind: "align"}, Files: []string{"a"}}, Contents: map[string]content{"a": {3, "00"}}}
	st.Sum = st.sum()
	b, _ := json.Marshal(st)
	f.Add(b)
	f.Add([]byte(`{"format":"kontor-evaluation-v1","sets":[{"name":"test","evaluation":{"summary":{},"roc":[{"fpr":1e300}]}}]}`))
	f.Add([]byte(`{"train":[0.5],"best":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeStep(b); err == nil {
			again, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decodeStep(again); err != nil {
				t.Fatal(err)
			}
		}
		if sets, err := decodeSets(b); err == nil {
			var w bytes.Buffer
			if err := encodeSets(&w, sets); err != nil {
				t.Fatal(err)
			}
		}
		decodeHistory(b)
	})
}
