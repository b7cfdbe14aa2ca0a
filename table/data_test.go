package table

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRealData reads the data sets of other people's tools, whose headers and
// id columns differ, as real data does.
func TestRealData(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("KONTOR_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	for _, tt := range []struct {
		file       string
		rows, cols int
		id         string
		types      map[string]Type
	}{
		{"default_credit_hetero_guest.csv", 30_000, 15, "id", map[string]Type{"y": Int, "x0": Float, "x12": Float}},
		{"default_credit_hetero_host.csv", 30_000, 11, "id", map[string]Type{"x9": Float}},
		{"default_credit_homo_guest.csv", 8_000, 25, "id", map[string]Type{"x22": Float}},
		{"default_credit_homo_host_1.csv", 8_000, 25, "id", nil},
		{"default_credit_homo_host_2.csv", 8_000, 25, "id", nil},
		{"default_credit_homo_test.csv", 6_000, 25, "id", nil},
		{"breast_hetero_guest.csv", 569, 12, "id", map[string]Type{"y": Int, "x0": Float}},
		{"breast_hetero_host.csv", 569, 21, "id", nil},
		{"vehicle_scale_hetero_guest.csv", 846, 11, "id", map[string]Type{"y": Int}},
		{"vehicle_scale_hetero_host.csv", 846, 10, "id", nil},
		{"motor_hetero_guest.csv", 800, 6, "idx", map[string]Type{"motor_speed": Float}},
		{"motor_hetero_host_1.csv", 800, 4, "idx", nil},
		{"motor_hetero_host_2.csv", 800, 5, "idx", nil},
		{"dvisits_hetero_guest.csv", 5_190, 5, "id", map[string]Type{"doctorco": Int}},
		{"dvisits_hetero_host.csv", 5_190, 10, "id", map[string]Type{"age": Float, "illness": Int}},
		{"germancredit.csv", 1_000, 21, "", map[string]Type{"purpose": String, "credit_amount": Int, "creditability": String}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, tt.file)
			if _, err := os.Stat(path); err != nil {
				t.Skipf("set KONTOR_DATA to the folder that holds %s", tt.file)
			}
			o := Options{}
			if tt.id != "" {
				o.Types = map[string]Type{tt.id: String}
			}
			tb, err := Read(t.Context(), path, o)
			if err != nil {
				t.Fatal(err)
			}
			if tb.Len() != tt.rows || len(tb.Columns()) != tt.cols {
				t.Errorf("got %d rows and %d columns, want %d and %d", tb.Len(), len(tb.Columns()), tt.rows, tt.cols)
			}
			for name, want := range tt.types {
				if c, ok := tb.Column(name); !ok || c.Type() != want {
					t.Errorf("column %s: got %v, want %s", name, c.Type(), want)
				}
			}
			for _, c := range tb.Columns() {
				if n := c.MissingCount(); n != 0 {
					t.Errorf("column %s: %d values are missing, want none", c.Name(), n)
				}
			}
			if tt.id != "" {
				if ids, err := IDs(tb, tt.id); err != nil || len(ids) != tt.rows {
					t.Errorf("got %d ids, %v", len(ids), err)
				}
			}
			// Parquet must give back the same table.
			copied := filepath.Join(t.TempDir(), "copy.parquet")
			write(t, copied, tb)
			again, err := Read(t.Context(), copied, Options{})
			if err != nil {
				t.Fatal(err)
			}
			same(t, again, tb)
		})
	}
}
