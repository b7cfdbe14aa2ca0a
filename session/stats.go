package session

import (
	"cmp"
	"slices"
)

// Stats returns what the session has moved so far, its traffic sorted by peer,
// direction and tag.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Rounds: int(s.rounds)}
	for _, t := range s.stats {
		st.Traffic = append(st.Traffic, *t)
		if t.Sent {
			st.BytesSent += t.Bytes
		} else {
			st.BytesReceived += t.Bytes
		}
	}
	slices.SortFunc(st.Traffic, func(a, b Traffic) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmpBool(b.Sent, a.Sent), cmp.Compare(a.Tag, b.Tag))
	})
	return st
}

func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
