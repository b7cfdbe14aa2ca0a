package boost

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"kontor/internal/fault"
	"kontor/internal/parallel"
	"kontor/session"
)

// Errors of a prediction; the [fault.Error] around them names the party and what
// to do.
var (
	// ErrOtherModel means that the parties brought parts of different models.
	ErrOtherModel = errors.New("the parts are of different models")
	// ErrRowCount means that the parties brought tables of different length.
	ErrRowCount = errors.New("the tables have different numbers of rows")
	// ErrColumn means that a column the model uses is missing from the table.
	ErrColumn = errors.New("a column that the model uses is missing")
	// ErrNeedsHosts means that a model with splits of hosts was asked to predict
	// without them.
	ErrNeedsHosts = errors.New("the model needs its hosts to predict")
)

// blockRows is how many rows a message of sides covers; it bounds its size.
const blockRows = 1 << 14

// PredictLocal returns the probability of label 1 for every row. It is for
// models without splits of hosts, else [ErrNeedsHosts].
func (m *GuestModel) PredictLocal(cols []Column) ([]float64, error) {
	for _, h := range m.Hosts {
		if len(h.Splits) > 0 {
			return nil, ErrNeedsHosts
		}
	}
	values, rows, err := pick(m.Features, cols)
	if err != nil {
		return nil, err
	}
	out := make([]float64, max(rows, 0))
	return out, m.walk(context.Background(), out, 0, values, nil)
}

// pick returns the values of the named columns and their length, -1 without
// any columns.
func pick(names []string, cols []Column) (values [][]float64, rows int, err error) {
	rows = -1
	byName := make(map[string][]float64, len(cols))
	for _, c := range cols {
		if rows >= 0 && len(c.Values) != rows {
			return nil, 0, fault.Wrap(fault.Data, ErrRowCount, fmt.Sprintf("column %q has %d rows where %d were expected", c.Name, len(c.Values), rows),
				"give columns of one aligned table")
		}
		rows = len(c.Values)
		byName[c.Name] = c.Values
	}
	if rows > maxRows {
		return nil, 0, fault.New(fault.Data, fmt.Sprintf("the table has %d rows, at most %d are supported", rows, maxRows), "predict in parts")
	}
	for _, n := range names {
		v, ok := byName[n]
		if !ok {
			return nil, 0, fault.Wrap(fault.Data, ErrColumn, fmt.Sprintf("column %q is not in the table", n), "give a table with the columns of the training")
		}
		values = append(values, v)
	}
	return values, rows, nil
}

// walk writes the probabilities of rows [first, first+len(out)). values are the
// guest's columns by Features; sides[k][s] holds a bit for each row of out.
func (m *GuestModel) walk(ctx context.Context, out []float64, first int, values [][]float64, sides [][][]byte) error {
	const chunk = 1 << 11
	n, bounds := parallel.Chunks(len(out), chunk)
	return parallel.For(ctx, n, func(c int) error {
		lo, hi := bounds(c)
		for i := lo; i < hi; i++ {
			out[i] = m.Base
		}
		for t := range m.Trees {
			nodes := m.Trees[t].Nodes
			for i := lo; i < hi; i++ {
				k := 0
				for nodes[k].Left != 0 {
					n := &nodes[k]
					var goes bool
					if n.Host == 0 {
						goes = left(values[n.Feature][first+i], n.Threshold, n.DefaultLeft)
					} else {
						goes = sides[n.Host-1][n.Split][i>>3]>>(i&7)&1 == 1
					}
					if k = n.Right; goes {
						k = n.Left
					}
				}
				out[i] += nodes[k].Leaf
			}
		}
		for i := lo; i < hi; i++ {
			out[i] = sigmoid(out[i])
		}
		return nil
	})
}

// PredictGuest is the guest's side of a prediction: it returns the probability of
// label 1 for every row of the aligned table. cols may be empty if the model
// uses no column of the guest; the number of rows is then the hosts'.
func PredictGuest(ctx context.Context, s *session.Session, m *GuestModel, cols []Column) ([]float64, error) {
	values, rows, err := pick(m.Features, cols)
	if err != nil {
		return nil, err
	}
	note, err := newModelNote(m.ID, rows, 0)
	if err != nil {
		return nil, err
	}
	for _, h := range s.Hosts() {
		if err := s.Send(ctx, h, tagModel, note); err != nil {
			return nil, err
		}
	}
	for _, h := range s.Hosts() {
		var got modelNote
		if err := s.Recv(ctx, h, tagModel, modelSize, &got); err != nil {
			return nil, err
		}
		want := m.splitsOf(h)
		switch {
		case got.id != note.id:
			return nil, otherModel(h)
		case got.rows < 0:
			return nil, s.Violation(h, "it has no rows to predict for")
		case rows >= 0 && got.rows != rows:
			return nil, otherCount(h, got.rows, rows)
		case got.splits != want:
			return nil, s.Violation(h, fmt.Sprintf("its part of the model has %d splits where %d were expected", got.splits, want))
		}
		rows = got.rows
	}
	for _, ref := range m.Hosts {
		if len(ref.Splits) > 0 && !slices.Contains(s.Hosts(), ref.Party) {
			return nil, fault.Wrap(fault.Spec, ErrNeedsHosts, fmt.Sprintf("the model has splits of %s, which is no host of this job", ref.Party),
				"predict with the parties of the training")
		}
	}
	return m.collect(ctx, s, values, max(rows, 0))
}

// splitsOf is how many splits the model has of a party.
func (m *GuestModel) splitsOf(party string) int {
	for _, h := range m.Hosts {
		if h.Party == party {
			return len(h.Splits)
		}
	}
	return 0
}

// collect takes the hosts' sides block by block and walks the trees. Its memory
// grows with what has arrived, not with what a host says will.
func (m *GuestModel) collect(ctx context.Context, s *session.Session, values [][]float64, rows int) ([]float64, error) {
	var out []float64
	for first := 0; first < rows; first += blockRows {
		n := min(blockRows, rows-first)
		sides := make([][][]byte, len(m.Hosts))
		for k, h := range m.Hosts {
			count := len(h.Splits)
			if count == 0 {
				continue
			}
			err := s.Recv(ctx, h.Party, tagSides, count*bitBytes(n), decode(func(b []byte) (err error) {
				sides[k], err = parseSides(b, count, n)
				return err
			}))
			if err != nil {
				return nil, err
			}
		}
		out = append(out, make([]float64, n)...)
		if err := m.walk(ctx, out[first:], first, values, sides); err != nil {
			return nil, err
		}
		s.Progress(int64(len(out)), int64(rows), "rows")
	}
	return out, nil
}

// PredictHost is a host's side of a prediction: it tells the guest for every
// split of its part of the model which rows go left.
func PredictHost(ctx context.Context, s *session.Session, m *HostModel, cols []Column) error {
	values, rows, err := pick(m.Features, cols)
	if err != nil {
		return err
	}
	if rows < 0 {
		return fault.New(fault.Data, "the table of this party has no columns", "give the columns of the training")
	}
	note, err := newModelNote(m.ID, rows, len(m.Splits))
	if err != nil {
		return err
	}
	guest := s.Guest()
	var got modelNote
	if err := s.Recv(ctx, guest, tagModel, modelSize, &got); err != nil {
		return err
	}
	// The guest gets our note in any case, so that both sides can name what differs.
	if err := s.Send(ctx, guest, tagModel, note); err != nil {
		return err
	}
	switch {
	case got.id != note.id:
		return otherModel(guest)
	case got.rows >= 0 && got.rows != rows:
		return otherCount(guest, got.rows, rows)
	case got.splits != 0:
		return s.Violation(guest, "it claims splits of its own")
	}
	if len(m.Splits) == 0 {
		return nil
	}
	send := s.Send
	for first := 0; first < rows; first += blockRows {
		msg, err := m.sides(ctx, values, first, min(blockRows, rows-first))
		if err != nil {
			return err
		}
		if err := send(ctx, guest, tagSides, session.Bytes(msg)); err != nil {
			return err
		}
		send = s.SendMore
		s.Progress(int64(min(rows, first+blockRows)), int64(rows), "rows")
	}
	return nil
}

// sides returns for each split the set of rows in [first, first+n) that go left.
func (m *HostModel) sides(ctx context.Context, values [][]float64, first, n int) ([]byte, error) {
	size := bitBytes(n)
	out := make([]byte, len(m.Splits)*size)
	err := parallel.For(ctx, len(m.Splits), func(k int) error {
		sp, set := m.Splits[k], out[k*size:(k+1)*size]
		for i, x := range values[sp.Feature][first : first+n] {
			if left(x, sp.Threshold, sp.DefaultLeft) {
				set[i>>3] |= 1 << (i & 7)
			}
		}
		return nil
	})
	return out, err
}

func newModelNote(id string, rows, splits int) (*modelNote, error) {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 32 {
		return nil, fmt.Errorf("%w: its identifier %.80q is not 64 hex digits", ErrModel, id)
	}
	return &modelNote{id: [32]byte(raw), rows: rows, splits: splits}, nil
}

func otherModel(party string) error {
	return &fault.Error{Kind: fault.Data, Party: party, What: "it brought a part of another model", Err: ErrOtherModel,
		Cure: "name the same model at all parties"}
}

func otherCount(party string, got, want int) error {
	return &fault.Error{Kind: fault.Data, Party: party, What: fmt.Sprintf("its table has %d rows, ours has %d", got, want), Err: ErrRowCount,
		Cure: "align the tables in the same job before predicting"}
}
