package node

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"time"

	"kontor/fed/metric"
	"kontor/flow"
)

// Summary is what --json prints and result.json holds: docs/formats/result.md.
type Summary struct {
	Format    int                       `json:"format"`
	Job       string                    `json:"job"`
	Run       string                    `json:"run"`     // hex identifier, the same at all parties
	Version   string                    `json:"version"` // of Kontor
	Parties   []PartySummary            `json:"parties"`
	Steps     []StepSummary             `json:"steps"`
	Metrics   map[string]metric.Summary `json:"metrics"`
	Baselines []flow.Baseline           `json:"baselines,omitempty"`
	Learned   map[string][]flow.Learned `json:"learned"`
	Security  []string                  `json:"security"`
	Warnings  []string                  `json:"warnings,omitempty"`
	Consent   *Consent                  `json:"consent"`
	Report    string                    `json:"report,omitempty"`
}

// PartySummary is one party as far as the writer knows it.
type PartySummary struct {
	Name        string `json:"name"`
	Role        string `json:"role"`
	Fingerprint string `json:"fingerprint"`
	Rows        int    `json:"rows,omitempty"`
	Joint       int    `json:"joint_rows,omitempty"`
	Features    int    `json:"features,omitempty"`
}

// StepSummary is the cost of one step, all parties together as far as the
// writer sees them. A guest sees all traffic, since hosts talk to it alone.
type StepSummary struct {
	Name    string           `json:"name"`
	Kind    string           `json:"kind"`
	Seconds float64          `json:"seconds"`
	Sent    int64            `json:"bytes_sent"`
	SentBy  map[string]int64 `json:"bytes_sent_by"`
	Rounds  int              `json:"rounds"`
}

// Summarise joins the outcomes of one or more parties of the same run. The
// guest's, where it is among them, counts for steps and metrics.
func Summarise(spec *flow.Spec, outs ...*Outcome) *Summary {
	lead := outs[0]
	for _, o := range outs {
		if o.Party == spec.Guest() {
			lead = o
		}
	}
	s := &Summary{Format: 1, Job: spec.Job, Run: hex.EncodeToString(lead.Consent.Run[:]), Version: Version,
		Metrics: lead.Metrics, Learned: map[string][]flow.Learned{}, Security: lead.Security, Consent: lead.Consent}
	for i, p := range spec.Parties {
		ps := PartySummary{Name: p.Name, Role: p.Role, Fingerprint: lead.Consent.Parties[i].Fingerprint}
		for _, o := range outs {
			if o.Party == p.Name {
				ps.Rows, ps.Joint, ps.Features = o.Rows, o.Joint, o.Columns
			}
		}
		s.Parties = append(s.Parties, ps)
	}
	for _, o := range outs {
		s.Learned[o.Party] = o.Learned
		s.Warnings = append(s.Warnings, o.Warnings...)
	}
	for _, st := range lead.Steps {
		sum := StepSummary{Name: st.Name, Kind: st.Kind, Seconds: st.Seconds, Rounds: st.Rounds, SentBy: map[string]int64{}}
		if st.Traffic != nil {
			sum.SentBy[lead.Party] = st.Sent
		}
		for _, t := range st.Traffic {
			if !t.Sent {
				sum.SentBy[t.Peer] += t.Bytes
			}
		}
		for _, b := range sum.SentBy {
			sum.Sent += b
		}
		s.Steps = append(s.Steps, sum)
	}
	return s
}

func (s *Summary) write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(s)
}

// resultFiles returns everything that a job leaves at one party.
func resultFiles(o *Outcome, spec *flow.Spec) []flow.File {
	sum := Summarise(spec, o)
	files := append([]flow.File{}, o.Files...)
	if rep := buildReport(spec, sum, o, time.Now()); rep != nil {
		files = append(files, reportFiles(rep)...)
	}
	return append(files, flow.File{Name: marker, Write: sum.write})
}
