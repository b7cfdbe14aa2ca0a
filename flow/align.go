package flow

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"kontor/fed/align"
	"kontor/session"
)

var alignComponent = &Component{
	Kind:    "align",
	Version: 1,
	Doc:     "Finds the rows that all parties have in common (private set intersection on the id column) and puts them into one order.",
	Params: []ParamDoc{
		{Name: "min_rows", Default: 50, Min: 2, Max: 1 << 26, Whole: true, Doc: "fewer joint rows end the job"},
	},
	Output: TypeRows,
	Discloses: []Disclosure{
		{To: ToGuest, Kind: DiscloseSize, Text: "how many rows the table of each host has"},
		{To: ToHost, Kind: DiscloseSize, Text: "how many rows the guest's table has"},
		{To: ToGuest, Kind: DiscloseMembership, Text: "which of its own ids each host has"},
		{To: ToHost, Kind: DiscloseMembership, Text: "which of its own ids all parties have"},
	},
	Memory: func(rows, cols int, _ Params) int64 { return tableBytes(rows, cols) + 400*int64(rows) },
	Run:    runAlign,
}

// tableBytes is about what a party's table takes: numbers, and ids of some length.
func tableBytes(rows, cols int) int64 { return int64(rows) * int64(64+8*cols) }

func runAlign(ctx context.Context, e *env) (artifact, error) {
	side := align.Host
	if e.self.Role == session.Guest {
		side = align.Guest
	}
	r, err := side(ctx, e.session, e.input.IDs, align.Options{MinRows: e.step.Params.Int("min_rows")}, e.rand)
	if err != nil {
		return nil, err
	}
	e.result.Joint = len(r.Rows)
	e.learned(align.Learned(e.session.Self(), e.session.Parties(), r)...)
	e.secured("ECDH-PSI over ristretto255, 128-bit, honest-but-curious; see psi/PROTOCOL.md")
	return &rowSet{table: e.input.Fingerprint(), of: len(e.input.IDs), rows: commonOrder(e.input.IDs, r.Rows)}, nil
}

// joint returns the party's data in the rows that the step takes.
func (e *env) joint() *joint {
	s := e.from[TypeRows].(*rowSet)
	e.result.Joint = len(s.rows)
	return s.take(e.input)
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

var splitComponent = &Component{
	Kind:    "split",
	Version: 1,
	Doc:     "Divides the joint rows into train, valid and test by a hash of the id, the same at all parties and in every run.",
	Params: []ParamDoc{
		{Name: "test", Default: 0.3, Min: 0, Max: 0.9, Doc: "share of the rows held back for the final test"},
		{Name: "valid", Default: 0, Min: 0, Max: 0.9, Doc: "share held back for early stopping"},
		{Name: "seed", Default: 1, Min: 0, Max: 1 << 53, Whole: true, Doc: "another seed gives another division"},
	},
	Inputs: []Port{{Name: TypeRows, Type: TypeRows}},
	Output: TypeParts,
	Check: func(p Params) error {
		if p["test"]+p["valid"] > 0.95 {
			return errSplit
		}
		return nil
	},
	Local:     true,
	Discloses: []Disclosure{{To: ToAll, Kind: DiscloseNothing, Text: "nothing is sent"}},
	Memory:    func(rows, cols int, _ Params) int64 { return 2*tableBytes(rows, cols) + 40*int64(rows) },
	Run: func(_ context.Context, e *env) (artifact, error) {
		s := e.from[TypeRows].(*rowSet)
		ids := e.joint().ids
		return &division{of: s.digest(), n: len(ids), parts: divide(ids, e.step.Params)}, nil
	},
}

func divide(ids []string, p Params) []part {
	n := len(ids)
	type keyed struct {
		key uint64
		row int
	}
	ks := make([]keyed, n)
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], uint64(p["seed"]))
	for i, id := range ids {
		h := sha256.Sum256([]byte("kontor split v1\x00" + string(seed[:]) + id))
		ks[i] = keyed{binary.BigEndian.Uint64(h[:]), i}
	}
	slices.SortFunc(ks, func(a, b keyed) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.row, b.row)) })
	test := int(float64(n)*p["test"] + 0.5)
	valid := int(float64(n)*p["valid"] + 0.5)
	pick := func(name string, lo, hi int) part {
		rows := make([]int, 0, hi-lo)
		for _, k := range ks[lo:hi] {
			rows = append(rows, k.row)
		}
		slices.Sort(rows)
		return part{name, rows}
	}
	parts := []part{pick("train", test+valid, n)}
	if valid > 0 {
		parts = append(parts, pick("valid", test, test+valid))
	}
	if test > 0 {
		parts = append(parts, pick("test", 0, test))
	}
	return parts
}
