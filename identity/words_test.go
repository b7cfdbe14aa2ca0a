package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// TestWordList holds the list to what makes it fit for the telephone, and to its
// content: a word that changed would make people distrust a good key.
func TestWordList(t *testing.T) {
	t.Parallel()
	list := wordList()
	if len(list) != 1<<wordBits || !slices.IsSorted(list) || wordCount*wordBits < 100 {
		t.Fatalf("%d words, sorted: %v", len(list), slices.IsSorted(list))
	}
	seen := map[string]string{}
	for _, w := range list {
		if len(w) < 4 || len(w) > 9 || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("%q is no word of four to nine letters", w)
			continue
		}
		if other, ok := seen[w[:4]]; ok {
			t.Errorf("%s and %s begin alike", other, w)
		}
		seen[w[:4]] = w
	}
	for i, a := range list {
		for _, b := range list[i+1:] {
			if nearly(a, b) {
				t.Errorf("%s and %s lie one mistake apart", a, b)
			}
		}
	}
	sum := sha256.Sum256([]byte(wordFile))
	if got := hex.EncodeToString(sum[:]); got != "924252eb5ace38d96cf36cb533a2a90036639825f361055c3792fd60649efb79" {
		t.Errorf("the list has changed: %s", got)
	}
}

// nearly reports whether one letter changed, added, dropped or swapped with its
// neighbour makes a into b.
func nearly(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	return i == len(a) || a[i+1:] == b[i+1:] ||
		i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

func TestWordsKnownAnswer(t *testing.T) {
	t.Parallel()
	zero := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	const want = "brick marathon overcoat eight freedom glory cadet neptune newborn iodine bathroom spoon"
	if got := Words(zero); got != want {
		t.Errorf("words of the zero seed: %q, want %q", got, want)
	}
	// The words are the first 120 bits of the fingerprint, written otherwise.
	var bits strings.Builder
	for _, w := range strings.Fields(Words(zero)) {
		i, ok := slices.BinarySearch(wordList(), w)
		if !ok {
			t.Fatalf("%s is not in the list", w)
		}
		for b := wordBits - 1; b >= 0; b-- {
			bits.WriteByte('0' + byte(i>>b&1))
		}
	}
	digits, _ := hex.DecodeString(strings.ReplaceAll(Fingerprint(zero), "-", ""))
	for i, c := range bits.String() {
		if byte(c-'0') != digits[i/8]>>(7-i%8)&1 {
			t.Fatalf("bit %d differs from the fingerprint", i)
		}
	}
}

func TestMatchFingerprint(t *testing.T) {
	t.Parallel()
	id, other := ephemeral(t, "bank", noon), ephemeral(t, "bank", noon)
	key, hexa, words := id.PublicKey(), id.Fingerprint(), id.Words()
	list := strings.Fields(words)
	swapped := slices.Clone(list)
	for i := range swapped[1:] { // a fingerprint may have a word twice in a row
		if swapped[i] != swapped[i+1] {
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			break
		}
	}
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"hex": {hexa, true}, "upper": {strings.ToUpper(hexa), true}, "plain": {strings.ReplaceAll(hexa, "-", ""), true},
		"colons": {" " + strings.ReplaceAll(hexa, "-", ":") + "\n", true}, "spaces": {strings.ReplaceAll(hexa, "-", "  "), true},
		"long dashes": {strings.ReplaceAll(hexa, "-", "\u2013"), true},
		"words":       {words, true}, "capitals": {strings.ToUpper(words), true}, "dashes": {strings.ReplaceAll(words, " ", "-"), true},
		"commas": {strings.ReplaceAll(words, " ", ", ") + ".", true}, "lines": {strings.ReplaceAll(words, " ", "\r\n"), true},
		"together": {strings.ReplaceAll(words, " ", ""), true},
		"nothing":  {"", false}, "separators": {"- -", false}, "cut hex": {hexa[:len(hexa)-1], false}, "more hex": {hexa + "0", false},
		"eleven words": {strings.Join(list[:11], " "), false}, "thirteen": {words + " " + list[0], false},
		"order": {strings.Join(swapped, " "), false}, "one word off": {words[:len(words)-1], false},
		"both": {hexa + words, false}, "other hex": {other.Fingerprint(), false}, "other words": {other.Words(), false},
		"huge": {words + strings.Repeat(" ", 1000), false}, "letters of other scripts": {strings.Replace(words, "e", "\u0435", 1) + "\u0435", false},
	} {
		if got := MatchFingerprint(c.text, key); got != c.want {
			t.Errorf("%s: %q: %v", name, c.text, got)
		}
	}
	inv := Invitation{Key: key}
	if (Peer{Key: key}).Words() != words || inv.Words() != words || Words(other.PublicKey()) == words {
		t.Error("the words of one key are not the same everywhere")
	}
}

func FuzzMatchFingerprint(f *testing.F) {
	key := PublicKey(make([]byte, ed25519.PublicKeySize))
	f.Add(Fingerprint(key))
	f.Add(Words(key))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		p := plain(text)
		if MatchFingerprint(text, key) != (len(text) <= maxFingerprint && (p == plain(Fingerprint(key)) || p == plain(Words(key)))) {
			t.Errorf("%q", text)
		}
	})
}
