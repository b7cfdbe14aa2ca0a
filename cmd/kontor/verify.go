package main

import (
	"bufio"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"

	"kontor/api/rest"
	"kontor/audit"
	"kontor/identity"
	"kontor/internal/fault"
)

// maxHeader bounds the first line of an export.
const maxHeader = 64 << 10

// verifyExport checks an exported account against the key that trusted names, and
// against the states of it in the exports of partners.
func verifyExport(path, trusted string, witnesses []string) (*rest.AuditReport, error) {
	if trusted == "" {
		return nil, fault.New(fault.Usage, "whose account the file is must be known from elsewhere", "give the fingerprint or the words of the node's key with --key; kontor peer ls shows those of peers")
	}
	node, key, err := exportKey(path)
	if err != nil {
		return nil, err
	}
	if !identity.MatchFingerprint(trusted, key) {
		return nil, fault.New(fault.Trust, fmt.Sprintf("the export says that it is of %s with the key %s, which is not the one given", node, identity.Fingerprint(key)),
			"check --key; if it is right, the file is not that node's")
	}
	var heads []audit.Head
	for _, w := range witnesses {
		h, err := testimony(w, node)
		if err != nil {
			return nil, err
		}
		heads = append(heads, h...)
	}
	var report *audit.Report
	err = withExport(path, func(r io.Reader) (err error) {
		report, err = audit.Verify(r, key, heads...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return asReport(report), nil
}

// testimony returns the states of a node's account in the export of a partner's.
// Whether the partner's is sound does not matter: the node itself has signed them.
func testimony(path, node string) ([]audit.Head, error) {
	_, key, err := exportKey(path)
	if err != nil {
		return nil, err
	}
	var heads []audit.Head
	err = withExport(path, func(r io.Reader) (err error) {
		heads, _, err = audit.Heads(r, key, node)
		return err
	})
	return heads, err
}

// exportKey returns whose account an export says it is.
func exportKey(path string) (node string, key ed25519.PublicKey, err error) {
	err = withExport(path, func(r io.Reader) (err error) {
		header, err := bufio.NewReaderSize(r, maxHeader).ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		node, key, err = audit.Key(header)
		return err
	})
	return node, key, err
}

func withExport(path string, read func(io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fault.Wrap(fault.Data, err, "the exported account cannot be read", "name a file that kontor audit export has written")
	}
	defer f.Close()
	err = read(f)
	var known *fault.Error
	if err != nil && !errors.As(err, &known) {
		return fault.Wrap(fault.Data, err, "the exported account cannot be read", "name a file that kontor audit export has written")
	}
	return err
}

// asReport gives the report the form that the API has.
func asReport(r *audit.Report) *rest.AuditReport {
	out := &rest.AuditReport{OK: r.OK(), Entries: r.Entries, Head: r.Hash, Problems: []rest.AuditProblem{}, Witnesses: []rest.AuditWitness{}}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, rest.AuditProblem{Seq: p.Seq, What: fmt.Sprintf("line %d, %s: %s", p.Line, p.Kind, p.Text)})
	}
	for _, t := range r.Testimonies {
		if t.Seen > 0 {
			out.Witnesses = append(out.Witnesses, rest.AuditWitness{Peer: t.Peer, Seq: t.Seen, Time: t.Head.Time})
		}
	}
	return out
}
