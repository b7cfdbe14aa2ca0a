package report

import (
	"math"
	"testing"
)

func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{fixed(0, 2), "0.00"}, {fixed(1234567.891, 1), "1,234,567.9"}, {fixed(-1234, 0), "\u22121,234"}, {fixed(999, 0), "999"},
		{fixed(-0.0001, 2), "0.00"}, {fixed(math.NaN(), 2), "–"}, {fixed(-1e300, 2), "\u22121e+300"}, {fixed(math.Inf(-1), 2), "–"},
		{signed(0.0145, 4), "+0.0145"}, {signed(-0.5, 1), "\u22120.5"}, {signed(0.00001, 3), "0.000"}, {signed(math.NaN(), 3), "–"},
		{percent(0.0682, 2), "6.82\u202f%"}, {percent(math.Inf(1), 0), "–"},
		{bytesText(0), "0\u202fB"}, {bytesText(999), "999\u202fB"}, {bytesText(1000), "1.00\u202fkB"}, {bytesText(12_340), "12.3\u202fkB"},
		{bytesText(999_600), "1.00\u202fMB"}, {bytesText(412_000_000), "412\u202fMB"}, {bytesText(math.MaxInt64), "9.22\u202fEB"}, {bytesText(-1), "–"},
		{seconds(0.014), "0.01"}, {seconds(12.34), "12.3"}, {seconds(132.44), "132.4"}, {seconds(-1), "–"},
		{known(0), "–"}, {known(4321), "4,321"}, {short("telecom", 5), "tele…"}, {short("bank", 5), "bank"}, {num(-0.01), "0"}, {num(3.14), "3.1"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lo, hi float64
		labels []string
	}{
		{0, 3.6, []string{"0", "1", "2", "3", "4"}},
		{0.735, 0.752, []string{"0.735", "0.740", "0.745", "0.750", "0.755"}},
		{0, 10, []string{"0.0", "2.5", "5.0", "7.5", "10.0"}},
		{0, 0, []string{"0.0000", "0.0002", "0.0004", "0.0006"}},
		{5, 5, []string{"4.998", "4.999", "5.000", "5.001", "5.002"}},
		{-3, math.NaN(), []string{"0.00", "0.25", "0.50", "0.75", "1.00"}},
	} {
		s := fit(c.lo, c.hi, 4)
		var got []string
		for _, v := range s.ticks {
			got = append(got, s.text(v))
		}
		if len(got) != len(c.labels) {
			t.Errorf("%v to %v: %q", c.lo, c.hi, got)
			continue
		}
		for i := range got {
			if got[i] != c.labels[i] {
				t.Errorf("%v to %v: %q, want %q", c.lo, c.hi, got, c.labels)
				break
			}
		}
	}
	for _, lo := range []float64{0, 1e-9, 0.123, 34.5, 9000} {
		for _, width := range []float64{0, 1e-7, 0.003, 0.6, 42, 900} {
			s := fit(lo, lo+width, 5)
			if slack := 1e-6 * (s.hi - s.lo); s.lo > lo+slack || s.hi < lo+width-slack || !(s.lo < s.hi) || len(s.ticks) < 2 || len(s.ticks) > 12 {
				t.Errorf("fit(%g, %g) is %g to %g with %d ticks", lo, lo+width, s.lo, s.hi, len(s.ticks))
			}
		}
	}
}
