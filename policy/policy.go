// Package policy is an institution's standing answer to what others ask of its
// data: a YAML file says, per data set and column, which peers may use it for
// which purpose, as what, in which components, and what may be revealed. What no
// rule covers is denied. docs/policy.md is the reference.
//
// It decides and nothing else: it keeps no state, knows no network and trusts its
// caller to describe the job truthfully (columns as the table has them, what each
// component declares that it reveals). Not for the roles of API tokens, see api/rest.
package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"kontor/internal/fault"
)

const (
	version    = 1
	maxBytes   = 1 << 20
	maxNodes   = 200_000 // values looked at, aliases counted each time they are used
	maxRules   = 1000    // in one section
	maxSets    = 10_000  // data sets
	maxTextLen = 200
)

// Policy is a checked policy file. It is immutable and may be used by many
// goroutines.
type Policy struct {
	file     string // base name, for texts that a peer may see
	source   []byte
	deny     []denial
	without  section // rules for jobs that use no data of ours
	datasets map[string]*section
	names    []string // of the data sets, in the order of the file
}

// section holds the rules of one data set.
type section struct {
	line  int
	never []string // patterns of columns that nothing may ever use
	rules []rule
}

// rule allows what all its clauses allow.
type rule struct {
	name         string
	line         int
	peers        []string
	with         []string
	withSet      bool
	purposes     []string
	components   []string
	columns      []column
	reveal       []string
	minRows      int
	intersection int
	jobs         budget
	until        time.Time // zero: no end; else the last day, at 0:00 UTC
	standing     bool
	lines        map[string]int // line of each clause, for Warnings
}

// column says what the columns that match a pattern may serve as.
type column struct {
	pattern string
	uses    []string
}

// budget limits how many jobs a rule lets through.
type budget struct {
	atMost int // 0: no limit
	every  time.Duration
	text   string // every as it is written
}

// denial is a rule of the deny section: it matches where all its clauses match.
type denial struct {
	name       string
	line       int
	peers      []string
	datasets   []string
	purposes   []string
	components []string
	columns    []string
}

// Load reads and checks the policy at path.
func Load(path string) (*Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Wrap(fault.Local, err, "the policy cannot be read", "name a readable YAML file")
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, fault.Wrap(fault.Local, err, "the policy cannot be read", "name a readable YAML file")
	}
	return Parse(path, b)
}

// Hash returns the SHA-256 of the policy's bytes, in hex: it names the version of
// the policy that a decision was made by.
func (p *Policy) Hash() string {
	h := sha256.Sum256(p.source)
	return hex.EncodeToString(h[:])
}

// Source returns the bytes that the policy was read from. They must not be changed.
func (p *Policy) Source() []byte { return p.source }

// Datasets returns the names of the data sets that have a section, in the order
// of the file.
func (p *Policy) Datasets() []string { return append([]string(nil), p.names...) }

// at names a place in the file without its folder.
func (p *Policy) at(line int) string { return fmt.Sprintf("%s line %d", p.file, line) }

func base(file string) string { return filepath.Base(filepath.ToSlash(file)) }
