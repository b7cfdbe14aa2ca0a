package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// units of sizes; those that FormatSize writes come first, largest first.
var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// ParseSize reads a number of bytes such as "2GiB", "1.5 TB" or "4096".
func ParseSize(s string) (int64, error) {
	bad := fmt.Errorf("%.40q is not a size", s)
	number, unit := strings.TrimSpace(s), int64(1)
	for _, u := range units {
		if n := len(number) - len(u.name); n > 0 && strings.EqualFold(number[n:], u.name) {
			number, unit = strings.TrimSpace(number[:n]), u.bytes
			break
		}
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/unit {
			return 0, bad
		}
		return n * unit, nil
	}
	if strings.Trim(number, "0123456789.") != "" { // ParseFloat takes more than people mean
		return 0, bad
	}
	x, err := strconv.ParseFloat(number, 64)
	if err != nil || x*float64(unit) >= 1<<62 {
		return 0, bad
	}
	return int64(x * float64(unit)), nil
}

// FormatSize writes n such that [ParseSize] reads it back exactly, in the
// largest unit that divides it.
func FormatSize(n int64) string {
	for _, u := range units[:4] {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

const day = 24 * time.Hour

// ParseDuration reads what [time.ParseDuration] does, and whole days: "30d".
func ParseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%.40q is not a duration", s)
		}
		return time.Duration(days) * day, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a duration", s)
	}
	return d, nil
}

// FormatDuration writes d such that [ParseDuration] reads it back, "24h" rather
// than "24h0m0s".
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
