package policy

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"kontor/internal/suggest"
)

// mapping calls f for each entry of a mapping whose keys must be among known, or
// may be any where known is nil.
func (r *reader) mapping(n *yaml.Node, what string, known []string, f func(key string, k, v *yaml.Node)) {
	if n = r.enter(n); r.err != nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "write it as key: value lines, "+reference, "%s must be a mapping", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content) && r.err == nil; i += 2 {
		k, v := r.enter(n.Content[i]), r.enter(n.Content[i+1])
		switch {
		case r.err != nil:
		case k.Kind != yaml.ScalarNode:
			r.fail(n.Content[i], reference, "%s has a setting that is no word", what)
		case seen[k.Value]:
			r.fail(n.Content[i], "remove one of the two", "%s has %.80q twice", what, k.Value)
		case known != nil && !slices.Contains(known, k.Value):
			r.fail(n.Content[i], suggest.For(k.Value, known), "%s has no setting %.80q", what, k.Value)
		default:
			seen[k.Value] = true
			f(k.Value, n.Content[i], v)
		}
	}
}

// each calls f for each entry of a list.
func (r *reader) each(n *yaml.Node, what string, f func(*yaml.Node)) {
	if n = r.enter(n); r.err != nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "begin each entry with a dash, "+reference, "%s must be a list", what)
		return
	}
	if len(n.Content) > maxRules {
		r.fail(n, "join rules that say the same", "%s has %d entries, at most %d are possible", what, len(n.Content), maxRules)
	}
	for _, c := range n.Content {
		if r.err == nil {
			f(r.enter(c))
		}
	}
}

func (r *reader) text(n *yaml.Node, what string) string {
	if n = r.enter(n); n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		r.fail(n, "write one word or a quoted text", "%s must be a text", what)
		return ""
	}
	r.plain(n, n.Value, what)
	return n.Value
}

// plain checks a text that is compared and shown: one that differs from what it
// looks like would make a rule that is not what a reviewer read.
func (r *reader) plain(n *yaml.Node, s, what string) bool {
	odd := strings.ContainsFunc(s, func(c rune) bool {
		return c < ' ' || c == 0x7f || c == 0xfffd || c >= 0x200b && c <= 0x200f || c >= 0x202a && c <= 0x202e || c >= 0x2060 && c <= 0x2069 || c == 0xfeff
	})
	if s == "" || len(s) > maxTextLen || odd || strings.TrimSpace(s) != s {
		r.fail(n, "write 1 to 200 bytes of visible text", "%s has an entry that is empty, too long, has white space around it or invisible characters: %.80q", what, s)
		return false
	}
	return true
}

// texts reads a list of texts, or one text that stands for a list of one.
func (r *reader) texts(n *yaml.Node, what string) []string {
	if n = r.enter(n); n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return []string{r.text(n, what)}
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "write it as [a, b]", "%s must be a list", what)
		return nil
	}
	out := []string{}
	for _, c := range n.Content {
		if r.err != nil {
			return nil
		}
		out = append(out, r.text(c, what))
	}
	return out
}

// words reads a list that must not be empty and knows no patterns but "*".
func (r *reader) words(n *yaml.Node, what string) []string {
	out := r.texts(n, what)
	if r.err == nil && len(out) == 0 {
		r.fail(n, `name at least one, or "*" for any`, "%s is empty", what)
	}
	for _, w := range out {
		if w != anyone && strings.Contains(w, "*") {
			r.fail(n, `write each one out, or "*" for any`, "%s has the pattern %.80q, only columns may have patterns", what, w)
		}
	}
	return out
}

func (r *reader) peers(n *yaml.Node, what string) []string {
	var out []string
	if what == "with" { // no further party is a sensible thing to say
		out = r.texts(n, what)
	} else {
		out = r.words(n, what)
	}
	for _, w := range out {
		switch {
		case what == "with" && w == self:
			r.fail(n, "remove it, this node takes part in every job that asks it", "with names self")
		case w != anyone && !nameRE.MatchString(w):
			r.fail(n, `use the name in kontor peer ls, "*" for all`, "%s: %.80q cannot be a peer's name", what, w)
		}
	}
	return out
}

func (r *reader) oneOf(n *yaml.Node, what string, known []string) []string {
	out := r.texts(n, what)
	for _, w := range out {
		if !slices.Contains(known, w) {
			r.fail(n, suggest.For(w, known), "%s: there is no %.80q", what, w)
		}
	}
	return out
}

// word reads a rule's name.
func (r *reader) word(n *yaml.Node, what string) string {
	w := r.text(n, what)
	if r.err == nil && !nameRE.MatchString(w) {
		r.fail(n, "use up to 32 of a-z, 0-9 and -", "%.80q cannot be a rule's name", w)
	}
	return w
}

func (r *reader) count(n *yaml.Node, what string, low, high int) int {
	n = r.enter(n)
	x, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || x < low || x > high {
		r.fail(n, "write digits alone", "%s must be a whole number from %d to %d", what, low, high)
		return low
	}
	return x
}
