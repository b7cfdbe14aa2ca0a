package flow

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"kontor/fed/align"
	"kontor/fed/boost"
	"kontor/session"
)

// state is what the steps of a run hand on, at one party.
type state struct {
	input *Input

	// from align: the joint rows in the common order
	ids   []string
	cols  []boost.Column
	label []float64 // nil at a host

	// from split: positions in the common order; valid may be empty
	parts []part

	// from boost
	guestModel *boost.GuestModel
	hostModel  *boost.HostModel
	history    *boost.History
}

// part is a named set of rows: train, valid or test.
type part struct {
	name string
	rows []int
}

var alignComponent = &Component{
	Kind: "align",
	Doc:  "Finds the rows that all parties have in common (private set intersection on the id column) and puts them into one order.",
	Params: []ParamDoc{
		{Name: "min_rows", Default: 50, Min: 2, Max: 1 << 26, Whole: true, Doc: "fewer joint rows end the job"},
	},
	Gives: []string{"joint rows"},
	Run:   runAlign,
}

func runAlign(ctx context.Context, e *env) error {
	in := e.state.input
	side := align.Host
	if e.self.Role == session.Guest {
		side = align.Guest
	}
	r, err := side(ctx, e.session, in.IDs, align.Options{MinRows: e.step.Params.Int("min_rows")}, e.rand)
	if err != nil {
		return err
	}
	rows := commonOrder(in.IDs, r.Rows)
	st := e.state
	st.ids = make([]string, len(rows))
	for i, j := range rows {
		st.ids[i] = in.IDs[j]
	}
	st.cols = make([]boost.Column, len(in.Columns))
	for c := range in.Columns {
		st.cols[c] = boost.Column{Name: in.Columns[c].Name, Values: take(in.Columns[c].Values, rows)}
	}
	if in.Label != nil {
		st.label = take(in.Label, rows)
	}
	e.result.Joint = len(rows)
	e.learned(align.Learned(e.session.Self(), e.session.Parties(), r)...)
	e.result.Security = append(e.result.Security, e.step.Name+": ECDH-PSI over ristretto255, 128-bit, honest-but-curious; see psi/PROTOCOL.md")
	return nil
}

// commonOrder sorts the joint rows by a hash of their ids. All parties know the
// same joint ids, so all come to the same order without a message; it says
// nothing about a row, and it is the same in every run, so that runs can be
// compared.
func commonOrder(ids []string, rows []int) []int {
	type keyed struct {
		key [32]byte
		row int
	}
	ks := make([]keyed, len(rows))
	for i, r := range rows {
		ks[i] = keyed{sha256.Sum256([]byte("kontor order v1\x00" + ids[r])), r}
	}
	slices.SortFunc(ks, func(a, b keyed) int { return bytes.Compare(a.key[:], b.key[:]) })
	out := make([]int, len(ks))
	for i := range ks {
		out[i] = ks[i].row
	}
	return out
}

func take(v []float64, rows []int) []float64 {
	out := make([]float64, len(rows))
	for i, r := range rows {
		out[i] = v[r]
	}
	return out
}

var splitComponent = &Component{
	Kind: "split",
	Doc:  "Divides the joint rows into train, valid and test by a hash of the id, the same at all parties and in every run.",
	Params: []ParamDoc{
		{Name: "test", Default: 0.3, Min: 0, Max: 0.9, Doc: "share of the rows held back for the final test"},
		{Name: "valid", Default: 0, Min: 0, Max: 0.9, Doc: "share held back for early stopping"},
		{Name: "seed", Default: 1, Min: 0, Max: 1 << 53, Whole: true, Doc: "another seed gives another division"},
	},
	Needs: []string{"joint rows"},
	Gives: []string{"split"},
	Check: func(p Params) error {
		if p["test"]+p["valid"] > 0.95 {
			return errSplit
		}
		return nil
	},
	Local: true,
	Run:   runSplit,
}

func runSplit(_ context.Context, e *env) error {
	st := e.state
	n := len(st.ids)
	type keyed struct {
		key uint64
		row int
	}
	ks := make([]keyed, n)
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], uint64(e.step.Params["seed"]))
	for i, id := range st.ids {
		h := sha256.Sum256([]byte("kontor split v1\x00" + string(seed[:]) + id))
		ks[i] = keyed{binary.BigEndian.Uint64(h[:]), i}
	}
	slices.SortFunc(ks, func(a, b keyed) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.row, b.row)) })
	test := int(float64(n)*e.step.Params["test"] + 0.5)
	valid := int(float64(n)*e.step.Params["valid"] + 0.5)
	pick := func(name string, lo, hi int) part {
		rows := make([]int, 0, hi-lo)
		for _, k := range ks[lo:hi] {
			rows = append(rows, k.row)
		}
		slices.Sort(rows)
		return part{name, rows}
	}
	st.parts = []part{pick("train", test+valid, n)}
	if valid > 0 {
		st.parts = append(st.parts, pick("valid", test, test+valid))
	}
	if test > 0 {
		st.parts = append(st.parts, pick("test", 0, test))
	}
	return nil
}

// rows returns the rows of a set, nil if there is no such set.
func (s *state) rows(name string) []int {
	for _, p := range s.parts {
		if p.name == name {
			return p.rows
		}
	}
	return nil
}
