// Package suggest turns a word that nobody knows into a cure: the nearest word
// that is known, and all of them. For settings, names and kinds that a person
// writes into a file; not for anything that a peer sends.
package suggest

import (
	"fmt"
	"strings"
)

// For returns a cure for an unknown word: the nearest known one, or all.
func For(word string, known []string) string {
	if len(known) == 0 {
		return "remove it"
	}
	all := strings.Join(known, ", ")
	if best := Nearest(word, known); best != "" {
		return fmt.Sprintf("did you mean %q? (there are: %s)", best, all)
	}
	return "choose one of: " + all
}

// Nearest returns the known word nearest to word; "" if none is near enough to
// be what somebody meant.
func Nearest(word string, known []string) string {
	if len(word) > 256 { // nobody meant to write this, and the distance is quadratic
		return ""
	}
	best, dist := "", len(word)/2+2
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < dist {
			best, dist = k, d
		}
	}
	return best
}

// distance is the Damerau-Levenshtein distance with adjacent swaps.
func distance(a, b string) int {
	prev2, prev := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur := make([]int, len(b)+1)
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev = prev, cur
	}
	return prev[len(b)]
}
