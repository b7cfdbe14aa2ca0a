package psi

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/gtank/ristretto255"
)

// RFC 9380, appendix K.3.
func TestExpandMessageXMD(t *testing.T) {
	t.Parallel()
	for msg, want := range map[string]string{
		"":                                 "6b9a7312411d92f921c6f68ca0b6380730a1a4d982c507211a90964c394179ba",
		"abc":                              "0da749f12fbe5483eb066a5f595055679b976e93abe9be6f0f6318bce7aca8dc",
		"abcdef0123456789":                 "087e45a86e2939ee8b91100af1583c4938e0f5fc6c9db4b107b83346bc967f58",
		"q128_" + strings.Repeat("q", 128): "7336234ee9983902440f6bc35b348352013becd88938d2afec44311caf8356b3",
		"a512_" + strings.Repeat("a", 512): "57b5f7e766d5be68a6bfe1768e3c2b7f1228b3e4b3134956dd73a59b954c66f4",
	} {
		// The message split between salt and item must not matter.
		for _, cut := range []int{0, len(msg) / 2, len(msg)} {
			h := newHasher("QUUX-V01-CS02-with-expander-SHA512-256", []byte(msg[:cut]))
			b := h.expand(msg[cut:], 32)
			if got := hex.EncodeToString(b[:32]); got != want {
				t.Errorf("%q cut at %d: got %s, want %s", msg, cut, got, want)
			}
		}
	}
}

// RFC 9497, appendix A.1.1: the blinded element is blind·HashToGroup(input), the
// evaluated one the server's key times that. They pin hash and masks together.
func TestHashToGroup(t *testing.T) {
	t.Parallel()
	const (
		dst   = "HashToGroup-OPRFV1-\x00-ristretto255-SHA512"
		key   = "5ebcea5ee37023ccb9fc2d2019f9d7737be85591ae8652ffa9ef0f4d37063b0e"
		blind = "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706"
	)
	cases := []struct{ input, blinded, evaluated string }{
		{"\x00", "609a0ae68c15a3cf6903766461307e5c8bb2f95e7e6550e1ffa2dc99e412803c",
			"7ec6578ae5120958eb2db1745758ff379e77cb64fe77b0b2d8cc917ea0869c7e"},
		{strings.Repeat("\x5a", 17), "da27ef466870f5f15296299850aa088629945a17d1f5b7f5ff043f76b3c06418",
			"b4cbf5a4f1eeda5a63ce7b77c7d23f461db3fcab0dd28e4e17cecb5c90d02c25"},
	}
	for _, c := range cases {
		var e ristretto255.Element
		newHasher(dst, nil).element(&e, c.input)
		e.ScalarMult(scalar(t, blind), &e)
		if got := hex.EncodeToString(e.Encode(nil)); got != c.blinded {
			t.Errorf("blinded %x: got %s, want %s", c.input, got, c.blinded)
		}
		b, err := hex.DecodeString(c.blinded)
		check(t, err)
		check(t, decode(&e, b))
		e.ScalarMult(scalar(t, key), &e)
		if got := hex.EncodeToString(e.Encode(nil)); got != c.evaluated {
			t.Errorf("evaluated %x: got %s, want %s", c.input, got, c.evaluated)
		}
	}
}

func scalar(t *testing.T, s string) *ristretto255.Scalar {
	t.Helper()
	b, err := hex.DecodeString(s)
	check(t, err)
	k := ristretto255.NewScalar()
	check(t, k.Decode(b))
	return k
}

// The bytes on the wire for fixed secrets. A change here breaks the agreement of
// parties that run different versions.
func TestPinned(t *testing.T) {
	t.Parallel()
	r, s := pair(t, []string{"alice"}, []string{"alice"}, 1)
	masked, err := r.Mask(t.Context(), 0, 1)
	check(t, err)
	check(t, s.Expect(1))
	tags, err := s.Double(t.Context(), 0, masked)
	check(t, err)
	const (
		wantMasked = "c09669847968820f8ebd0997e34bfab7b64627bb7be141c1147ac205229d917d"
		wantTags   = "4a520e4dad7abf73e34c805936374118"
	)
	if got := hex.EncodeToString(masked); got != wantMasked {
		t.Errorf("masked: got %s, want %s", got, wantMasked)
	}
	if got := hex.EncodeToString(tags); got != wantTags {
		t.Errorf("doubled: got %s, want %s", got, wantTags)
	}
}
