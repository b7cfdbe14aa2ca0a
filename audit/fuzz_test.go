package audit

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// golden returns an export in testdata and the key that signed it: of the seed of 32
// bytes of that value.
func golden(t testing.TB, name string, seed byte) (string, ed25519.PublicKey) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
}

// TestKnownExports pins the format: what once was written stays good.
func TestKnownExports(t *testing.T) {
	t.Parallel()
	bank, bankKey := golden(t, "bank", 0)
	shop, shopKey := golden(t, "shop", 1)
	heads, r, err := Heads(strings.NewReader(shop), shopKey, "bank")
	if err != nil || !r.OK() || r.Entries != 3 || len(heads) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	r, err = Verify(strings.NewReader(bank), bankKey, heads...)
	if err != nil || !r.OK() || r.Entries != 5 || r.Heads != 1 || len(r.Testimonies) != 1 || r.Testimonies[0].Seen != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

func FuzzVerify(f *testing.F) {
	good, key := golden(f, "bank", 0)
	other, _ := golden(f, "shop", 1)
	f.Add(good)
	f.Add(other)
	f.Add(strings.Replace(good, "alice", "bob", 1))
	f.Add(strings.Replace(good, `"seq":2`, `"seq":4611686018427387904`, 1))
	f.Add(strings.Replace(good, `"from":1`, `"from":9223372036854775807`, 1))
	f.Add(strings.Repeat("[", 10_000))
	header, body, _ := strings.Cut(good, "\n")
	f.Add(header)
	body = flat(body)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Verify(strings.NewReader(text), key)
		if err != nil {
			return
		}
		if len(r.Problems) > maxProblems+2 {
			t.Errorf("%d problems", len(r.Problems))
		}
		_, rest, _ := strings.Cut(text, "\n")
		if r.OK() && r.Entries > 0 && flat(rest) != body {
			t.Errorf("another log holds:\n%s", text)
		}
	})
}

// flat returns lines in canonical form.
func flat(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if v, err := parse([]byte(line)); err == nil {
			out = append(out, string(canonical(v)))
		} else {
			out = append(out, fmt.Sprintf("%q", line))
		}
	}
	return strings.Join(out, "\n")
}
