package boost

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

const (
	idText    = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	guestText = `{"format":"kontor-boost-v1","id":"` + idText + `","params":{"trees":1,"depth":2,"learning_rate":0.1,` +
		`"lambda":1,"gamma":0,"min_child_weight":1,"bins":8,"early_stopping":0,"seed":7,"mean_bits":4},"base":-1.5,` +
		`"features":["age"],"hosts":[{"party":"telecom","splits":[3]}],"trees":[{"nodes":[` +
		`{"left":1,"right":2,"threshold":30.5,"default_left":true,"gain":2.5},` +
		`{"left":3,"right":4,"host":1,"feature":3,"gain":1.25},{"leaf":0.25},{"leaf":-0.5},{}]}]}`
	hostText = `{"format":"kontor-boost-v1","id":"` + idText + `","party":"telecom","features":["spend"],` +
		`"splits":[{"feature":0,"threshold":12.75,"default_left":false}]}`
)

// The stored form is a format: models of this version must stay readable.
func TestKnownModels(t *testing.T) {
	t.Parallel()
	g, err := ParseGuestModel([]byte(guestText))
	if err != nil {
		t.Fatal(err)
	}
	h, err := ParseHostModel([]byte(hostText))
	if err != nil {
		t.Fatal(err)
	}
	for want, m := range map[string]any{guestText: g, hostText: h} {
		b, err := json.Marshal(m)
		if err != nil || string(b) != want {
			t.Errorf("%v\n%s\nwant\n%s", err, b, want)
		}
	}
	n := g.Trees[0].Nodes
	if g.Base != -1.5 || !n[0].DefaultLeft || n[1].Host != 1 || n[3].Leaf != -0.5 || h.Splits[0].Threshold != 12.75 {
		t.Errorf("%+v %+v", g, h)
	}
	var again GuestModel
	if err := json.Unmarshal([]byte(guestText), &again); err != nil || !reflect.DeepEqual(&again, g) {
		t.Errorf("through encoding/json: %v", err)
	}
}

func TestModelsThatAreNotValid(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, old, new string }{
		{"other format", "kontor-boost-v1", "kontor-boost-v2"},
		{"short identifier", "0011", "00"},
		{"upper-case identifier", "aabbcc", "AABBCC"},
		{"unknown field", `"base"`, `"more":1,"base"`},
		{"bad parameters", `"depth":2`, `"depth":0`},
		{"too deep", `"depth":2`, `"depth":1`},
		{"no trees are fine, no nodes are not", `[{"nodes":[{"left"`, `[{"nodes":[]},{"nodes":[{"left"`},
		{"child before parent", `"left":3`, `"left":1`},
		{"child out of range", `"right":4`, `"right":5`},
		{"negative child", `"left":3`, `"left":-3`},
		{"one child twice", `"right":4`, `"right":3`},
		{"orphan", `{"leaf":-0.5},{}`, `{"leaf":-0.5},{},{}`},
		{"leaf and split", `{"leaf":0.25}`, `{"leaf":0.25,"gain":1}`},
		{"split with a leaf", `"gain":1.25`, `"gain":1.25,"leaf":1`},
		{"unknown feature", `"threshold":30.5`, `"threshold":30.5,"feature":1`},
		{"unknown host", `"host":1`, `"host":2`},
		{"negative host", `"host":1`, `"host":-1`},
		{"unknown split", `"host":1`, `"host":1,"split":1`},
		{"split of another feature", `"feature":3`, `"feature":2`},
		{"threshold of a host", `"host":1`, `"host":1,"threshold":1`},
		{"infinite leaf", `"leaf":0.25`, `"leaf":1e999`},
		{"feature named twice", `["age"]`, `["age","age"]`},
		{"host named twice", `[{"party":"telecom"`, `[{"party":"telecom"},{"party":"telecom"`},
		{"impossible feature of a host", `"splits":[3]`, `"splits":[3,-1]`},
		{"cut off", `{}]}]}`, `{}]}]`},
		{"followed by more", `{}]}]}`, `{}]}]} {}`},
		{"a list", guestText, `[]`},
		{"a host's part", guestText, hostText},
	} {
		bad := strings.Replace(guestText, tc.old, tc.new, 1)
		if bad == guestText {
			t.Fatalf("%s: nothing was changed", tc.name)
		}
		if _, err := ParseGuestModel([]byte(bad)); !errors.Is(err, ErrModel) {
			t.Errorf("guest, %s: %v", tc.name, err)
		}
	}
	for _, tc := range []struct{ name, old, new string }{
		{"other format", "kontor-boost-v1", ""},
		{"no party", `"telecom"`, `""`},
		{"unknown feature", `"feature":0`, `"feature":1`},
		{"negative feature", `"feature":0`, `"feature":-1`},
		{"infinite threshold", `12.75`, `1e999`},
		{"feature named twice", `["spend"]`, `["spend","spend"]`},
		{"the guest's part", hostText, guestText},
		{"nothing", hostText, ``},
	} {
		bad := strings.Replace(hostText, tc.old, tc.new, 1)
		if _, err := ParseHostModel([]byte(bad)); !errors.Is(err, ErrModel) {
			t.Errorf("host, %s: %v", tc.name, err)
		}
	}
}

func TestLocalModelIsNamedByContent(t *testing.T) {
	t.Parallel()
	cols, label := table(1, 100, 3)
	rows := Rows{Train: span(0, 100)}
	train := func(seed uint64) *GuestModel {
		p := small()
		p.Seed = seed
		m, _, err := TrainLocal(context.Background(), cols, label, rows, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, again, b := train(1), train(1), train(2)
	if !reflect.DeepEqual(a, again) {
		t.Error("the same training gives another model")
	}
	if a.ID == b.ID || reflect.DeepEqual(a.Trees, b.Trees) {
		t.Error("another seed gives the same model")
	}
	buf, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseGuestModel(buf); err != nil || !reflect.DeepEqual(a, back) {
		t.Errorf("read back: %v", err)
	}
}

// FuzzGuestModel checks that what is accepted can be walked and stored.
func FuzzGuestModel(f *testing.F) {
	f.Add([]byte(guestText))
	f.Add([]byte(strings.Replace(guestText, `"host":1,"feature":3,`, "", 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseGuestModel(b)
		if err != nil {
			if !errors.Is(err, ErrModel) {
				t.Errorf("error without its sentinel: %v", err)
			}
			return
		}
		values := make([][]float64, len(m.Features))
		for i := range values {
			values[i] = []float64{1}
		}
		sides := make([][][]byte, len(m.Hosts))
		for k, h := range m.Hosts {
			for range h.Splits {
				sides[k] = append(sides[k], []byte{1})
			}
		}
		if err := m.walk(context.Background(), make([]float64, 1), 0, values, sides); err != nil {
			t.Error(err)
		}
		_ = m.Importance()
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseGuestModel(again); err != nil {
			t.Errorf("stored and read back: %v", err)
		}
	})
}

func FuzzHostModel(f *testing.F) {
	f.Add([]byte(hostText))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseHostModel(b)
		if err != nil {
			if !errors.Is(err, ErrModel) {
				t.Errorf("error without its sentinel: %v", err)
			}
			return
		}
		values := make([][]float64, len(m.Features))
		for i := range values {
			values[i] = []float64{1}
		}
		if _, err := m.sides(context.Background(), values, 0, 1); err != nil {
			t.Error(err)
		}
		_ = m.Importance()
	})
}
