package audit

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"kontor/identity"
	"kontor/internal/fault"
)

const (
	maxLine     = 256 << 10
	maxProblems = 100
	maxGap      = 1 << 16
	maxSeq      = 1 << 53
)

// Kinds of problems.
const (
	Malformed = "malformed" // a line that is no entry
	Edited    = "edited"    // an entry whose content does not have its hash
	Unsigned  = "unsigned"  // a signature that is not the node's
	Foreign   = "foreign"   // an entry of another node
	Gap       = "gap"       // entries are missing
	Order     = "order"     // an entry twice, or not in its place
	Chain     = "chain"     // an entry that does not follow the one before
	Cut       = "cut"       // the end is missing
	Rewritten = "rewritten" // another history than a peer has witnessed
)

// Problem is one thing that is wrong with a log.
type Problem struct {
	Line int    `json:"line"` // of the export, from 1
	Seq  int64  `json:"seq"`  // the entry, 0 if it is none
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// Testimony is an entry that holds what a peer has signed.
type Testimony struct {
	Entry       int64  `json:"entry"`       // where it stands in this log
	Peer        string `json:"peer"`        // whose head it is
	Fingerprint string `json:"fingerprint"` // of the key that the entry names as the peer's: compare it
	Seen        int64  `json:"seen"`        // the entry of this log that the peer has seen, 0 if there is no receipt
	Head        Head   `json:"head"`        // of the peer's log

	key ed25519.PublicKey
}

// Report is what [Verify] found.
type Report struct {
	Node        string      `json:"node"`
	Fingerprint string      `json:"fingerprint"` // of the key that the log was held against
	From        int64       `json:"from"`        // first entry; what was before it is not in the export if it is not 1
	To          int64       `json:"to"`
	Entries     int64       `json:"entries"`
	Hash        string      `json:"hash"` // of the last entry
	First       time.Time   `json:"first"`
	Last        time.Time   `json:"last"`
	Heads       int         `json:"heads"` // heads in others' hands that fit
	Testimonies []Testimony `json:"testimonies,omitempty"`
	Notes       []string    `json:"notes,omitempty"` // evidence that says nothing, and why
	Problems    []Problem   `json:"problems,omitempty"`
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Err returns nil if nothing is wrong, else a [fault.Error] of kind [fault.Trust]
// that names the first problem.
func (r *Report) Err() error {
	if r.OK() {
		return nil
	}
	p, more := r.Problems[0], ""
	if n := len(r.Problems) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return fault.New(fault.Trust, fmt.Sprintf("the audit log of %s was changed: line %d, %s: %s%s", r.Node, p.Line, p.Kind, p.Text, more),
		"keep the file as it is, compare it with the exports of the partners, restore the node's folder from a backup")
}

// Verify reads an export and finds every edit, gap, reordering and cut in it. key is
// the node's identity key, from the peers of whoever verifies, not from the file. heads are
// what the node once signed and others kept, see [Heads]: with them a
// history shows that the node itself has written anew. The error is about reading, or a file that is no export
// at all; what is wrong with the log is in the report.
func Verify(r io.Reader, key ed25519.PublicKey, heads ...Head) (*Report, error) {
	v := &verifier{key: key, report: &Report{Fingerprint: identity.Fingerprint(key)}}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		v.line++
		if v.line == 1 {
			if err := v.header(lines.Bytes()); err != nil {
				return nil, err
			}
			continue
		}
		v.next(lines.Bytes())
		if len(v.report.Problems) >= maxProblems {
			v.report.Notes = append(v.report.Notes, fmt.Sprintf("stopped at %d problems", maxProblems))
			return v.report, nil
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		v.line++
		v.problem(0, Malformed, "the line is longer than %d bytes", maxLine)
		return v.report, nil
	} else if err != nil {
		return nil, err
	}
	if v.line == 0 {
		return nil, noExport("the file is empty")
	}
	v.end(heads)
	return v.report, nil
}

// Heads reads the export of a peer with that key and returns the heads of node that
// it holds, as evidence for [Verify], with the report on the peer's log. They are
// evidence whatever the report says: node has signed each.
func Heads(r io.Reader, key ed25519.PublicKey, node string) ([]Head, *Report, error) {
	report, err := Verify(r, key)
	if err != nil {
		return nil, nil, err
	}
	var out []Head
	for _, t := range report.Testimonies {
		if t.Head.Node == node {
			out = append(out, t.Head)
		}
	}
	return out, report, nil
}

func noExport(why string) error {
	return fault.New(fault.Data, "that is no export of an audit log: "+why, "give a file that kontor audit export has written")
}

type verifier struct {
	key      ed25519.PublicKey
	report   *Report
	line     int
	want     int64    // the number of the next entry
	last     string   // the hash of the one before
	before   string   // the hash of the one before the first
	skipped  bool     // something between them is missing, which was reported
	hashes   []string // of the entries from report.From on, "" where missing
	receipts []Head   // of this log, found in it
	closed   bool     // the signed head at the end was read
}

func (v *verifier) problem(seq int64, kind, format string, args ...any) {
	v.report.Problems = append(v.report.Problems, Problem{Line: v.line, Seq: seq, Kind: kind, Text: fmt.Sprintf(format, args...)})
}

func (v *verifier) header(b []byte) error {
	doc, err := parse(b)
	m, ok := doc.(map[string]any)
	if err != nil || !ok {
		return noExport("the first line is no header")
	}
	g := members{m: m}
	format, node, key := g.text("format"), g.text("node"), g.bytes("key")
	from, prev := g.number("from"), g.text("prev")
	g.time("exported")
	if strings.HasPrefix(format, "kontor-audit-") && format != Format {
		return fault.New(fault.Version, fmt.Sprintf("the export has the format %.40q, this Kontor knows %s", format, Format), "verify it with the version that wrote it")
	}
	if err := g.end(); err != nil {
		return noExport("its header: " + err.Error())
	}
	if format != Format || identity.CheckName(node) != nil || from < 1 || from > maxSeq || !digest(prev) {
		return noExport("its header is malformed")
	}
	v.report.Node, v.report.From, v.report.To, v.report.Hash = node, from, from-1, prev
	v.want, v.last, v.before = from, prev, prev
	if string(key) != string(v.key) {
		v.problem(0, Unsigned, "the export is of a node with another key: %s", fingerprint(key))
	}
	if from == 1 && strings.Trim(prev, "0") != "" {
		v.problem(0, Chain, "the first entry is said to follow another")
	}
	return nil
}

func fingerprint(key []byte) string {
	if len(key) != ed25519.PublicKeySize {
		return "none"
	}
	return identity.Fingerprint(key)
}

// next takes a line after the header.
func (v *verifier) next(b []byte) {
	doc, err := parse(b)
	m, ok := doc.(map[string]any)
	if err == nil && !ok {
		err = errors.New("not an object")
	}
	if v.closed {
		v.problem(0, Malformed, "something follows the signed head")
		return
	}
	if head, ok := m["head"].(map[string]any); err == nil && ok && len(m) == 1 {
		v.closing(head)
		return
	}
	var d document
	if err == nil {
		g := members{m: m}
		hash, signature := g.text("hash"), g.bytes("signature")
		if err = g.err; err == nil {
			d, err = entry(m)
			d.hash, d.signature = hash, signature
		}
	}
	if err != nil {
		v.problem(0, Malformed, "%v; entry %d was expected", err, v.want)
		v.skipped = true
		return
	}
	v.entry(d)
}

func (v *verifier) entry(d document) {
	r := v.report
	r.Entries++
	sum := sha256.Sum256(d.text)
	if hash := hex.EncodeToString(sum[:]); hash != d.hash {
		v.problem(d.seq, Edited, "entry %d was changed after it was written: its content has the hash %.16s…, not %.16s…", d.seq, hash, d.hash)
	} else if !identity.Verify(v.key, contextEntry, sum[:], d.signature) {
		v.problem(d.seq, Unsigned, "entry %d is not signed by %s", d.seq, v.report.Fingerprint)
	}
	if d.node != r.Node {
		v.problem(d.seq, Foreign, "entry %d is of the node %.40q", d.seq, d.node)
	}
	switch {
	case d.seq < v.want:
		v.problem(d.seq, Order, "entry %d stands after entry %d: it is there twice or out of its place", d.seq, v.want-1)
		return
	case d.seq > v.want:
		if !v.skipped || d.seq > v.want+1 {
			v.problem(d.seq, Gap, "%s missing before entry %d", span(v.want, d.seq-1), d.seq)
		}
	case d.prev != v.last:
		v.problem(d.seq, Chain, "entry %d does not follow the one before it: one of the two was replaced", d.seq)
	}
	if r.To < r.From {
		r.First = d.time
	}
	if i := int(d.seq - r.From); i-len(v.hashes) < maxGap { // what lies behind a larger one is not held against heads
		v.hashes = append(v.hashes, make([]string, i-len(v.hashes))...)
		v.hashes = append(v.hashes, d.hash)
	}
	v.want, v.last, v.skipped = d.seq+1, d.hash, false
	r.To, r.Last, r.Hash = d.seq, d.time, d.hash
	if d.action == actionWitness {
		v.testimony(d)
	}
}

func span(a, b int64) string {
	if a == b {
		return fmt.Sprintf("entry %d is", a)
	}
	return fmt.Sprintf("entries %d to %d are", a, b)
}

// testimony checks an entry with what a peer signed.
func (v *verifier) testimony(d document) {
	g := members{m: d.detail}
	t := Testimony{Entry: d.seq, Peer: g.text("peer"), key: g.bytes("identity")}
	t.Fingerprint = fingerprint(t.key)
	head, err := parseHead(g.object("head"))
	if err == nil {
		err = g.err
	}
	if err == nil && (head.Node != t.Peer || !head.Verify(t.key)) {
		err = errors.New("the peer has not signed its head")
	}
	t.Head = head
	if receipt, ok := d.detail["receipt"]; ok && err == nil {
		t.Seen, err = v.receipt(t, receipt)
	}
	if err != nil {
		v.problem(d.seq, Unsigned, "what entry %d holds of a peer does not hold: %v", d.seq, err)
		return
	}
	v.report.Testimonies = append(v.report.Testimonies, t)
}

func (v *verifier) receipt(t Testimony, doc any) (int64, error) {
	m, _ := doc.(map[string]any)
	g := members{m: m}
	r := Receipt{By: g.text("by"), Signature: g.bytes("signature")}
	var err error
	if r.Head, err = parseHead(g.object("head")); err == nil {
		err = g.end()
	}
	if err == nil && (r.By != t.Peer || r.Head.Node != v.report.Node || !r.Verify(v.key, t.key)) {
		err = errors.New("its receipt is not signed by both")
	}
	if err != nil {
		return 0, err
	}
	v.receipts = append(v.receipts, r.Head)
	return r.Head.Seq, nil
}

// closing takes the signed head at the end of an export.
func (v *verifier) closing(m map[string]any) {
	v.closed = true
	h, err := parseHead(m)
	switch {
	case err != nil:
		v.problem(0, Malformed, "the head at the end: %v", err)
	case h.Node != v.report.Node || !h.Verify(v.key):
		v.problem(h.Seq, Unsigned, "the head at the end is not signed by %s", v.report.Fingerprint)
	case h.Seq > v.report.To:
		v.problem(h.Seq, Cut, "%s missing at the end", span(v.report.To+1, h.Seq))
	case h.Seq != v.report.To || h.Hash != v.report.Hash:
		v.problem(h.Seq, Chain, "the head at the end belongs to entry %d, hash %.16s…, and not to the last entry here", h.Seq, h.Hash)
	}
}

// end holds the log against what was signed of it.
func (v *verifier) end(heads []Head) {
	if !v.closed {
		v.problem(0, Cut, "the signed head at the end is missing: entries after %d may be too", v.report.To)
	}
	for _, h := range v.receipts {
		v.compare(h, "by a receipt in it")
	}
	for _, h := range heads {
		switch {
		case h.Node != v.report.Node:
			v.note("a head of %.40s says nothing about this log", h.Node)
		case !h.Verify(v.key):
			v.note("a head for entry %d is no evidence: it is not signed by this node's key", h.Seq)
		case h.Seq < v.report.From-1:
			v.note("a head for entry %d says nothing: the export begins at %d", h.Seq, v.report.From)
		default:
			if v.compare(h, "as others hold it signed") {
				v.report.Heads++
			}
		}
	}
}

func (v *verifier) note(format string, args ...any) {
	if len(v.report.Notes) < maxProblems {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
	}
}

// compare holds the log against one head that its node signed.
func (v *verifier) compare(h Head, whence string) bool {
	i, here := h.Seq-v.report.From, v.before
	if i >= 0 && i < int64(len(v.hashes)) {
		here = v.hashes[i]
	}
	switch {
	case i < -1:
		return true // before this export
	case h.Seq > v.report.To:
		v.problem(h.Seq, Cut, "entries after %d are missing: %s there was entry %d on %s. Export the whole log; if this is all, its end was cut off", v.report.To, whence, h.Seq, stamp(h.Time))
	case i >= int64(len(v.hashes)) || here == "":
		return false // a gap, which was reported
	case here != h.Hash:
		v.problem(h.Seq, Rewritten, "entry %d is not the one that was there on %s: %s its hash was %.16s…, here it is %.16s…. The history was written anew", h.Seq, stamp(h.Time), whence, h.Hash, here)
	default:
		return true
	}
	return false
}

// Key returns the key that an export names as its node's. It proves nothing: compare
// its fingerprint with one that you trust.
func Key(header []byte) (node string, key ed25519.PublicKey, err error) {
	doc, err := parse(header)
	m, ok := doc.(map[string]any)
	if err != nil || !ok {
		return "", nil, noExport("the first line is no header")
	}
	g := members{m: m}
	node, k := g.text("node"), g.bytes("key")
	if g.err != nil || len(k) != ed25519.PublicKeySize {
		return "", nil, noExport("its header is malformed")
	}
	return node, k, nil
}
