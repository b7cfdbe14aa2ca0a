package align

import (
	"context"
	"fmt"
	"io"

	"kontor/psi"
	"kontor/session"
)

// host is one host's side of one run.
type host struct {
	s      *session.Session
	own    own
	sender *psi.Sender
	guest  string
	rows   int // of the guest's table
	need   int // the least number of joint rows all parties agree to
	stats  Stats
}

// Host runs the step at a host; see [Guest] for the arguments and errors.
func Host(ctx context.Context, s *session.Session, ids []string, o Options, random io.Reader) (*Result, error) {
	w, err := examine(ids, o)
	if err != nil {
		return nil, err
	}
	h := &host{s: s, own: w, guest: s.Guest(), stats: Stats{Own: w.n, Peers: map[string]int{}}}
	h.sender, err = psi.NewSender(s.ID().Derive("align/ids"), ids, random)
	if err := h.own.judge(err); err != nil {
		return nil, fmt.Errorf("preparing the ids: %w", err)
	}
	goOn, err := h.sizes(ctx)
	if err != nil {
		return nil, err
	}
	if goOn.unfit != fit {
		return h.stop(goOn)
	}
	if err := h.exchange(ctx); err != nil {
		return nil, err
	}
	return h.outcome(ctx)
}

// sizes sends this host's size and hears whether the step goes on.
func (h *host) sizes(ctx context.Context) (verdict, error) {
	var st start
	if err := h.s.Send(ctx, h.guest, tagSize, size{h.own.unfit, h.own.n, h.own.need}); err != nil {
		return st.verdict, err
	}
	if err := h.s.Recv(ctx, h.guest, tagStart, startLen, &st); err != nil {
		return st.verdict, err
	}
	parties := h.s.Parties()
	h.rows, h.need = st.guestRows, st.need
	h.stats.Peers[h.guest] = h.rows
	var err error
	switch {
	case st.party >= len(parties) || st.unfit == fewJoint || st.unfit == fit && h.own.unfit != fit:
		err = h.s.Violation(h.guest, "its verdict on the sizes does not fit them")
	case st.unfit == fewRows && parties[st.party].Name != h.s.Self().Name:
		h.stats.Peers[parties[st.party].Name] = st.verdict.rows
	case st.unfit != fit:
	case h.need < h.own.need:
		err = h.s.Violation(h.guest, fmt.Sprintf("it asked for %d joint rows, this party agrees to no less than %d", h.need, h.own.need))
	case h.own.n < h.need || h.rows < h.need:
		err = h.s.Violation(h.guest, fmt.Sprintf("it went on with tables of %d and %d rows, at least %d are needed", h.rows, h.own.n, h.need))
	}
	return st.verdict, err
}

// exchange masks this host's ids and answers the guest's, both at once.
func (h *host) exchange(ctx context.Context) error {
	if err := h.sender.Expect(h.rows); err != nil {
		return blame(h.s, h.guest, err)
	}
	p := &progress{s: h.s, total: int64(h.own.n) + int64(h.rows)}
	gr, ctx := newGroup(ctx)
	gr.Go(func() error { return h.sendMasked(ctx, p) })
	gr.Go(func() error { return h.double(ctx, p) })
	return gr.Wait()
}

func (h *host) sendMasked(ctx context.Context, p *progress) error {
	send := h.s.Send
	for st := (stream{n: h.own.n}); !st.done(); {
		lo, hi := st.take()
		b, err := h.sender.Mask(ctx, lo, hi)
		if err != nil {
			return err
		}
		if err := send(ctx, h.guest, tagHost, part{streamMasked, b}); err != nil {
			return err
		}
		send = h.s.SendMore
		p.add(hi - lo)
	}
	return nil
}

func (h *host) double(ctx context.Context, p *progress) error {
	send := h.s.Send
	for st := (stream{n: h.rows}); !st.done(); {
		var b session.Bytes
		if err := h.s.Recv(ctx, h.guest, tagGuest, chunkItems*psi.ElementLen, &b); err != nil {
			return err
		}
		lo, hi := st.take()
		if len(b) != (hi-lo)*psi.ElementLen {
			return h.s.Violation(h.guest, fmt.Sprintf("it sent %d bytes where ids %d to %d of %d have %d", len(b), lo, hi, st.n, (hi-lo)*psi.ElementLen))
		}
		tags, err := h.sender.Double(ctx, lo, b)
		if err != nil {
			return blame(h.s, h.guest, err)
		}
		if err := send(ctx, h.guest, tagHost, part{streamDoubled, tags}); err != nil {
			return err
		}
		send = h.s.SendMore
		p.add(hi - lo)
	}
	return nil
}

// outcome hears which of this host's ids all parties have, in the common order.
func (h *host) outcome(ctx context.Context) (*Result, error) {
	var v verdict
	if err := h.s.Recv(ctx, h.guest, tagOutcome, verdictLen, &v); err != nil {
		return nil, err
	}
	h.stats.Compared, h.stats.Joint = true, v.rows
	switch {
	case v.unfit == fewJoint && v.rows < v.need && v.need == h.need:
		return h.stop(v)
	case v.unfit != fit:
		return nil, h.s.Violation(h.guest, "it stopped the step without a reason that fits")
	case v.rows < h.need || v.rows > min(h.own.n, h.rows):
		return nil, h.s.Violation(h.guest, fmt.Sprintf("it found %d joint rows, between %d and %d are possible", v.rows, h.need, min(h.own.n, h.rows)))
	}
	order, seen := h.sender.Order(), make([]bool, h.own.n)
	rows := make([]int, 0, v.rows)
	for len(rows) < v.rows {
		var ps positions
		want := min(chunkRows, v.rows-len(rows))
		if err := h.s.Recv(ctx, h.guest, tagRows, 4*want, &ps); err != nil {
			return nil, err
		}
		if len(ps) != want {
			return nil, h.s.Violation(h.guest, fmt.Sprintf("it sent %d positions where %d were expected", len(ps), want))
		}
		for _, p := range ps {
			if int64(p) >= int64(h.own.n) || seen[p] {
				return nil, h.s.Violation(h.guest, "it named a position that does not exist, or one twice")
			}
			seen[p] = true
			rows = append(rows, order[p])
		}
	}
	return &Result{Rows: rows, Stats: h.stats}, nil
}

// stop ends the step for a reason that lies in the parties' data.
func (h *host) stop(v verdict) (*Result, error) {
	return &Result{Stats: h.stats}, h.own.stop(h.s, v)
}
