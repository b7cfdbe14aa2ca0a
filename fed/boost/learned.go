package boost

import "kontor/session"

// Phase is a use of this package whose account [Learned] gives.
type Phase int

// The phases.
const (
	Training Phase = iota
	Prediction
)

// Learned returns in sentences what a party of the given role ([session.Guest]
// or [session.Host]) learned from a phase beyond its own input, for the record
// of a job. PROTOCOL.md says the same with reasons.
func Learned(role string, phase Phase) []string {
	switch {
	case role == session.Guest && phase == Training:
		return []string{
			"How many usable columns each host has and how many bins each of them, under numbers in random order; no names and no values.",
			"For every bin of every host column and every node of every tree: the sums of the rounded first and second derivatives of the node's training rows in that bin. From them it can work out how many rows and how many positive labels a bin holds, and in nodes of few rows which rows they are.",
			"For every split of a host that won a node, also in trees that were not kept: which of all training and validation rows go to which side; not the column's name, not the threshold.",
			"Its part of the model: the trees, with a host's splits as numbers.",
		}
	case role == session.Guest && phase == Prediction:
		return []string{
			"For every split of every host in the model: which of the rows predicted go to which side; not the column's name, not the threshold.",
			"The number of rows of each host's aligned table, which is its own, and the predictions.",
		}
	case role == session.Host && phase == Training:
		return []string{
			"The number of features and bins of the host that has most of them, from the plan all hosts share.",
			"Which of its own splits (column, threshold, side of missing values) the model uses, and at which tree and level each was first wanted; not which rows are in a node, and no label, gradient or sum.",
			"How many trees were grown and how many were kept.",
			"Nothing from the gradients: they came encrypted, always for a full tree.",
		}
	case role == session.Host && phase == Prediction:
		return []string{
			"That the guest predicted for the rows of the aligned table with this model; not the predictions, nor which splits decided a row.",
		}
	}
	return nil
}
