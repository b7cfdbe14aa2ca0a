package boost

import (
	"cmp"
	"fmt"
	"slices"
)

// Importance is what one feature did for a model.
type Importance struct {
	Party   string  `json:"party"`   // the host that has the feature; empty for the guest
	Feature string  `json:"feature"` // its name; a host's feature as the guest knows it: "#3"
	Gain    float64 `json:"gain"`    // sum of the gains of its splits; 0 where a host counts its own
	Splits  int     `json:"splits"`
}

// Importance returns the features that splits use by descending gain. Splits
// counts nodes of trees.
func (m *GuestModel) Importance() []Importance {
	type key struct{ host, feature int }
	found := map[key]*Importance{}
	for _, t := range m.Trees {
		for _, n := range t.Nodes {
			if n.Left == 0 {
				continue
			}
			k := key{n.Host, n.Feature}
			if found[k] == nil {
				found[k] = &Importance{}
				if n.Host == 0 {
					found[k].Feature = m.Features[n.Feature]
				} else {
					found[k].Party, found[k].Feature = m.Hosts[n.Host-1].Party, fmt.Sprintf("#%d", n.Feature)
				}
			}
			found[k].Gain += n.Gain
			found[k].Splits++
		}
	}
	return ranked(found)
}

// Importance returns the host's features that splits use, by descending number
// of distinct splits. The host does not learn their gains, nor at how many nodes
// a split stands.
func (m *HostModel) Importance() []Importance {
	found := map[int]*Importance{}
	for _, s := range m.Splits {
		if found[s.Feature] == nil {
			found[s.Feature] = &Importance{Party: m.Party, Feature: m.Features[s.Feature]}
		}
		found[s.Feature].Splits++
	}
	return ranked(found)
}

func ranked[K comparable](found map[K]*Importance) []Importance {
	out := make([]Importance, 0, len(found))
	for _, i := range found {
		out = append(out, *i)
	}
	slices.SortFunc(out, func(a, b Importance) int {
		return cmp.Or(cmp.Compare(b.Gain, a.Gain), cmp.Compare(b.Splits, a.Splits),
			cmp.Compare(a.Party, b.Party), cmp.Compare(a.Feature, b.Feature))
	})
	return out
}
