// Package align finds the rows that all parties of a job have in common, by the
// ids of their tables, and puts them into one common order.
//
// The guest runs the private set intersection of package psi with every host at
// once, keeps the ids that all of them have, and tells each host the positions
// of those in the host's own shuffled list, in an order drawn at random. No id
// leaves a party in the clear, and the order of the rows says nothing about any
// party's table. PROTOCOL.md has the messages and what each party learns.
//
// A party whose ids do not fit, and an intersection that is too small, end the
// step at every party with the same error of kind [fault.Data].
//
// Not for ids that a party may not link at all: the guest learns which of its
// ids each host has. Not for fuzzy matching: two ids are one if their bytes are.
package align

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kontor/internal/fault"
	"kontor/psi"
	"kontor/session"
)

// DefaultMinRows is the least number of joint rows unless [Options] say
// otherwise. Below it the positions would point at few individuals, and there is
// nothing to learn from so few rows.
const DefaultMinRows = 50

// Options are one party's wishes for the step.
type Options struct {
	// MinRows is the least number of joint rows this party agrees to; 0 means
	// [DefaultMinRows]. The largest of all parties' counts.
	MinRows int
}

func (o Options) minRows() (int, error) {
	switch {
	case o.MinRows == 0:
		return DefaultMinRows, nil
	case o.MinRows < 0 || o.MinRows > psi.MaxItems:
		return 0, fault.New(fault.Spec, fmt.Sprintf("the minimum of %d joint rows is not between 1 and %d", o.MinRows, psi.MaxItems),
			"correct the minimum in the job")
	}
	return o.MinRows, nil
}

// Result is what the step gives one party. Where the data of the parties end the
// step it comes with the error and has Stats but no Rows: they are what this
// party has learned all the same.
type Result struct {
	// Rows has, for each joint row in the common order, its index in this party's ids.
	Rows  []int
	Stats Stats
}

// Stats are the sizes that this party has learned, in rows.
type Stats struct {
	Own      int            // of its own table
	Peers    map[string]int // of the tables of others: the guest learns all, a host the guest's
	Compared bool           // whether the step went as far as comparing ids; what follows is 0 if not
	Pairs    map[string]int // at the guest: its rows that each host has too; nil at a host
	Joint    int            // rows that all parties have
}

// Learned returns what self learned by the step, a sentence each, for its account
// of the job. parties are all parties in the order of the job.
func Learned(self session.Party, parties []session.Party, r *Result) []string {
	var out []string
	say := func(format string, a ...any) {
		text := fmt.Sprintf(format, a...)
		out = append(out, strings.ToUpper(text[:1])+text[1:]+".")
	}
	st := r.Stats
	for _, p := range parties {
		if n, ok := st.Peers[p.Name]; ok {
			say("that the table of %s has %s", p.Name, rowsText(n))
		}
	}
	for _, p := range parties {
		if n, ok := st.Pairs[p.Name]; ok {
			say("which %d of its own %d ids %s has too", n, st.Own, p.Name)
		}
	}
	switch {
	case !st.Compared || len(st.Pairs) == 1:
	case st.Pairs != nil || r.Rows != nil:
		say("which %d of its own %d ids all %d parties have", st.Joint, st.Own, len(parties))
	default:
		say("that all %d parties have %d ids in common, not which", len(parties), st.Joint)
	}
	return out
}

// own is what both roles know before the first message.
type own struct {
	n      int
	need   int    // the least number of joint rows this party agrees to
	unfit  reason // why the ids do not fit, else fit
	detail error  // the same for this party's own user, with the rows
}

// examine returns the part of own that does not need the set: empty ids are
// refused because two rows without an id are not the same row.
func examine(ids []string, o Options) (own, error) {
	need, err := o.minRows()
	w := own{n: min(len(ids), psi.MaxItems), need: need}
	if err != nil {
		return w, err
	}
	if i := slices.Index(ids, ""); i >= 0 {
		w.unfit = emptyID
		w.detail = fault.New(fault.Data, fmt.Sprintf("row %d has no id", i+1), "give every row an id, or remove the row")
	}
	return w, nil
}

// judge takes the error of making the set: one about the ids is remembered for
// the verdict, so that all parties end alike; any other is returned.
func (w *own) judge(err error) error {
	var dup *psi.DuplicateError
	switch {
	case err == nil || w.unfit != fit:
	case errors.As(err, &dup):
		w.unfit = duplicateID
		w.detail = fault.New(fault.Data, fmt.Sprintf("rows %d and %d have the same id", dup.First+1, dup.Second+1), duplicateID.cure())
	case errors.Is(err, psi.ErrItemLen):
		w.unfit, w.detail = longID, fault.Wrap(fault.Data, err, "an id is too long", longID.cure())
	case errors.Is(err, psi.ErrTooMany):
		w.unfit, w.detail = tooManyRows, fault.Wrap(fault.Data, err, "the table is too long", tooManyRows.cure())
	default:
		return err
	}
	return nil
}

// stop returns the error that ends the step: the details where it is this
// party's own ids that do not fit, else the verdict in words.
func (w *own) stop(s *session.Session, v verdict) error {
	if w.detail != nil {
		return fault.At(w.detail, s.Self().Name, "")
	}
	return v.fault(s.Parties())
}
