package suggest

import (
	"strings"
	"testing"
)

func TestForNamesTheNearestWordAndAll(t *testing.T) {
	known := []string{"peers", "purposes", "columns"}
	for word, want := range map[string]string{
		"peer":                   `did you mean "peers"? (there are: peers, purposes, columns)`,
		"Colums":                 `did you mean "columns"? (there are: peers, purposes, columns)`,
		"prueposes":              `did you mean "purposes"? (there are: peers, purposes, columns)`,
		"x":                      "choose one of: peers, purposes, columns",
		strings.Repeat("x", 1e6): "choose one of: peers, purposes, columns",
	} {
		if got := For(word, known); got != want {
			t.Errorf("%.20q: %s\nwant %s", word, got, want)
		}
	}
	if got := For("x", nil); got != "remove it" {
		t.Errorf("nothing known: %q", got)
	}
}

func TestDistanceCountsSwapsOnce(t *testing.T) {
	for _, c := range []struct {
		a, b string
		d    int
	}{{"", "", 0}, {"abc", "", 3}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"abc", "xabc", 1}, {"peers", "rules", 4}} {
		if d := distance(c.a, c.b); d != c.d {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, d, c.d)
		}
	}
}
