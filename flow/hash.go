package flow

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Hash returns the fingerprint of what the parties agree on: the job's name, the
// parties with their roles, the steps with all their parameters (defaults
// included). How a party reads its own file is not part of it. Purpose, priority,
// limits, texts and inputs count where they are not what a job without them has,
// so that a job of the first version has the fingerprint it always had.
func (s *Spec) Hash() [32]byte {
	h := sha256.New()
	put := func(parts ...string) {
		for _, x := range parts {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(x)))
			h.Write(n[:])
			h.Write([]byte(x))
		}
	}
	put("kontor job v1", s.Job, fmt.Sprint(len(s.Parties)))
	for _, p := range s.Parties {
		put(p.Name, p.Role)
	}
	put(fmt.Sprint(len(s.Steps)))
	for _, st := range s.Steps {
		put(st.Kind, st.Name, marshal(st.Params))
	}
	if s.Purpose != "" {
		put("purpose", s.Purpose)
	}
	if s.Priority != DefaultPriority {
		put("priority", fmt.Sprint(s.Priority))
	}
	if s.Limits != (Limits{}) {
		put("limits", marshal(s.Limits))
	}
	for i, st := range s.Steps {
		if len(st.Texts) > 0 {
			put("texts", st.Name, marshal(st.Texts))
		}
		if from := chosen(s.Steps, i); len(from) > 0 {
			put("inputs", st.Name, marshal(from))
		}
	}
	return [32]byte(h.Sum(nil))
}

// marshal writes maps of numbers or texts, which always works, with sorted keys.
func marshal(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
