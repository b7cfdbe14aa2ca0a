// Package boost trains and applies gradient boosted trees, binary logistic,
// over columns that several institutions hold about the same rows.
//
// The guest has the label and, as a rule, columns of its own; each host has
// columns. The guest sends gradients encrypted with package matvec; a host adds
// them up by bin without reading them and the guest reads only the sums. The
// guest's part of the model knows which host decides at a node, the host's part
// knows which column and threshold that is. Without hosts the same code trains
// on plain columns.
//
// The parties are honest but curious. What each of them learns is in
// PROTOCOL.md and, in sentences for a record, in [Learned]. Not for labels of
// more than two classes, not for regression, and not for groups so small that a
// sum over a bin must not be known to the guest.
//
// Specification: PROTOCOL.md; Chen & Guestrin, "XGBoost", KDD 2016 (objective,
// gain, directions for missing values); Cheng et al., "SecureBoost", IEEE
// Intelligent Systems 2021 (the split of the model); Shi et al., "Quantized
// Training of Gradient Boosting Decision Trees", NeurIPS 2022 (stochastic
// rounding, exact leaf weights).
package boost
