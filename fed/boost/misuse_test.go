package boost

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"kontor/internal/fault"
	"kontor/session"
)

// change applies f to the body of the k-th message with the given tag.
func change(tag string, k int, f func(body []byte) []byte) func(msg []byte) [][]byte {
	return func(msg []byte) [][]byte {
		t, body := frame(msg)
		if t != tag {
			return [][]byte{msg}
		}
		if k--; k >= 0 {
			return [][]byte{msg}
		}
		k = math.MaxInt
		return [][]byte{reframe(msg, f(slices.Clone(body)))}
	}
}

func cutOff(b []byte) []byte { return b[:len(b)-1] }
func add(b []byte) []byte    { return append(b, 0) }
func empty([]byte) []byte    { return nil }
func put(i int, v byte) func([]byte) []byte {
	return func(b []byte) []byte { b[i] = v; return b }
}

func asksBody(list ...ask) func([]byte) []byte {
	return func([]byte) []byte { b, _ := asks(list).MarshalBinary(); return b }
}

// Whatever a peer sends wrongly ends the training at the other party with an
// error that names the peer.
func TestPeersThatBreakTheProtocol(t *testing.T) {
	t.Parallel()
	cols, label := table(1, 120, 6)
	w := world{cols[:2], [][]Column{cols[2:]}, label, Rows{Train: span(0, 100), Valid: span(100, 120)}}
	p := small()
	p.Trees, p.Depth = 2, 2
	for _, tc := range []struct {
		by, name string
		tamper   func(msg []byte) [][]byte
		kind     fault.Kind
	}{
		{"h0", "shape cut off", change(tagShape, 0, cutOff), fault.Protocol},
		{"h0", "shape empty", change(tagShape, 0, empty), fault.Protocol},
		{"h0", "shape of another version", change(tagShape, 0, put(0, 9)), fault.Protocol},
		{"h0", "shape with a feature of no bins", change(tagShape, 0, put(shapeHead, 0)), fault.Protocol},
		{"h0", "shape with more bins than agreed", change(tagShape, 0, put(shapeHead, 9)), fault.Protocol},
		{"h0", "shape that claims 2^32 features", change(tagShape, 0, func(b []byte) []byte { binary.BigEndian.PutUint32(b[33:], math.MaxUint32); return b }), fault.Protocol},
		{"h0", "shape with more bins in all than a guest can hold", change(tagShape, 0, func(b []byte) []byte {
			b = append(b[:33], 0, 0, 0x40, 0)
			return append(b, bytes.Repeat([]byte{254}, maxFeatures)...)
		}), fault.Protocol},
		{"h0", "other rows", change(tagShape, 0, func(b []byte) []byte { b[5] ^= 1; return b }), fault.Data},
		{"h0", "hint cut off", change(tagHint, 0, cutOff), fault.Protocol},
		{"h0", "hint too long", change(tagHint, 0, add), fault.Protocol},
		{"h0", "hint of another version", change(tagHint, 0, put(0, 99)), fault.Protocol},
		{"h0", "sums cut off", change(tagSums, 1, cutOff), fault.Protocol},
		{"h0", "sums empty", change(tagSums, 0, empty), fault.Protocol},
		{"h0", "sums of another version", change(tagSums, 0, put(0, 99)), fault.Protocol},
		{"h0", "sums without sense", change(tagSums, 0, func(b []byte) []byte {
			for i := 8; i < len(b); i++ {
				b[i] ^= byte(i*37) | 1
			}
			return b
		}), fault.Protocol},
		{"h0", "sides cut off", change(tagSides, 0, cutOff), fault.Protocol},
		{"h0", "sides too long", change(tagSides, 0, add), fault.Protocol},
		{"h0", "sides instead of sums", func(msg []byte) [][]byte {
			if tag, _ := frame(msg); tag == tagSums {
				copy(msg[10:], "dims")
			}
			return [][]byte{msg}
		}, fault.Protocol},
		{"h0", "repeated sums", func(msg []byte) [][]byte {
			if tag, _ := frame(msg); tag == tagSums {
				return [][]byte{msg, msg}
			}
			return [][]byte{msg}
		}, fault.Protocol},
		{"bank", "plan cut off", change(tagPlan, 0, cutOff), fault.Protocol},
		{"bank", "plan of another version", change(tagPlan, 0, put(0, 7)), fault.Protocol},
		{"bank", "plan for other rows", change(tagPlan, 0, put(4, 101)), fault.Protocol},
		{"bank", "plan for no features", change(tagPlan, 0, put(8, 0)), fault.Protocol},
		{"bank", "plan for fewer features", change(tagPlan, 0, put(8, 1)), fault.Protocol},
		{"bank", "plan for more queries", change(tagPlan, 0, put(16, 255)), fault.Protocol},
		{"bank", "plan for fewer mean bits", change(tagPlan, 0, put(17, 1)), fault.Protocol},
		{"bank", "plan for more bins than features hold", change(tagPlan, 0, put(10, 1)), fault.Protocol},
		{"bank", "plan with another payload", change(tagPlan, 0, put(18, 3)), fault.Version},
		{"bank", "plan with another hint", change(tagPlan, 0, put(20, 63)), fault.Version},
		{"bank", "tree note cut off", change(tagTree, 0, cutOff), fault.Protocol},
		{"bank", "tree note with a strange flag", change(tagTree, 0, put(1, 2)), fault.Protocol},
		{"bank", "tree note that keeps trees and goes on", change(tagTree, 0, put(5, 1)), fault.Protocol},
		{"bank", "more trees kept than grown", change(tagTree, 2, put(5, 3)), fault.Protocol},
		{"bank", "a tree too many", change(tagTree, 2, func(b []byte) []byte { b[1], b[5] = 1, 0; return b }), fault.Protocol},
		{"bank", "query cut off", change(tagQuery, 0, cutOff), fault.Protocol},
		{"bank", "query too long", change(tagQuery, 1, add), fault.Protocol},
		{"bank", "query of another version", change(tagQuery, 0, put(0, 99)), fault.Protocol},
		{"bank", "splits cut off", change(tagSplits, 0, cutOff), fault.Protocol},
		{"bank", "a feature out of range", change(tagSplits, 0, asksBody(ask{4, 0, false})), fault.Protocol},
		{"bank", "a bin out of range", change(tagSplits, 0, asksBody(ask{0, 200, false})), fault.Protocol},
		{"bank", "a split of nothing", change(tagSplits, 0, func([]byte) []byte {
			f, _ := binColumns(context.Background(), w.hosts[0], w.rows, p.Bins)
			_ = shuffle(f, random(10))
			b, _ := asks{{0, len(f[0].edges) - 1, true}}.MarshalBinary()
			return b
		}), fault.Protocol},
		{"bank", "two splits for one node", change(tagSplits, 0, asksBody(ask{0, 0, false}, ask{1, 0, false})), fault.Protocol},
		{"bank", "splits out of order", change(tagSplits, 1, asksBody(ask{1, 0, false}, ask{0, 0, false})), fault.Protocol},
		{"bank", "a split twice in a message", change(tagSplits, 1, asksBody(ask{1, 0, false}, ask{1, 0, false})), fault.Protocol},
		{"bank", "a strange side", change(tagSplits, 0, func([]byte) []byte { return []byte{1, 0, 1, 0, 0, 0, 0, 0, 2} }), fault.Protocol},
	} {
		t.Run(tc.by+" sends "+tc.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(1, 1)
			victim := "h0"
			if tc.by == "h0" {
				victim = "bank"
			}
			n.pipes[[2]string{tc.by, victim}].tamper = tc.tamper
			_, errs := w.train(t, n, p)
			err := errs[victim]
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != tc.kind || f.Party != tc.by {
				// A message that is too long for its place fails in the connection.
				if err == nil || !strings.Contains(err.Error(), "longer than") {
					t.Errorf("%s: %v", victim, err)
				}
			}
		})
	}
}

// A split that the host has told of is not told again: an honest guest keeps it.
func TestHostTellsASplitOnce(t *testing.T) {
	t.Parallel()
	n := newNetwork(1, 1)
	again := asks{{0, 0, true}}
	errs := n.run(t, func(self string, s *session.Session) error {
		ctx := context.Background()
		if self == "bank" {
			for range 2 {
				if err := s.Send(ctx, "h0", tagSplits, again); err != nil {
					return err
				}
			}
			var b session.Bytes
			return s.Recv(ctx, "h0", tagSides, 1, &b)
		}
		f := &feature{edges: []float64{0, 1}, index: []uint8{0, 1, 2}}
		h := &holder{s: s, guest: "bank", rows: 3, features: []*feature{f}, asked: map[ask]bool{}, grown: 1}
		if err := h.sides(ctx, 1); err != nil {
			return err
		}
		return h.sides(ctx, 1)
	})
	if errs["bank"] != nil || fault.KindOf(errs["h0"]) != fault.Protocol {
		t.Errorf("guest: %v, host: %v", errs["bank"], errs["h0"])
	}
}

// A host answers no more vectors than were planned, whatever the plan says of
// trees: the count is the kernel's, the protocol's end comes first.
func TestHostCountsItsAnswers(t *testing.T) {
	t.Parallel()
	cols, label := table(1, 60, 4)
	w := world{cols[:2], [][]Column{cols[2:]}, label, Rows{Train: span(0, 60)}}
	p := small()
	p.Trees, p.Depth = 1, 2
	more := p
	more.Trees = 2 // the guest means to grow two trees
	errs := newNetwork(1, 1).run(t, func(self string, s *session.Session) (err error) {
		if self == "bank" {
			_, _, err = TrainGuest(context.Background(), s, w.guest, w.label, w.rows, more, random(1))
		} else {
			_, err = TrainHost(context.Background(), s, w.hosts[0], w.rows, p, random(2))
		}
		return err
	})
	var f *fault.Error
	if !errors.As(errs["h0"], &f) || f.Kind != fault.Protocol || f.Party != "bank" {
		t.Errorf("the host: %v", errs["h0"])
	}
}

func TestPartiesWithOtherInput(t *testing.T) {
	t.Parallel()
	cols, label := table(1, 60, 4)
	rows := Rows{Train: span(0, 50), Valid: span(50, 60)}
	p := small()
	exact := p
	exact.Exact = true
	badP := p
	badP.Depth = 0
	for _, tc := range []struct {
		name         string
		guest, host  Params
		hostRows     Rows
		hostCols     []Column
		grand, hrand io.Reader
		at           string
		kind         fault.Kind
	}{
		{"other rows", p, p, Rows{Train: span(0, 49), Valid: span(50, 60)}, cols[2:], random(1), random(2), "bank", fault.Data},
		{"other split of the same rows", p, p, Rows{Train: span(0, 51), Valid: span(51, 60)}, cols[2:], random(1), random(2), "bank", fault.Data},
		{"exact guest", exact, p, rows, cols[2:], random(1), random(2), "bank", fault.Spec},
		{"exact host", p, exact, rows, cols[2:], random(1), random(2), "h0", fault.Spec},
		{"invalid host parameters", p, badP, rows, cols[2:], random(1), random(2), "h0", fault.Spec},
		{"host without columns", p, p, rows, nil, random(1), random(2), "h0", fault.Data},
		{"guest without randomness", p, p, rows, cols[2:], nil, random(2), "bank", fault.Internal},
		{"host without randomness", p, p, rows, cols[2:], random(1), nil, "h0", fault.Internal},
		{"guest's randomness ends", p, p, rows, cols[2:], strings.NewReader("short"), random(2), "bank", fault.Internal},
		{"host's randomness ends", p, p, rows, cols[2:], random(1), strings.NewReader("short"), "h0", fault.Internal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			errs := newNetwork(1, 1).run(t, func(self string, s *session.Session) (err error) {
				if self == "bank" {
					_, _, err = TrainGuest(context.Background(), s, cols[:2], label, rows, tc.guest, tc.grand)
				} else {
					_, err = TrainHost(context.Background(), s, tc.hostCols, tc.hostRows, tc.host, tc.hrand)
				}
				return err
			})
			if err := errs[tc.at]; err == nil || fault.KindOf(err) != tc.kind {
				t.Errorf("%s: %v", tc.at, err)
			}
		})
	}
}

// Cancelling one party ends it wherever it is, and the other follows.
func TestCancelAtEveryMessage(t *testing.T) {
	t.Parallel()
	cols, label := table(1, 60, 4)
	w := world{cols[:2], [][]Column{cols[2:]}, label, Rows{Train: span(0, 60)}}
	p := small()
	p.Trees, p.Depth = 2, 2
	for _, who := range [][2]string{{"bank", "h0"}, {"h0", "bank"}} {
		for k := 0; ; k++ {
			n := newNetwork(1, 1)
			ctx, cancel := context.WithCancel(context.Background())
			sent, cancelled := 0, false
			n.pipes[who].tamper = func(msg []byte) [][]byte {
				if sent == k {
					cancelled = true
					cancel()
				}
				sent++
				return [][]byte{msg}
			}
			errs := n.run(t, func(self string, s *session.Session) (err error) {
				c := context.Background()
				if self == who[0] {
					c = ctx
				}
				if self == "bank" {
					_, _, err = TrainGuest(c, s, w.guest, w.label, w.rows, p, random(1))
				} else {
					_, err = TrainHost(c, s, w.hosts[0], w.rows, p, random(2))
				}
				return err
			})
			cancel()
			if !cancelled {
				if k < 8 {
					t.Errorf("%s sent only %d messages", who[0], k)
				}
				break
			}
			// The guest's last message is its last act, the host waits for one more.
			if errs[who[0]] == nil && (who[0] == "h0" || sent > k+1) {
				t.Errorf("%s was cancelled at message %d and did not notice", who[0], k)
			}
			if err := errs[who[0]]; err != nil && fault.KindOf(err) != fault.Cancelled {
				t.Errorf("%s cancelled at message %d: %v", who[0], k, err)
			}
		}
	}
}

func TestPredictionErrors(t *testing.T) {
	t.Parallel()
	cols, label := table(1, 200, 6)
	w := world{cols[:3], [][]Column{cols[3:]}, label, Rows{Train: span(0, 200)}}
	o := w.mustTrain(t, small())
	other := *o.hosts[0]
	other.ID = strings.Repeat("ab", 32)
	fewer := *o.hosts[0]
	fewer.Splits = fewer.Splits[:len(fewer.Splits)-1]
	short := func(cols []Column) (out []Column) {
		for _, c := range cols {
			out = append(out, Column{c.Name, c.Values[:199]})
		}
		return out
	}
	used := func(name string) bool { return slices.Contains(o.hosts[0].Features, name) }
	without := slices.DeleteFunc(slices.Clone(w.hosts[0]), func(c Column) bool { return used(c.Name) })
	for _, tc := range []struct {
		name      string
		host      *HostModel
		gc, hc    []Column
		tamper    func([]byte) [][]byte // of what the host sends
		is        error
		kind      fault.Kind
		both      bool
		atHostOnl bool
	}{
		{"other model", &other, w.guest, w.hosts[0], nil, ErrOtherModel, fault.Data, true, false},
		{"other length", o.hosts[0], w.guest, short(w.hosts[0]), nil, ErrRowCount, fault.Data, true, false},
		{"fewer splits", &fewer, w.guest, w.hosts[0], nil, nil, fault.Protocol, false, false},
		{"guest lacks columns", o.hosts[0], nil, w.hosts[0], nil, ErrColumn, fault.Data, false, false},
		{"host lacks columns", o.hosts[0], w.guest, without, nil, nil, fault.Data, false, true},
		{"ragged", o.hosts[0], append(short(w.guest[:1]), w.guest[1:]...), w.hosts[0], nil, ErrRowCount, fault.Data, false, false},
		{"sides cut off", o.hosts[0], w.guest, w.hosts[0], change(tagSides, 0, cutOff), nil, fault.Protocol, false, false},
		{"note cut off", o.hosts[0], w.guest, w.hosts[0], change(tagModel, 0, cutOff), nil, fault.Protocol, false, false},
		{"note of another version", o.hosts[0], w.guest, w.hosts[0], change(tagModel, 0, put(0, 5)), nil, fault.Protocol, false, false},
		{"note without rows", o.hosts[0], w.guest, w.hosts[0], change(tagModel, 0, func(b []byte) []byte { copy(b[33:], be32(nil, math.MaxUint32)); return b }), nil, fault.Protocol, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(1, 3)
			n.pipes[[2]string{"h0", "bank"}].tamper = tc.tamper
			errs := n.run(t, func(self string, s *session.Session) error {
				if self == "bank" {
					_, err := PredictGuest(context.Background(), s, o.guest, tc.gc)
					return err
				}
				return PredictHost(context.Background(), s, tc.host, tc.hc)
			})
			check := func(who string) {
				if err := errs[who]; err == nil || fault.KindOf(err) != tc.kind || tc.is != nil && !errors.Is(err, tc.is) {
					t.Errorf("%s: %v", who, err)
				}
			}
			if !tc.atHostOnl {
				check("bank")
			}
			if tc.both || tc.atHostOnl {
				check("h0")
			}
		})
	}
	if _, err := o.guest.PredictLocal(cols); !errors.Is(err, ErrNeedsHosts) {
		t.Errorf("predicting without hosts: %v", err)
	}
	errs := newNetwork(0, 1).run(t, func(_ string, s *session.Session) error {
		_, err := PredictGuest(context.Background(), s, o.guest, w.guest)
		return err
	})
	if !errors.Is(errs["bank"], ErrNeedsHosts) {
		t.Errorf("predicting in a session without the host: %v", errs["bank"])
	}
}

// Rows come in blocks; the last one is shorter, and new values are missing,
// infinite or outside what was seen.
func TestPredictionOfNewRows(t *testing.T) {
	t.Parallel()
	cols, label := table(1, 300, 6)
	w := world{cols[:3], [][]Column{cols[3:]}, label, Rows{Train: span(0, 300)}}
	p := small()
	o := w.mustTrain(t, p)
	pooled := w.pooled(t, p)
	local, _, err := TrainLocal(context.Background(), pooled, label, w.rows, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, rows := range []int{0, 1, blockRows, 2*blockRows + 5} {
		fresh, _ := table(99, rows+3, 6)
		for c := range fresh {
			v := fresh[c].Values
			v[c%3], v[(c+1)%3], v[(c+2)%3] = math.NaN(), math.Inf(1), math.Inf(-1)
			fresh[c].Values = v[:rows]
		}
		next := world{fresh[:3], [][]Column{fresh[3:]}, nil, w.rows}
		renamed := slices.Clone(fresh)
		for c := 3; c < 6; c++ {
			renamed[c].Name = "h0/" + renamed[c].Name
		}
		want, err := local.PredictLocal(renamed)
		if err != nil {
			t.Fatal(err)
		}
		if got := next.predict(t, o); !slices.Equal(got, want) {
			t.Errorf("%d rows: predictions differ from the local model's", rows)
		}
	}
}
