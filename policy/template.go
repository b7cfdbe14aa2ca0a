package policy

import (
	_ "embed"
	"strings"
)

//go:embed template.yaml
var template string

// Template returns a commented policy for a new node that denies everything that
// peers ask. name is the node's.
func Template(name string) []byte {
	return []byte(strings.ReplaceAll(template, "NODE", name))
}
