package boost

import (
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// readCSV reads a file of numbers whose first column is an id.
func readCSV(t testing.TB, name string) (header []string, rows map[string][]float64, order []string) {
	t.Helper()
	dir := os.Getenv("KONTOR_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("no real data (set KONTOR_DATA to the folder with %s): %v", name, err)
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows = map[string][]float64{}
	for _, r := range records[1:] {
		v := make([]float64, len(r)-1)
		for i := range v {
			if v[i], err = strconv.ParseFloat(r[i+1], 64); err != nil {
				t.Fatal(err)
			}
		}
		rows[r[0]] = v
		order = append(order, r[0])
	}
	return records[0][1:], rows, order
}

// credit is the default-of-credit-cards data set, joined on its id: 30,000 rows,
// 13 columns at the guest and 10 at the host. Three rows of ten are for testing.
func credit(t testing.TB) (w world, test []int) {
	t.Helper()
	gh, guest, order := readCSV(t, "default_credit_hetero_guest.csv")
	hh, host, _ := readCSV(t, "default_credit_hetero_host.csv")
	columns := func(header []string) []Column {
		cols := make([]Column, len(header))
		for c, name := range header {
			cols[c] = Column{name, make([]float64, 0, len(order))}
		}
		return cols
	}
	g, h := columns(gh), columns(hh)
	n := 0
	for _, id := range order {
		hv, ok := host[id]
		if !ok {
			continue
		}
		for c, x := range guest[id] {
			g[c].Values = append(g[c].Values, x)
		}
		for c, x := range hv {
			h[c].Values = append(h[c].Values, x)
		}
		if n%10 < 3 {
			test = append(test, n)
		} else {
			w.rows.Train = append(w.rows.Train, n)
		}
		n++
	}
	w.label, w.guest, w.hosts = g[0].Values, g[1:], [][]Column{h}
	if n != 30_000 || len(w.guest) != 13 || len(h) != 10 {
		t.Fatalf("%d rows, %d and %d columns", n, len(w.guest), len(h))
	}
	return w, test
}

func at(v []float64, rows []int) []float64 {
	out := make([]float64, len(rows))
	for k, i := range rows {
		out[k] = v[i]
	}
	return out
}

func TestCreditDefault(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: trains on 21,000 rows")
	}
	t.Parallel()
	w, test := credit(t)
	p := DefaultParams()
	p.Trees, p.LearningRate = 20, 0.25
	label := at(w.label, test)
	local := func(cols []Column) float64 {
		q := p
		q.Exact = true
		m, _, err := TrainLocal(context.Background(), cols, w.label, w.rows, q, nil)
		if err != nil {
			t.Fatal(err)
		}
		pred, err := m.PredictLocal(cols)
		if err != nil {
			t.Fatal(err)
		}
		return auc(at(pred, test), label)
	}
	alone, pooled := local(w.guest), local(w.pooled(t, p))
	o := w.mustTrain(t, p)
	federated := auc(at(w.predict(t, o), test), label)
	st := o.stats["bank"]
	t.Logf("test AUC: guest alone %.4f, federated %.4f, pooled %.4f; %s; %d bytes sent, %d received, %d rounds",
		alone, federated, pooled, o.hist.Kernel, st.BytesSent, st.BytesReceived, st.Rounds)
	if federated < pooled-0.003 || federated > pooled+0.003 {
		t.Errorf("federated AUC %.4f, pooled plaintext %.4f", federated, pooled)
	}
	if federated < alone+0.01 {
		t.Errorf("federated AUC %.4f, the guest alone %.4f", federated, alone)
	}
}

func BenchmarkTrainLocal(b *testing.B) {
	w, _ := credit(b)
	w.rows = Rows{Train: span(0, 30_000)}
	p := DefaultParams()
	cols := w.pooled(b, p)
	for b.Loop() {
		if _, _, err := TrainLocal(context.Background(), cols, w.label, w.rows, p, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTrainFederated(b *testing.B) {
	w, _ := credit(b)
	w.rows = Rows{Train: span(0, 30_000)}
	for b.Loop() {
		w.mustTrain(b, DefaultParams())
	}
}

func BenchmarkPredictLocal(b *testing.B) {
	w, _ := credit(b)
	p := DefaultParams()
	cols := w.pooled(b, p)
	m, _, err := TrainLocal(context.Background(), cols, w.label, w.rows, p, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := m.PredictLocal(cols); err != nil {
			b.Fatal(err)
		}
	}
}
