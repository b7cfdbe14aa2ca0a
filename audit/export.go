package audit

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"kontor/internal/fault"
	"kontor/store"
)

// page is how many entries an export reads at once; the state is free in between.
const page = 500

// Export writes the entries from to to, both counted, as lines of JSON between
// a header and a signed head. 0 stands for the first and the last.
func (l *Log) Export(ctx context.Context, w io.Writer, from, to int64) error {
	from = max(from, 1)
	if to <= 0 {
		to = 1 << 62
	}
	var end, before Head
	err := l.db.Read(ctx, func(t *store.Tx) (err error) {
		if end, err = l.head(ctx, t, to); err == nil {
			before, err = l.head(ctx, t, from-1)
		}
		return err
	})
	if err != nil {
		return err
	}
	if from > end.Seq && from > 1 {
		return fault.New(fault.Usage, fmt.Sprintf("the audit log has no entries from %d to %d: its last is %d", from, to, end.Seq), "name entries that are there")
	}
	out := bufio.NewWriter(w)
	line := func(v map[string]any) {
		_, _ = out.Write(append(canonical(v), '\n')) // a bufio.Writer keeps its error for Flush
	}
	line(map[string]any{
		"format": Format, "node": l.signer.Name(), "key": base64.StdEncoding.EncodeToString(l.signer.PublicKey()),
		"from": from, "prev": before.Hash, "exported": stamp(time.Now()),
	})
	for seq := from; seq <= end.Seq; seq += page {
		if err := l.lines(ctx, out, seq, min(seq+page-1, end.Seq)); err != nil {
			return err
		}
	}
	line(map[string]any{"head": end.members()})
	return out.Flush()
}

// lines writes entries as they are kept, whatever was done to them: judging is Verify's.
func (l *Log) lines(ctx context.Context, w *bufio.Writer, from, to int64) error {
	return l.db.Read(ctx, func(t *store.Tx) error {
		rows, err := t.Query(ctx, "SELECT entry, hash, signature FROM audit WHERE seq BETWEEN ? AND ? ORDER BY seq", from, to)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text, hash string
			var signature []byte
			if err := rows.Scan(&text, &hash, &signature); err != nil {
				return err
			}
			text = strings.ReplaceAll(strings.TrimSuffix(text, "}"), "\n", " ")
			if _, err := fmt.Fprintf(w, "%s,\"hash\":%s,\"signature\":\"%s\"}\n", text, canonical(hash), base64.StdEncoding.EncodeToString(signature)); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// Verify checks the log in this node's state, see the function [Verify].
func (l *Log) Verify(ctx context.Context, heads ...Head) (*Report, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(l.Export(ctx, w, 0, 0)) }() // ends when r is read or closed
	defer r.Close()
	return Verify(r, l.signer.PublicKey(), heads...)
}

// document is an entry as read: what canonical made of it, and its members.
type document struct {
	text                  []byte
	seq                   int64
	time                  time.Time
	node, prev            string
	actor, action, object string
	detail                map[string]any
	hash                  string // of lines of an export, as they claim
	signature             []byte
}

// parseEntry reads the canonical text of an entry.
func parseEntry(b []byte) (document, error) {
	v, err := parse(b)
	if err != nil {
		return document{}, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return document{}, fmt.Errorf("not an object")
	}
	return entry(m)
}

// entry takes an entry out of its members. It uses m up.
func entry(m map[string]any) (document, error) {
	d := document{text: canonical(m)}
	g := members{m: m}
	if format := g.text("format"); g.err == nil && format != Format {
		return d, fmt.Errorf("its format is %.40q, not %s", format, Format)
	}
	d.seq, d.time = g.number("seq"), g.time("time")
	d.node, d.prev, d.actor, d.action, d.object = g.text("node"), g.text("prev"), g.text("actor"), g.text("action"), g.text("object")
	d.detail = g.object("detail")
	if err := g.end(); err != nil {
		return d, err
	}
	if d.seq < 1 || d.seq > maxSeq || !digest(d.prev) {
		return d, fmt.Errorf("its number or the hash before it is malformed")
	}
	return d, nil
}

// members takes members out of an object and remembers the first that is missing
// or of another type.
type members struct {
	m   map[string]any
	err error
}

func (g *members) take(name string) any {
	v, ok := g.m[name]
	if !ok && g.err == nil {
		g.err = fmt.Errorf("it has no %q", name)
	}
	delete(g.m, name)
	return v
}

func taken[T any](g *members, name string) T {
	v, ok := g.take(name).(T)
	if !ok && g.err == nil {
		g.err = fmt.Errorf("%q is of the wrong type", name)
	}
	return v
}

func (g *members) text(name string) string           { return taken[string](g, name) }
func (g *members) number(name string) int64          { return taken[int64](g, name) }
func (g *members) object(name string) map[string]any { return taken[map[string]any](g, name) }

func (g *members) bytes(name string) []byte {
	b, err := base64.StdEncoding.Strict().DecodeString(g.text(name))
	if err != nil && g.err == nil {
		g.err = fmt.Errorf("%q is no base64", name)
	}
	return b
}

func (g *members) time(name string) time.Time {
	s := g.text(name)
	t, err := time.Parse(time.RFC3339Nano, s)
	if g.err == nil && (err != nil || stamp(t) != s) {
		g.err = fmt.Errorf("%q is no time in UTC with microseconds", name)
	}
	return t.UTC()
}

// end returns the first error; a member that was not taken is one.
func (g *members) end() error {
	for name := range g.m {
		if g.err == nil {
			g.err = fmt.Errorf("it has an unknown member %.40q", name)
		}
	}
	return g.err
}

// parseHead reads a head as Head.members writes it.
func parseHead(m map[string]any) (Head, error) {
	g := members{m: m}
	h := Head{Node: g.text("node"), Seq: g.number("seq"), Hash: g.text("hash"), Time: g.time("time"), Signature: g.bytes("signature")}
	return h, g.end()
}

// ReadHead reads a head, or the head in a receipt, from JSON: evidence for [Verify].
func ReadHead(b []byte) (Head, error) {
	var r struct {
		Head
		Inner *Head `json:"head"`
	}
	if len(b) > 64<<10 {
		return Head{}, fault.New(fault.Data, "the file is too large for a head of an audit log", "give a head or a receipt")
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Head{}, fault.Wrap(fault.Data, err, "that is no head of an audit log", "give a head or a receipt as JSON")
	}
	if r.Inner != nil {
		return *r.Inner, nil
	}
	return r.Head, nil
}
