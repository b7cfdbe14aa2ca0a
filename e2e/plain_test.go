package e2e

import (
	"testing"
	"time"

	"kontor/api/rest"
)

// TestThreeInstitutions runs one job undisturbed, twice: it gives the same result.
func TestThreeInstitutions(t *testing.T) {
	n := NewNet(t, "bank", "telecom", "insurer")
	n.Start()
	n.AcceptAll()
	n.Lend(500)
	var first outcome
	for i := range 2 {
		id := n.Submit(n.Spec(4))
		n.AwaitAll(id, rest.Done, time.Minute)
		got := n.Examine(id)
		if i == 0 {
			first = got
		} else if got.metrics != first.metrics {
			t.Errorf("the second run gave %s, the first %s", got.metrics, first.metrics)
		}
	}
	n.Account()
}
