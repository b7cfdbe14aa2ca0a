package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// suggest returns a cure for an unknown word: the nearest known one, or all.
func suggest(word string, known settings) string {
	names := slices.Sorted(maps.Keys(known))
	best, dist := "", len(word)/2+2
	if len(word) <= 64 {
		for _, k := range names {
			if d := distance(strings.ToLower(word), k); d < dist {
				best, dist = k, d
			}
		}
	}
	all := strings.Join(names, ", ")
	if best == "" {
		return "choose one of: " + all
	}
	return fmt.Sprintf("did you mean %q? (there are: %s)", best, all)
}

// distance is how many letters must be changed, added, dropped or swapped with
// their neighbour to make a into b.
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			next[j] = min(row[j]+1, next[j-1]+1)
			if a[i-1] == b[j-1] {
				next[j] = min(next[j], row[j-1])
			} else {
				next[j] = min(next[j], row[j-1]+1)
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
