package table

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

// trim removes ASCII white space at both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && b[0] <= ' ' && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && b[len(b)-1] <= ' ' && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isDigit(c byte) bool { return c-'0' <= 9 }

// parseInt reads [+-]digits that fit an int64.
func parseInt(b []byte) (int64, bool) {
	s := b
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		s = s[1:]
	}
	if len(s) == 0 {
		return 0, false
	}
	if len(s) > 18 { // may overflow: let the library judge
		for _, c := range s {
			if !isDigit(c) {
				return 0, false
			}
		}
		v, err := strconv.ParseInt(string(b), 10, 64)
		return v, err == nil
	}
	var v int64
	for _, c := range s {
		if !isDigit(c) {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	if b[0] == '-' {
		v = -v
	}
	return v, true
}

// The powers of ten that a float64 holds exactly.
var pow10 = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// parseFloat reads [+-]digits[.digits][e[+-]digits] with a digit on at least
// one side of the point, or an infinity. NaN, hexadecimal, thousands
// separators and what exceeds a float64 are not numbers.
func parseFloat(b []byte) (float64, bool) {
	i, n := 0, len(b)
	neg := false
	if n > 0 && (b[0] == '-' || b[0] == '+') {
		neg = b[0] == '-'
		i = 1
	}
	var mant uint64
	digits, frac := 0, 0
	start := i
	for ; i < n && isDigit(b[i]); i++ {
		mant = mant*10 + uint64(b[i]-'0')
	}
	digits = i - start
	if i < n && b[i] == '.' {
		i++
		start = i
		for ; i < n && isDigit(b[i]); i++ {
			mant = mant*10 + uint64(b[i]-'0')
		}
		frac = i - start
		digits += frac
	}
	if digits == 0 {
		return parseInf(b, neg)
	}
	if i == n {
		// At most 19 digits did not overflow mant; below 2^53 mantissa and
		// power are both exact, so one division rounds correctly.
		if digits <= 19 && mant < 1<<53 && frac < len(pow10) {
			v := float64(mant)
			if frac > 0 {
				v /= pow10[frac]
			}
			if neg {
				v = -v
			}
			return v, true
		}
	} else if !isExponent(b[i:]) {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(b), 64)
	return v, err == nil
}

func isExponent(b []byte) bool {
	if b[0] != 'e' && b[0] != 'E' {
		return false
	}
	b = b[1:]
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		b = b[1:]
	}
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return len(b) > 0
}

func parseInf(b []byte, neg bool) (float64, bool) {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		b = b[1:]
	}
	if !foldEqual(b, "inf") && !foldEqual(b, "infinity") {
		return 0, false
	}
	if neg {
		return math.Inf(-1), true
	}
	return math.Inf(1), true
}

func parseBool(b []byte) (v, ok bool) {
	if len(b) == 0 || len(b) > 5 {
		return false, false
	}
	switch {
	case foldEqual(b, "true"), foldEqual(b, "yes"), foldEqual(b, "t"):
		return true, true
	case foldEqual(b, "false"), foldEqual(b, "no"), foldEqual(b, "f"):
		return false, true
	}
	return false, false
}

// foldEqual compares ASCII letters regardless of case; lower is lower case.
func foldEqual(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// parseTime reads 2006-01-02, optionally followed by T or a space and
// 15:04:05, optionally with a fraction of a second (cut to microseconds),
// optionally with a zone: Z, +07:00 or +07. Without a zone it is UTC. The
// result is in microseconds since 1970.
func parseTime(b []byte) (int64, bool) {
	if len(b) < 10 || b[4] != '-' || b[7] != '-' {
		return 0, false
	}
	year, ok1 := number(b[0:4])
	month, ok2 := number(b[5:7])
	day, ok3 := number(b[8:10])
	if !ok1 || !ok2 || !ok3 || year < 1 || month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, false
	}
	date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if date.Day() != day { // 30 February
		return 0, false
	}
	us := date.Unix() * 1e6
	b = b[10:]
	if len(b) == 0 {
		return us, true
	}
	if len(b) < 9 || b[0] != 'T' && b[0] != ' ' || b[3] != ':' || b[6] != ':' {
		return 0, false
	}
	hour, ok1 := number(b[1:3])
	minute, ok2 := number(b[4:6])
	second, ok3 := number(b[7:9])
	if !ok1 || !ok2 || !ok3 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	us += int64(hour*3600+minute*60+second) * 1e6
	b = b[9:]
	if len(b) > 0 && b[0] == '.' {
		b = b[1:]
		unit := int64(1e5)
		k := 0
		for ; k < len(b) && isDigit(b[k]); k++ {
			us += int64(b[k]-'0') * unit
			unit /= 10
		}
		if k == 0 {
			return 0, false
		}
		b = b[k:]
	}
	off, ok := parseZone(b)
	return us - off*1e6, ok
}

// parseZone returns the offset from UTC in seconds.
func parseZone(b []byte) (int64, bool) {
	switch {
	case len(b) == 0, len(b) == 1 && b[0] == 'Z':
		return 0, true
	case b[0] != '+' && b[0] != '-', len(b) != 3 && (len(b) != 6 || b[3] != ':'):
		return 0, false
	}
	hour, ok := number(b[1:3])
	minute := 0
	if ok && len(b) == 6 {
		minute, ok = number(b[4:6])
	}
	if !ok || hour > 23 || minute > 59 {
		return 0, false
	}
	off := int64(hour*3600 + minute*60)
	if b[0] == '-' {
		off = -off
	}
	return off, true
}

func number(b []byte) (int, bool) {
	v := 0
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return v, true
}

// DefaultMissing lists the cells that stand for a missing value, besides an
// empty one. White space around them does not count, case does: "none" is a
// value, "None" is what Python writes for nothing.
func DefaultMissing() []string {
	return []string{
		"NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "NaT",
		"null", "NULL", "Null", "None", `\N`, "?", "-", ".",
	}
}

var defaultTokens = newTokens(DefaultMissing())

// tokens is a set of short texts with a quick way to say no.
type tokens struct {
	set     map[string]bool
	lengths uint64 // bit n: some token has n bytes; bit 63: 63 and more
}

func newTokens(list []string) *tokens {
	t := &tokens{set: make(map[string]bool, len(list))}
	for _, s := range list {
		s = string(trim([]byte(s)))
		t.set[s] = true
		t.lengths |= 1 << min(len(s), 63)
	}
	return t
}

func (t *tokens) has(b []byte) bool {
	return t.lengths>>min(len(b), 63)&1 != 0 && t.set[string(b)]
}

// hasLoneCR reports whether b has a carriage return that ends no Windows line.
func hasLoneCR(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '\r')
		if i < 0 || i+1 == len(b) {
			return false
		}
		if b[i+1] != '\n' {
			return true
		}
		b = b[i+1:]
	}
}
