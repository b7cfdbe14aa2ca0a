package flow

// Parties to which a step discloses something.
const (
	ToGuest = "guest"
	ToHost  = "host" // every host
	ToAll   = "all"
)

// Kinds of disclosure, the words of a policy. docs/jobs.md says what each means.
const (
	DiscloseNothing     = "nothing"
	DiscloseSize        = "size"         // how many rows, columns or bins a party has
	DiscloseMembership  = "membership"   // which of its own ids another party has
	DiscloseAggregate   = "aggregate"    // sums over at least MinRows rows
	DisclosePartition   = "partition"    // on which side of a threshold a row is, without the threshold
	DiscloseFeatureUse  = "feature-use"  // which of its own columns a model uses, and where
	DiscloseModelOutput = "model-output" // a score for each row
)

// Disclosure is something that a component gives away, as its protocol document says.
type Disclosure struct {
	To      string `json:"to"`
	Kind    string `json:"kind"`
	MinRows int    `json:"min_rows,omitempty"` // of an aggregate: the fewest rows it may be over
	Text    string `json:"text"`
}

// StepDisclosure is a disclosure of one step of a job.
type StepDisclosure struct {
	Step      string `json:"step"`
	Component string `json:"component"`
	Disclosure
}

// Disclosures lists what the steps of the job give away, in their order.
func (s *Spec) Disclosures() []StepDisclosure {
	var out []StepDisclosure
	for _, st := range s.Steps {
		for _, d := range components[st.Kind].Discloses {
			out = append(out, StepDisclosure{st.Name, st.Kind, d})
		}
	}
	return out
}
