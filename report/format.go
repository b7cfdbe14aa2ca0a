package report

import (
	"math"
	"strconv"
	"strings"
)

// dash stands for a number that is not known or not finite.
const dash = "–"

// minus is the sign that is as wide as a plus.
const minus = "\u2212"

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// fixed writes v with the given decimals, and groups its thousands.
func fixed(v float64, decimals int) string {
	if !finite(v) {
		return dash
	}
	if math.Abs(v) >= 1e15 { // not a figure of ours; keep it short
		return strings.Replace(strconv.FormatFloat(v, 'g', 3, 64), "-", minus, 1)
	}
	s := strconv.FormatFloat(math.Abs(v), 'f', decimals, 64)
	whole, frac, point := strings.Cut(s, ".")
	var b strings.Builder
	if v < 0 && strings.Trim(s, "0.") != "" {
		b.WriteString(minus)
	}
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	if point {
		b.WriteByte('.')
		b.WriteString(frac)
	}
	return b.String()
}

func count(n int) string     { return fixed(float64(n), 0) }
func count64(n int64) string { return fixed(float64(n), 0) }

// known is count, and a dash for 0.
func known(n int) string {
	if n == 0 {
		return dash
	}
	return count(n)
}

// signed writes a difference with its sign.
func signed(v float64, decimals int) string {
	s := fixed(v, decimals)
	if s != dash && v > 0 && strings.Trim(s, "0.") != "" {
		return "+" + s
	}
	return s
}

func percent(v float64, decimals int) string {
	s := fixed(100*v, decimals)
	if s == dash {
		return s
	}
	return s + "\u202f%"
}

// bytesText writes a size in decimal units, three digits.
func bytesText(n int64) string {
	if n < 0 {
		return dash
	}
	v, unit := float64(n), 0
	units := [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	for v >= 999.5 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	decimals := 0
	if unit > 0 {
		decimals = max(0, 2-int(math.Log10(math.Max(v, 1))))
	}
	return fixed(v, decimals) + "\u202f" + units[unit]
}

// seconds writes a duration in seconds, finer the shorter.
func seconds(v float64) string {
	switch {
	case !finite(v) || v < 0:
		return dash
	case v < 10:
		return fixed(v, 2)
	}
	return fixed(v, 1)
}

// short cuts a name for places that cannot wrap.
func short(s string, runes int) string {
	r := []rune(s)
	if len(r) <= runes {
		return s
	}
	return string(r[:runes-1]) + "…"
}
