//go:build !race

package e2e

// raced says whether the nodes run under the race detector, as the tests do.
const raced = false
