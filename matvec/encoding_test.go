package matvec

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// messages makes one of each under small parameters.
func messages(t testing.TB, p Params, vectors int) (hint, query, answer []byte) {
	t.Helper()
	m := randomMatrix(rand.New(rand.NewPCG(1, 1)), p.spec.Rows, p.spec.Bins)
	h, q := pair(t, p, m)
	x, _, err := q.Encrypt(t.Context(), randomVectors(rand.New(rand.NewPCG(1, 2)), p, vectors))
	if err != nil {
		t.Fatal(err)
	}
	a, err := h.Answer(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		v interface{ MarshalBinary() ([]byte, error) }
		b *[]byte
	}{{h.Hint(), &hint}, {x, &query}, {a, &answer}} {
		if *c.b, err = c.v.MarshalBinary(); err != nil {
			t.Fatal(err)
		}
	}
	return hint, query, answer
}

func smallParams(t testing.TB) Params {
	return mustPlan(t, Spec{Rows: 13, Features: 1, Bins: 2, Queries: 6, MeanBits: 4})
}

// parsers decodes each kind of message and encodes it again.
func parsers(p Params) map[string]func([]byte) ([]byte, error) {
	return map[string]func([]byte) ([]byte, error){
		"hint": func(b []byte) ([]byte, error) {
			h, err := ParseHint(p, 2, b)
			if err != nil {
				return nil, err
			}
			return h.MarshalBinary()
		},
		"query": func(b []byte) ([]byte, error) {
			q, err := ParseQuery(p, 3, b)
			if err != nil {
				return nil, err
			}
			return q.MarshalBinary()
		},
		"answer": func(b []byte) ([]byte, error) {
			a, err := ParseAnswer(p, 2, 3, b)
			if err != nil {
				return nil, err
			}
			return a.MarshalBinary()
		},
	}
}

func TestMalformedMessages(t *testing.T) {
	t.Parallel()
	p := smallParams(t)
	hint, query, answer := messages(t, p, 3)
	good := map[string][]byte{"hint": hint, "query": query, "answer": answer}
	for name, parse := range parsers(p) {
		b := good[name]
		if again, err := parse(b); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: a round trip gave %d bytes of %d, %v", name, len(again), len(b), err)
		}
		other := slices.Clone(b)
		other[0] = 2
		for what, bad := range map[string][]byte{
			"nothing": nil, "only a version": b[:1], "a byte short": b[:len(b)-1], "a byte long": append(slices.Clone(b), 0), "another version": other,
		} {
			if _, err := parse(bad); !errors.Is(err, ErrEncoding) {
				t.Errorf("%s: %s: got %v, want ErrEncoding", name, what, err)
			}
		}
	}
	// A residue that is no residue, in the mask and in a row, of either prime.
	lane := p.wordSize() / 2
	for _, at := range []int{1, 1 + lane, 1 + lane - 8, len(query) - 8} {
		bad := slices.Clone(query)
		for i := range 8 {
			bad[at+i] = 255
		}
		if _, err := ParseQuery(p, 3, bad); !errors.Is(err, ErrEncoding) {
			t.Errorf("a residue out of range at byte %d: got %v, want ErrEncoding", at, err)
		}
	}
}

func TestShapesThatParametersDoNotAllow(t *testing.T) {
	t.Parallel()
	p := smallParams(t)
	for _, bins := range []int{-1, 0, 3, 1 << 60} {
		if _, err := ParseHint(p, bins, nil); !errors.Is(err, ErrMatrix) {
			t.Errorf("hint of %d bins: got %v, want ErrMatrix", bins, err)
		}
		if _, err := ParseAnswer(p, bins, 1, nil); !errors.Is(err, ErrMatrix) {
			t.Errorf("answer of %d bins: got %v, want ErrMatrix", bins, err)
		}
		if n := p.HintSize(bins) + p.AnswerSize(bins, 1); n != 0 {
			t.Errorf("%d bins have size %d", bins, n)
		}
	}
	for _, vectors := range []int{-1, 0, 7, 1 << 60} {
		if _, err := ParseQuery(p, vectors, nil); !errors.Is(err, ErrRange) {
			t.Errorf("query of %d vectors: got %v, want ErrRange", vectors, err)
		}
		if _, err := ParseAnswer(p, 2, vectors, nil); !errors.Is(err, ErrRange) {
			t.Errorf("answer of %d vectors: got %v, want ErrRange", vectors, err)
		}
		if n := p.QuerySize(vectors) + p.AnswerSize(2, vectors); n != 0 {
			t.Errorf("%d vectors have size %d", vectors, n)
		}
	}
	var none Params
	if _, err := ParseHint(none, 1, nil); !errors.Is(err, ErrSpec) {
		t.Errorf("hint under empty parameters: got %v", err)
	}
	if _, err := ParseQuery(none, 1, nil); !errors.Is(err, ErrSpec) {
		t.Errorf("query under empty parameters: got %v", err)
	}
	if _, err := ParseAnswer(none, 1, 1, nil); !errors.Is(err, ErrSpec) {
		t.Errorf("answer under empty parameters: got %v", err)
	}
	if n := none.HintSize(1) + none.QuerySize(1) + none.AnswerSize(1, 1); n != 0 {
		t.Errorf("sizes under empty parameters: %d", n)
	}
}

// fuzzParser feeds a parser anything: what it takes, it must give back.
func fuzzParser(f *testing.F, name string) {
	p := smallParams(f)
	hint, query, answer := messages(f, p, 3)
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Add(hint)
	f.Add(query)
	f.Add(answer)
	f.Add(bytes.Repeat([]byte{255}, len(query)))
	parse := parsers(p)[name]
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := parse(b)
		if err != nil {
			if !errors.Is(err, ErrEncoding) {
				t.Fatalf("got %v", err)
			}
			return
		}
		if name == "query" {
			clearPadding(p, again)
			b = slices.Clone(b)
			clearPadding(p, b)
		}
		if !bytes.Equal(b, again) {
			t.Fatal("came back changed")
		}
	})
}

// clearPadding zeroes the bits that fill up a lane of a query.
func clearPadding(p Params, b []byte) {
	lane := p.wordSize() / 2
	for at := lane; at < len(b); at += lane {
		b[at] &= 1<<(13*53%8) - 1
	}
}

func FuzzParseHint(f *testing.F)   { fuzzParser(f, "hint") }
func FuzzParseQuery(f *testing.F)  { fuzzParser(f, "query") }
func FuzzParseAnswer(f *testing.F) { fuzzParser(f, "answer") }
