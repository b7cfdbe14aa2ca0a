package policy

// Decide says whether a job may run. A denial is a decision, not an error; an
// error means that the request could not be judged, and nothing may run then.
func (p *Policy) Decide(r Request) (Decision, error) {
	return Decision{Verdict: Deny}, nil
}

// MayServe says whether some rule lets initiator use a column of dataset as as.
// It chooses columns where a job names none; the decision is [Policy.Decide]'s.
// initiator is empty for a job of the node's own.
func (p *Policy) MayServe(dataset, initiator, purpose, column, as string) bool { return false }

// Serves returns which columns the rule allows that would decide on r.
func (p *Policy) Serves(r Request) func(column, as string) bool {
	return func(string, string) bool { return false }
}

// Warnings names the components that the policy speaks of and nobody knows.
func (p *Policy) Warnings(components []string) []string { return nil }
