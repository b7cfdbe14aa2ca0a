package flow

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"kontor/fed/metric"
)

// errArtifact means that a file of a step is cut, altered or of another format.
var errArtifact = errors.New("not an artifact of this format")

// Marks at the beginning of binary artifacts; docs/formats/artifacts.md.
const (
	rowsMark  = "kontor rows v1\x00\x00"
	partsMark = "kontor parts v1\x00"
	markLen   = 16
	maxJoint  = 1 << 26 // as psi.MaxItems
)

// partNames are the parts there can be, in the order in which they are stored.
var partNames = []string{"train", "valid", "test"}

func (s *rowSet) encode() []byte {
	b := make([]byte, 0, markLen+32+16+4*len(s.rows)+32)
	b = append(append(b, rowsMark...), s.table[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.of))
	return seal(appendRows(b, s.rows))
}

// digest names the joint rows: the hash at the end of their encoding.
func (s *rowSet) digest() [32]byte {
	b := s.encode()
	return [32]byte(b[len(b)-32:])
}

func appendRows(b []byte, rows []int) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(rows)))
	for _, r := range rows {
		b = binary.BigEndian.AppendUint32(b, uint32(r))
	}
	return b
}

// seal appends the hash of b.
func seal(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// reader takes a binary artifact apart. After the first failure it gives zeros.
type reader struct {
	b   []byte
	err error
}

func open(b []byte, mark string) *reader {
	r := &reader{b: b}
	if len(b) < markLen+32 || string(b[:markLen]) != mark {
		r.fail("it does not begin as one")
		return r
	}
	body, sum := b[:len(b)-32], [32]byte(b[len(b)-32:])
	if sha256.Sum256(body) != sum {
		r.fail("it is cut or altered")
	}
	r.b = body[markLen:]
	return r
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errArtifact, fmt.Sprintf(format, args...))
		r.b = nil
	}
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail("it ends too early")
		return make([]byte, n)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// count reads a number of rows, at most most.
func (r *reader) count(most int) int {
	n := binary.BigEndian.Uint64(r.take(8))
	if n > uint64(most) {
		r.fail("it speaks of %d rows", n)
		return 0
	}
	return int(n)
}

// rows reads a list of distinct rows below of. Memory is taken for what is there.
func (r *reader) rows(of int) []int {
	n := r.count(of)
	if len(r.b)/4 < n {
		r.fail("it ends too early")
		return nil
	}
	raw, seen := r.take(4*n), make([]bool, of)
	out := make([]int, n)
	for i := range out {
		k := binary.BigEndian.Uint32(raw[4*i:])
		if uint64(k) >= uint64(of) || seen[k] {
			r.fail("row %d is not there or there twice", k)
			return nil
		}
		seen[k], out[i] = true, int(k)
	}
	return out
}

func (r *reader) end() error {
	if len(r.b) > 0 {
		r.fail("something follows it")
	}
	return r.err
}

func decodeRows(b []byte) (*rowSet, error) {
	r := open(b, rowsMark)
	s := &rowSet{table: [32]byte(r.take(32)), of: r.count(maxJoint)}
	s.rows = r.rows(s.of)
	return s, r.end()
}

func (d *division) encode() []byte {
	b := append([]byte(partsMark), d.of[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(d.n))
	for _, name := range partNames {
		b = appendRows(b, d.rows(name))
	}
	return seal(b)
}

func decodeParts(b []byte) (*division, error) {
	r := open(b, partsMark)
	d := &division{of: [32]byte(r.take(32)), n: r.count(maxJoint)}
	total, seen := 0, make([]bool, d.n)
	for _, name := range partNames {
		p := part{name, r.rows(d.n)}
		for _, row := range p.rows {
			if seen[row] {
				r.fail("row %d is in two parts", row)
			}
			seen[row] = true
		}
		total += len(p.rows)
		if len(p.rows) > 0 || name == "train" {
			d.parts = append(d.parts, p)
		}
	}
	if total != d.n {
		r.fail("%d of %d rows are in a part", total, d.n)
	}
	return d, r.end()
}

// Bounds of evaluations and histories.
const (
	maxJSON   = 64 << 20
	maxSets   = 8
	maxPoints = 1 << 13
	maxGrown  = 1 << 14
)

type storedSet struct {
	Name string             `json:"name"`
	Eval *metric.Evaluation `json:"evaluation"`
}

type storedSets struct {
	Format string      `json:"format"`
	Sets   []storedSet `json:"sets"`
}

const evaluationFormat = "kontor-evaluation-v1"

func encodeSets(w io.Writer, sets []Set) error {
	out := storedSets{Format: evaluationFormat, Sets: []storedSet{}}
	for _, s := range sets {
		out.Sets = append(out.Sets, storedSet(s))
	}
	return json.NewEncoder(w).Encode(out)
}

func decodeSets(b []byte) ([]Set, error) {
	var in storedSets
	if err := strict(b, &in); err != nil {
		return nil, err
	}
	if in.Format != evaluationFormat || len(in.Sets) > maxSets {
		return nil, fmt.Errorf("%w: format %.40q with %d sets", errArtifact, in.Format, len(in.Sets))
	}
	var out []Set
	for _, s := range in.Sets {
		if e := s.Eval; !nameRE.MatchString(s.Name) || e == nil || max(len(e.ROC), len(e.KSCurve), len(e.PR), len(e.Gains), len(e.Calibration)) > maxPoints {
			return nil, fmt.Errorf("%w: set %.40q has no curves or too long ones", errArtifact, s.Name)
		}
		out = append(out, Set(s))
	}
	return out, nil
}

// strict decodes one JSON value without unknown members.
func strict(b []byte, v any) error {
	if len(b) > maxJSON {
		return fmt.Errorf("%w: it has %d bytes", errArtifact, len(b))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", errArtifact, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows it", errArtifact)
	}
	return nil
}
