package boost

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// Format names the encoding of both parts of a model.
const Format = "kontor-boost-v1"

// ErrModel means that a stored model is malformed, of another format, or not
// the part of a model that was expected. Train again, or find the right file.
var ErrModel = errors.New("not a valid boosting model")

// Bounds of a stored model.
const (
	maxModelBytes = 1 << 30
	maxNodes      = 1<<(maxDepth+1) - 1
	maxSplits     = maxTrees * (1<<maxDepth - 1)
	maxHosts      = 1 << 10
	maxName       = 1 << 12
)

// GuestModel is the guest's part of a model: the trees, without the columns and
// thresholds of the hosts. It is stored as JSON; decoding checks it.
type GuestModel struct {
	Format   string    `json:"format"`             // [Format]
	ID       string    `json:"id"`                 // 64 hex digits, the same in every part of the model
	Params   Params    `json:"params"`             // of the training
	Base     float64   `json:"base"`               // log-odds before the first tree
	Features []string  `json:"features,omitempty"` // the guest's columns that a split uses
	Hosts    []HostRef `json:"hosts,omitempty"`    // in the order of the job
	Trees    []Tree    `json:"trees"`
}

// HostRef is what the guest knows of a host's splits.
type HostRef struct {
	Party  string `json:"party"`
	Splits []int  `json:"splits,omitempty"` // the anonymous number of the feature of each split
}

// Tree is one tree. Node 0 is its root.
type Tree struct {
	Nodes []Node `json:"nodes"`
}

// Node is a split, whose children come after it in Tree.Nodes, or a leaf,
// where Left is 0. A row goes left at a split of the guest if its value is at
// most Threshold, or if it is missing and DefaultLeft is set. At a split of a
// host, the host says.
type Node struct {
	Left        int     `json:"left,omitempty"`
	Right       int     `json:"right,omitempty"`
	Host        int     `json:"host,omitempty"`    // 0 for the guest, k for Hosts[k-1]
	Feature     int     `json:"feature,omitempty"` // of the guest: index in Features; of a host: its anonymous number
	Split       int     `json:"split,omitempty"`   // of a host: index in HostModel.Splits
	Threshold   float64 `json:"threshold,omitempty"`
	DefaultLeft bool    `json:"default_left,omitempty"`
	Gain        float64 `json:"gain,omitempty"` // by which the split improved the objective
	Leaf        float64 `json:"leaf,omitempty"` // log-odds that a leaf adds, learning rate included
}

// HostModel is a host's part of a model: what its splits are. It is stored as
// JSON; decoding checks it.
type HostModel struct {
	Format   string      `json:"format"`
	ID       string      `json:"id"`
	Party    string      `json:"party"`    // the host itself
	Features []string    `json:"features"` // its columns that a split uses
	Splits   []HostSplit `json:"splits"`   // the guest's trees name them by index
	Kernel   string      `json:"-"`        // parameters of the encryption it was trained under
}

// HostSplit sends a row left if its value is at most Threshold, or if it is
// missing and DefaultLeft is set.
type HostSplit struct {
	Feature     int     `json:"feature"` // index in HostModel.Features
	Threshold   float64 `json:"threshold"`
	DefaultLeft bool    `json:"default_left"`
}

// nameFeatures keeps the names of the columns that splits use and makes the
// nodes, which hold column indices, refer to them.
func (m *GuestModel) nameFeatures(cols []Column) {
	number := map[int]int{}
	for _, t := range m.Trees {
		for i := range t.Nodes {
			n := &t.Nodes[i]
			if n.Left == 0 || n.Host != 0 {
				continue
			}
			k, ok := number[n.Feature]
			if !ok {
				k = len(m.Features)
				number[n.Feature] = k
				m.Features = append(m.Features, cols[n.Feature].Name)
			}
			n.Feature = k
		}
	}
}

// identify names a model that no session trained after its content.
func (m *GuestModel) identify() error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding the model: %w", err)
	}
	id := sha256.Sum256(b)
	m.ID = hex.EncodeToString(id[:])
	return nil
}

// ParseGuestModel decodes and checks a guest's part. Its error is an [ErrModel].
func ParseGuestModel(b []byte) (*GuestModel, error) {
	m := &GuestModel{}
	if err := m.UnmarshalJSON(b); err != nil {
		return nil, err
	}
	return m, nil
}

// ParseHostModel decodes and checks a host's part. Its error is an [ErrModel].
func ParseHostModel(b []byte) (*HostModel, error) {
	m := &HostModel{}
	if err := m.UnmarshalJSON(b); err != nil {
		return nil, err
	}
	return m, nil
}

// UnmarshalJSON implements json.Unmarshaler with the checks of [ParseGuestModel].
func (m *GuestModel) UnmarshalJSON(b []byte) error {
	type plain GuestModel
	var p plain
	if err := strictJSON(b, &p); err != nil {
		return err
	}
	if err := (*GuestModel)(&p).check(); err != nil {
		return fmt.Errorf("%w: %w", ErrModel, err)
	}
	*m = GuestModel(p)
	return nil
}

// UnmarshalJSON implements json.Unmarshaler with the checks of [ParseHostModel].
func (m *HostModel) UnmarshalJSON(b []byte) error {
	type plain HostModel
	var p plain
	if err := strictJSON(b, &p); err != nil {
		return err
	}
	if err := (*HostModel)(&p).check(); err != nil {
		return fmt.Errorf("%w: %w", ErrModel, err)
	}
	*m = HostModel(p)
	return nil
}

// strictJSON decodes one value without unknown fields.
func strictJSON(b []byte, v any) error {
	if len(b) > maxModelBytes {
		return fmt.Errorf("%w: it has %d bytes", ErrModel, len(b))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrModel, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows it", ErrModel)
	}
	return nil
}

func checkHead(format, id string) error {
	if format != Format {
		return fmt.Errorf("its format is %.64q, this is %q", format, Format)
	}
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 32 || hex.EncodeToString(raw) != id {
		return fmt.Errorf("its identifier %.80q is not 64 hex digits", id)
	}
	return nil
}

func checkNames(names []string) error {
	if len(names) > maxFeatures {
		return fmt.Errorf("it has %d features", len(names))
	}
	seen := make(map[string]bool, len(names))
	for _, n := range names {
		if len(n) > maxName || seen[n] {
			return fmt.Errorf("feature %.64q is named twice or too long", n)
		}
		seen[n] = true
	}
	return nil
}

func (m *GuestModel) check() error {
	if err := checkHead(m.Format, m.ID); err != nil {
		return err
	}
	if err := m.Params.Validate(); err != nil {
		return err
	}
	if err := checkNames(m.Features); err != nil {
		return err
	}
	if len(m.Trees) > maxTrees || len(m.Hosts) > maxHosts {
		return fmt.Errorf("it has %d trees and %d hosts", len(m.Trees), len(m.Hosts))
	}
	if !number(m.Base) {
		return errors.New("its base score is no number")
	}
	parties := map[string]bool{}
	for _, h := range m.Hosts {
		bad := func(f int) bool { return f < 0 || f >= maxFeatures }
		if h.Party == "" || len(h.Party) > maxName || parties[h.Party] || len(h.Splits) > maxSplits || slices.ContainsFunc(h.Splits, bad) {
			return fmt.Errorf("host %.64q is named twice or has impossible splits", h.Party)
		}
		parties[h.Party] = true
	}
	for k := range m.Trees {
		if err := m.checkTree(&m.Trees[k]); err != nil {
			return fmt.Errorf("tree %d: %w", k, err)
		}
	}
	return nil
}

func number(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// checkTree makes sure that walking the tree ends and touches nothing else:
// every node but the root is the child of exactly one node before it.
func (m *GuestModel) checkTree(t *Tree) error {
	if len(t.Nodes) == 0 || len(t.Nodes) > maxNodes {
		return fmt.Errorf("it has %d nodes", len(t.Nodes))
	}
	depth := make([]int, len(t.Nodes)) // 0 for a node that nothing refers to
	depth[0] = 1
	for i, n := range t.Nodes {
		if depth[i] == 0 {
			return fmt.Errorf("nothing leads to node %d", i)
		}
		if !number(n.Leaf) || !number(n.Gain) || !number(n.Threshold) {
			return fmt.Errorf("node %d holds what is no number", i)
		}
		if n.Left == 0 {
			if n != (Node{Leaf: n.Leaf}) {
				return fmt.Errorf("node %d is both leaf and split", i)
			}
			continue
		}
		for _, c := range []int{n.Left, n.Right} {
			if c <= i || c >= len(t.Nodes) || depth[c] != 0 {
				return fmt.Errorf("node %d has an impossible child %d", i, c)
			}
			if depth[c] = depth[i] + 1; depth[c] > m.Params.Depth+1 {
				return fmt.Errorf("node %d is deeper than %d", c, m.Params.Depth)
			}
		}
		if err := m.checkSplit(&n); err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
	}
	return nil
}

func (m *GuestModel) checkSplit(n *Node) error {
	switch {
	case n.Leaf != 0 || n.Gain < 0:
		return errors.New("it is a split with the fields of a leaf or a negative gain")
	case n.Host == 0:
		if n.Feature < 0 || n.Feature >= len(m.Features) || n.Split != 0 {
			return errors.New("its split names no feature of the guest")
		}
	case n.Host < 0 || n.Host > len(m.Hosts):
		return errors.New("its split names no host")
	default:
		h := m.Hosts[n.Host-1]
		if n.Split < 0 || n.Split >= len(h.Splits) || h.Splits[n.Split] != n.Feature || n.Threshold != 0 || n.DefaultLeft {
			return errors.New("its split is none of its host's")
		}
	}
	return nil
}

func (m *HostModel) check() error {
	if err := checkHead(m.Format, m.ID); err != nil {
		return err
	}
	if m.Party == "" || len(m.Party) > maxName {
		return errors.New("it names no party")
	}
	if err := checkNames(m.Features); err != nil {
		return err
	}
	if len(m.Splits) > maxSplits {
		return fmt.Errorf("it has %d splits", len(m.Splits))
	}
	for i, s := range m.Splits {
		if s.Feature < 0 || s.Feature >= len(m.Features) || !number(s.Threshold) {
			return fmt.Errorf("split %d names no feature or has no threshold", i)
		}
	}
	return nil
}
