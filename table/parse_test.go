package table

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseInt(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{
		"0": 0, "-0": 0, "+7": 7, "-42": -42, "007": 7,
		"999999999999999999":   999999999999999999,
		"9223372036854775807":  math.MaxInt64,
		"-9223372036854775808": math.MinInt64,
	} {
		if got, ok := parseInt([]byte(s)); !ok || got != want {
			t.Errorf("parseInt(%q) = %d, %t, want %d", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "-", "+", "1.0", "1e3", "1_000", "1,000", "0x10", "9223372036854775808", "12345678901234567890a", "--1", "１"} {
		if got, ok := parseInt([]byte(s)); ok {
			t.Errorf("parseInt(%q) = %d, want a refusal", s, got)
		}
	}
}

func TestParseFloat(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]float64{
		"0": 0, "1": 1, "-1.5": -1.5, "+.5": .5, "5.": 5, "1e3": 1e3, "1E-3": 1e-3, "2.5e+2": 250,
		"-0.29332600000000003": -0.29332600000000003, "9007199254740993": 9007199254740992,
		"0.1": 0.1, "123456789012345678901234567890": 123456789012345678901234567890,
		"1e-400": 0, "inf": math.Inf(1), "-Inf": math.Inf(-1), "+Infinity": math.Inf(1),
		"0.00000000000000000000000123": 1.23e-24, "1234567890123456789": 1234567890123456789,
	} {
		if got, ok := parseFloat([]byte(s)); !ok || got != want {
			t.Errorf("parseFloat(%q) = %g, %t, want %g", s, got, ok, want)
		}
	}
	if v, ok := parseFloat([]byte("-0")); !ok || !math.Signbit(v) {
		t.Error("parseFloat(-0) loses the sign")
	}
	for _, s := range []string{"", "-", ".", "e5", "1e", "1e+", "1e400", "nan", "NaN", "0x1p-2", "1_0", "1,5", "$5", "5%", "1 0", "1.2.3", "infinit", "--1", "+-1"} {
		if got, ok := parseFloat([]byte(s)); ok {
			t.Errorf("parseFloat(%q) = %g, want a refusal", s, got)
		}
	}
}

// The short way must round exactly as the library does.
func TestParseFloatAgainstLibrary(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	for range 50_000 {
		v := math.Float64frombits(rng.Uint64())
		if rng.IntN(2) == 0 {
			v = rng.NormFloat64() * math.Pow10(rng.IntN(12))
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		prec := rng.IntN(20) - 1
		s := strconv.FormatFloat(v, "feg"[rng.IntN(3)], prec, 64)
		if len(s) > 400 {
			continue
		}
		want, err := strconv.ParseFloat(s, 64)
		got, ok := parseFloat([]byte(s))
		if ok != (err == nil) || ok && math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("parseFloat(%q) = %g, %t, want %g, %v", s, got, ok, want, err)
		}
	}
}

func TestParseBool(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"true", "TRUE", "True", "yes", "Yes", "t", "T"} {
		if v, ok := parseBool([]byte(s)); !v || !ok {
			t.Errorf("parseBool(%q) = %t, %t", s, v, ok)
		}
	}
	for _, s := range []string{"false", "no", "NO", "f"} {
		if v, ok := parseBool([]byte(s)); v || !ok {
			t.Errorf("parseBool(%q) = %t, %t", s, v, ok)
		}
	}
	for _, s := range []string{"", "0", "1", "y", "n", "on", "truest", "tru"} {
		if _, ok := parseBool([]byte(s)); ok {
			t.Errorf("parseBool(%q) accepts", s)
		}
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"2024-02-29":                       "2024-02-29T00:00:00Z",
		"2024-02-29 13:14:15":              "2024-02-29T13:14:15Z",
		"2024-02-29T13:14:15":              "2024-02-29T13:14:15Z",
		"2024-02-29T13:14:15Z":             "2024-02-29T13:14:15Z",
		"2024-02-29T13:14:15+07:00":        "2024-02-29T06:14:15Z",
		"2024-02-29 13:14:15-05":           "2024-02-29T18:14:15Z",
		"2024-02-29T13:14:15.123456789Z":   "2024-02-29T13:14:15.123456Z",
		"1969-12-31T23:59:59.5Z":           "1969-12-31T23:59:59.5Z",
		"0001-01-01":                       "0001-01-01T00:00:00Z",
		"9999-12-31T23:59:59.999999+00:00": "9999-12-31T23:59:59.999999Z",
	} {
		us, ok := parseTime([]byte(s))
		if got := time.UnixMicro(us).UTC().Format(time.RFC3339Nano); !ok || got != want {
			t.Errorf("parseTime(%q) = %s, %t, want %s", s, got, ok, want)
		}
	}
	for _, s := range []string{
		"", "2024", "2024-13-01", "2024-00-10", "2023-02-29", "2024-02-30", "24-02-01", "2024/02/01", "01.02.2024", "0000-01-01",
		"2024-02-01 ", "2024-02-01T", "2024-02-01 24:00:00", "2024-02-01 10:60:00", "2024-02-01 10:00:60", "2024-02-01 10:00",
		"2024-02-01T10:00:00.", "2024-02-01T10:00:00,5", "2024-02-01T10:00:00z", "2024-02-01T10:00:00+7", "2024-02-01T10:00:00+24:00", "2024-02-01T10:00:00+07:00x", "20240201",
	} {
		if us, ok := parseTime([]byte(s)); ok {
			t.Errorf("parseTime(%q) = %s, want a refusal", s, time.UnixMicro(us).UTC())
		}
	}
}

func TestMissingTokens(t *testing.T) {
	t.Parallel()
	tok := newTokens([]string{" -999 ", strings.Repeat("x", 80)})
	for s, want := range map[string]bool{"-999": true, "-99": false, strings.Repeat("x", 80): true, strings.Repeat("x", 81): false, "": false} {
		if got := tok.has([]byte(s)); got != want {
			t.Errorf("has(%q) = %t", s, got)
		}
	}
	for _, s := range []string{"none", "na", "unknown", "0"} {
		if defaultTokens.has([]byte(s)) {
			t.Errorf("%q is taken for missing", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1", "-1.5e3", "9223372036854775808", "2024-02-29T13:14:15.5+07:00", "inf", "true", "1_0", "0x1p3", "٣"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		i, isInt := parseInt(b)
		v, isFloat := parseFloat(b)
		if isInt {
			want, err := strconv.ParseInt(string(b), 10, 64)
			if err != nil || want != i || !isFloat {
				t.Fatalf("parseInt(%q) = %d; library %d, %v; as float %t", b, i, want, err, isFloat)
			}
		}
		if isFloat {
			want, err := strconv.ParseFloat(string(b), 64)
			if err != nil || math.Float64bits(want) != math.Float64bits(v) {
				t.Fatalf("parseFloat(%q) = %g; library %g, %v", b, v, want, err)
			}
			again, ok := parseFloat(appendFloat(nil, v))
			if !ok || again != v {
				t.Fatalf("%g does not survive its text", v)
			}
		}
		if us, ok := parseTime(b); ok {
			c := Column{typ: Time, n: 1, ints: []int64{us}}
			again, ok := parseTime([]byte(c.Text(0)))
			// A zone may carry the year 1 or 9999 out of what can be written.
			if y := time.UnixMicro(us).UTC().Year(); y >= 1 && y <= 9999 && (!ok || again != us) {
				t.Fatalf("parseTime(%q) = %d does not survive its text %q", b, us, c.Text(0))
			}
		}
		parseBool(b)
		trim(b)
	})
}
