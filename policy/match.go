package policy

import (
	"math"
	"slices"
	"strings"
)

const (
	anyone = "*"
	self   = "self" // in peers: the node whose policy this is
)

// listed says whether a list of peers names name. The word self stands for the
// own node, so a peer that calls itself so is not meant by it.
func listed(list []string, name string) bool {
	return slices.Contains(list, anyone) || name != self && slices.Contains(list, name)
}

// named is listed for words that are no peers.
func named(list []string, word string) bool {
	return slices.Contains(list, anyone) || slices.Contains(list, word)
}

// match says whether a column's name fits a pattern, in which * stands for any
// text. Case counts.
func match(pattern, name string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	name = name[len(first):]
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return strings.HasSuffix(name, last)
}

// weight orders patterns by how much they say: an exact name before any pattern,
// then by the number of characters that are given.
func weight(pattern string) int {
	stars := strings.Count(pattern, "*")
	if stars == 0 {
		return math.MaxInt
	}
	return len(pattern) - stars
}

func anyMatch(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, name) })
}

// uses returns what a column may serve as: what the most specific pattern says
// and, where two are equally specific, what both say.
func (r *rule) uses(name string) []string {
	best, found := -1, []string(nil)
	for _, c := range r.columns {
		if !match(c.pattern, name) {
			continue
		}
		switch w := weight(c.pattern); {
		case w > best:
			best, found = w, c.uses
		case w == best:
			both := []string(nil)
			for _, u := range found {
				if slices.Contains(c.uses, u) {
					both = append(both, u)
				}
			}
			found = both
		}
	}
	return found
}
