package flow

import (
	"fmt"
	"strings"
)

// suggest returns a cure for an unknown word: the nearest known one, or all.
func suggest(word string, known []string) string {
	best, dist := "", len(word)/2+2
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < dist {
			best, dist = k, d
		}
	}
	all := strings.Join(known, ", ")
	if best == "" {
		return "choose one of: " + all
	}
	return fmt.Sprintf("did you mean %q? (there are: %s)", best, all)
}

// editDistance is the Damerau-Levenshtein distance with adjacent swaps.
func editDistance(a, b string) int {
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
