package psi

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"testing"
)

func TestOwnInputRefused(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		items  []string
		random io.Reader
		want   error
	}{
		{"duplicate", []string{"a", "b", "a"}, seeded(1), ErrDuplicate},
		{"long item", []string{"a", string(make([]byte, MaxItemLen+1))}, seeded(1), ErrItemLen},
		{"no reader", []string{"a"}, nil, ErrRandom},
		{"short reader for the secret", []string{"a"}, bytes.NewReader(make([]byte, 63)), ErrRandom},
		{"short reader for the order", []string{"a"}, bytes.NewReader(bytes.Repeat([]byte{1}, 95)), ErrRandom},
		{"zero secret", []string{"a"}, bytes.NewReader(make([]byte, 96)), ErrRandom},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			read := func() io.Reader { return c.random }
			if b, ok := c.random.(*bytes.Reader); ok {
				read = func() io.Reader { b.Seek(0, io.SeekStart); return b }
			}
			if _, err := NewReceiver(testSalt, c.items, read()); !errors.Is(err, c.want) {
				t.Errorf("receiver: got %v, want %v", err, c.want)
			}
			if _, err := NewSender(testSalt, c.items, read()); !errors.Is(err, c.want) || errors.Is(err, ErrPeer) {
				t.Errorf("sender: got %v, want %v", err, c.want)
			}
		})
	}
	if err := checkLen(MaxItems + 1); !errors.Is(err, ErrTooMany) {
		t.Errorf("too many: got %v, want %v", err, ErrTooMany)
	}
	check(t, checkLen(MaxItems))
	var d *DuplicateError
	if _, err := NewReceiver(testSalt, []string{"a", "b", "c", "b"}, seeded(1)); !errors.As(err, &d) || d.First != 1 || d.Second != 3 {
		t.Errorf("duplicate: got %v, want items 1 and 3", err)
	}
}

func TestMaskRange(t *testing.T) {
	t.Parallel()
	r, _ := pair(t, numbers("a", 0, 4), nil, 1)
	for _, c := range [][2]int{{-1, 2}, {3, 2}, {0, 5}, {5, 5}} {
		if _, err := r.Mask(t.Context(), c[0], c[1]); !errors.Is(err, ErrRange) {
			t.Errorf("Mask(%d, %d): got %v, want %v", c[0], c[1], err, ErrRange)
		}
	}
	if b, err := r.Mask(t.Context(), 4, 4); err != nil || len(b) != 0 {
		t.Errorf("empty range: got %x, %v", b, err)
	}
}

// badElements are encodings that RFC 9496, appendix A.2, says must be refused,
// one or more of each class, and the identity.
var badElements = map[string]string{
	"identity":                "0000000000000000000000000000000000000000000000000000000000000000",
	"not canonical":           "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"not canonical, 2^255-1":  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"not canonical, p":        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"identity, high bit":      "0000000000000000000000000000000000000000000000000000000000000080",
	"negative, 1":             "0100000000000000000000000000000000000000000000000000000000000000",
	"negative":                "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
	"x^2 not square":          "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
	"x^2 not square, another": "2810e5cbc2cc4d4eece54f61c6f69758e289aa7ab440b3cbeaa21995c2f4232b",
	"xy negative":             "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
	"s = -1":                  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// Everything a peer may send in place of good elements, to the sender and to the
// receiver alike.
func TestElementsOfPeerRefused(t *testing.T) {
	t.Parallel()
	r, s := pair(t, numbers("a", 0, 6), numbers("a", 3, 9), 1)
	good, err := r.Mask(t.Context(), 0, 6)
	check(t, err)
	theirs, err := s.Mask(t.Context(), 0, 6)
	check(t, err)
	type attack struct {
		make func(good []byte) (lo int, elements []byte)
		want error
	}
	attacks := map[string]attack{
		"short":     {func(g []byte) (int, []byte) { return 0, g[:len(g)-1] }, ErrLength},
		"long":      {func(g []byte) (int, []byte) { return 0, append(bytes.Clone(g), 0) }, ErrLength},
		"one more":  {func(g []byte) (int, []byte) { return 0, append(bytes.Clone(g), g[:32]...) }, ErrOrder},
		"repeated":  {func(g []byte) (int, []byte) { return 0, append(bytes.Clone(g[:160]), g[:32]...) }, ErrRepeated},
		"ahead":     {func(g []byte) (int, []byte) { return 1, g[32:] }, ErrOrder},
		"backwards": {func(g []byte) (int, []byte) { return -1, g }, ErrOrder},
	}
	for name, enc := range badElements {
		b, err := hex.DecodeString(enc)
		check(t, err)
		attacks[name] = attack{func(g []byte) (int, []byte) { return 0, append(bytes.Clone(g[:160]), b...) }, ErrElement}
	}
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			_, s := pair(t, nil, numbers("a", 3, 9), 1)
			check(t, s.Expect(6))
			lo, e := a.make(good)
			if _, err := s.Double(t.Context(), lo, e); !errors.Is(err, a.want) || !errors.Is(err, ErrPeer) {
				t.Errorf("Double: got %v, want %v", err, a.want)
			}
			if _, err := s.Double(t.Context(), 0, good); err == nil {
				t.Error("Double answered after an error")
			}
			m, err := r.Match(6)
			check(t, err)
			lo, e = a.make(theirs)
			if err := m.TakeMasked(t.Context(), lo, e); !errors.Is(err, a.want) || !errors.Is(err, ErrPeer) {
				t.Errorf("TakeMasked: got %v, want %v", err, a.want)
			}
		})
	}
	t.Run("repeated in a later chunk", func(t *testing.T) {
		check(t, s.Expect(6))
		_, err := s.Double(t.Context(), 0, good[:64])
		check(t, err)
		if _, err := s.Double(t.Context(), 2, good[32:96]); !errors.Is(err, ErrRepeated) {
			t.Errorf("Double: got %v, want %v", err, ErrRepeated)
		}
		m, err := r.Match(6)
		check(t, err)
		check(t, m.TakeMasked(t.Context(), 0, theirs[:64]))
		if err := m.TakeMasked(t.Context(), 2, theirs[32:96]); !errors.Is(err, ErrRepeated) {
			t.Errorf("TakeMasked: got %v, want %v", err, ErrRepeated)
		}
	})
}

func TestTagsOfPeerRefused(t *testing.T) {
	t.Parallel()
	r, _ := pair(t, numbers("a", 0, 3), nil, 1)
	tags := make([]byte, 3*TagLen)
	for i := range tags {
		tags[i] = byte(i)
	}
	cases := []struct {
		name string
		lo   int
		tags []byte
		want error
	}{
		{"short", 0, tags[:47], ErrLength},
		{"too many", 0, append(bytes.Clone(tags), make([]byte, TagLen)...), ErrOrder},
		{"ahead", 1, tags[:32], ErrOrder},
		{"backwards", -1, tags, ErrOrder},
		{"repeated", 0, append(bytes.Clone(tags[:16]), tags[:16]...), ErrRepeated},
	}
	for _, c := range cases {
		m, err := r.Match(0)
		check(t, err)
		if err := m.TakeDoubled(c.lo, c.tags); !errors.Is(err, c.want) || !errors.Is(err, ErrPeer) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	r, s := pair(t, numbers("a", 0, 3), numbers("a", 0, 2), 1)
	for _, n := range []int{-1, MaxItems + 1} {
		if _, err := r.Match(n); !errors.Is(err, ErrPeer) {
			t.Errorf("Match(%d): got %v, want %v", n, err, ErrPeer)
		}
		if err := s.Expect(n); !errors.Is(err, ErrPeer) {
			t.Errorf("Expect(%d): got %v, want %v", n, err, ErrPeer)
		}
	}
	check(t, s.Expect(3))
	if err := s.Expect(3); !errors.Is(err, ErrOrder) {
		t.Errorf("second Expect: got %v, want %v", err, ErrOrder)
	}
	_, early := pair(t, nil, nil, 2)
	if _, err := early.Double(t.Context(), 0, nil); !errors.Is(err, ErrEarly) {
		t.Errorf("Double before Expect: got %v, want %v", err, ErrEarly)
	}
	m, err := r.Match(2)
	check(t, err)
	masked, err := s.Mask(t.Context(), 0, 2)
	check(t, err)
	check(t, m.TakeMasked(t.Context(), 0, masked))
	if _, err := m.Matches(); !errors.Is(err, ErrEarly) {
		t.Errorf("Matches before the end: got %v, want %v", err, ErrEarly)
	}
}

func FuzzElements(f *testing.F) {
	for _, enc := range badElements {
		b, err := hex.DecodeString(enc)
		check(f, err)
		f.Add(b)
	}
	r, err := NewReceiver(testSalt, numbers("a", 0, 3), seeded(1))
	check(f, err)
	good, err := r.Mask(context.Background(), 0, 3)
	check(f, err)
	f.Add(good)
	f.Add(good[:33])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := NewSender(testSalt, nil, seeded(2))
		check(t, err)
		check(t, s.Expect(3))
		tags, err := s.Double(t.Context(), 0, b)
		switch {
		case err != nil && !errors.Is(err, ErrPeer):
			t.Fatalf("got %v, want an %v", err, ErrPeer)
		case err == nil && len(tags)*ElementLen != len(b)*TagLen:
			t.Fatalf("%d bytes of elements gave %d bytes of tags", len(b), len(tags))
		}
	})
}

func FuzzTags(f *testing.F) {
	f.Add(0, make([]byte, 48))
	f.Add(0, []byte("0123456789abcdef0123456789abcdeX"))
	f.Add(1, make([]byte, 16))
	r, err := NewReceiver(testSalt, numbers("a", 0, 3), seeded(1))
	check(f, err)
	f.Fuzz(func(t *testing.T, lo int, b []byte) {
		m, err := r.Match(0)
		check(t, err)
		if err := m.TakeDoubled(lo, b); err != nil && !errors.Is(err, ErrPeer) {
			t.Fatalf("got %v, want an %v", err, ErrPeer)
		}
		if len(m.own) > 3 {
			t.Fatalf("took %d tags for 3 items", len(m.own))
		}
	})
}
