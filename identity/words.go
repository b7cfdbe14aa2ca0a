package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"strings"
	"sync"
)

// wordCount is how many words stand for a key, of wordBits bits each: 120 bits,
// so that nobody can make a second key with the words of a given one.
const (
	wordCount = 12
	wordBits  = 10
)

// words.txt holds 1,024 everyday words of four to nine letters, sorted. No two
// begin with the same four letters or lie one typing mistake apart. It is part of
// the format: a word that changed would change what people have written down.
//
//go:embed words.txt
var wordFile string

var wordList = sync.OnceValue(func() []string { return strings.Fields(wordFile) })

// Words returns what two people compare by telephone instead of [Fingerprint]:
// twelve words for the first 120 bits of the key's SHA-256.
func Words(key PublicKey) string {
	sum := sha256.Sum256(key)
	list, words := wordList(), make([]string, wordCount)
	for i := range words {
		n := 0
		for bit := i * wordBits; bit < (i+1)*wordBits; bit++ {
			n = n<<1 | int(sum[bit/8]>>(7-bit%8)&1)
		}
		words[i] = list[n]
	}
	return strings.Join(words, " ")
}

// Words returns the words of the identity key, see [Words].
func (id *Identity) Words() string { return Words(id.PublicKey()) }

// Words returns the words of the invitation's key, to be compared by telephone
// before it is accepted.
func (inv *Invitation) Words() string { return Words(inv.Key) }

// Words returns the words of the pinned key.
func (p Peer) Words() string { return Words(p.Key) }

// maxFingerprint is more than any way to write a fingerprint needs.
const maxFingerprint = 512

// MatchFingerprint reports whether text is the fingerprint of key, as the hex
// groups of [Fingerprint] or as [Words]. Case, white space, line breaks and the
// marks by which people separate groups do not matter; everything else does, and
// a part of a fingerprint is none. How long it takes does not depend on where
// text and fingerprint differ.
func MatchFingerprint(text string, key PublicKey) bool {
	if len(text) > maxFingerprint {
		return false
	}
	// Digests have one length, whatever was typed.
	got := sha256.Sum256([]byte(plain(text)))
	hex := sha256.Sum256([]byte(plain(Fingerprint(key))))
	words := sha256.Sum256([]byte(plain(Words(key))))
	return subtle.ConstantTimeCompare(got[:], hex[:])|subtle.ConstantTimeCompare(got[:], words[:]) == 1
}

// plain drops how a fingerprint is grouped. Words run together stay distinct,
// because none is the beginning of another.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case strings.ContainsRune(" \t\r\n-:,.;_/\u00a0\u2010\u2011\u2012\u2013\u2014", r):
			return -1
		}
		return r
	}, s)
}
