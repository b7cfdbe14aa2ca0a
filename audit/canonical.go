package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxDetail = 64 << 10 // bytes of an event's detail in canonical form
	maxText   = 8 << 10  // bytes of one string in it
	maxDepth  = 16
	redacted  = "(redacted)"
)

// canonical returns v as the one text that is hashed and signed: JSON without white space, members
// sorted by the bytes of their names, whole numbers only, nothing
// escaped that need not be. v is made of what [clean] returns.
func canonical(v any) []byte {
	var b bytes.Buffer
	write(&b, v)
	return b.Bytes()
}

func write(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case string:
		quote(b, v)
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			write(b, e)
		}
		b.WriteByte(']')
	case map[string]any:
		names := make([]string, 0, len(v))
		for n := range v {
			names = append(names, n)
		}
		slices.Sort(names)
		b.WriteByte('{')
		for i, n := range names {
			if i > 0 {
				b.WriteByte(',')
			}
			quote(b, n)
			b.WriteByte(':')
			write(b, v[n])
		}
		b.WriteByte('}')
	default:
		panic(fmt.Sprintf("audit: a %T in canonical form", v)) // our own mistake: clean makes no others
	}
}

// quote writes s as JSON does where it escapes only what it must: as RFC 8785, and
// as Python's json.dumps with ensure_ascii=False.
func quote(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s { // bytes that are no UTF-8 become U+FFFD
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= 0x20:
			b.WriteRune(r)
		case strings.ContainsRune("\b\t\n\f\r", r):
			b.WriteByte('\\')
			b.WriteByte("btn-fr"[r-'\b'])
		default:
			fmt.Fprintf(b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
}

// clean returns an event's detail as it goes into the log: as JSON would have it,
// with secrets replaced, numbers that are not whole as text, and bounded.
func clean(detail map[string]any) map[string]any {
	if len(detail) == 0 {
		return map[string]any{}
	}
	raw, err := json.Marshal(detail)
	if err != nil { // a NaN, a channel: the event is recorded all the same
		return map[string]any{"unreadable": short(err.Error(), maxText)}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		return map[string]any{"unreadable": short(err.Error(), maxText)}
	}
	out := wash("", v, 0).(map[string]any)
	if text := canonical(out); len(text) > maxDetail {
		sum := sha256.Sum256(text)
		return map[string]any{"cut": true, "bytes": int64(len(text)), "sha256": hex.EncodeToString(sum[:])}
	}
	return out
}

// wash returns v, the value of member name, without secrets.
func wash(name string, v any, depth int) any {
	if v != nil && secret(name) {
		return redacted
	}
	if depth > maxDepth {
		return "(nested too deeply)"
	}
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case string:
		return short(mask(v), maxText)
	case []any:
		for i := range v {
			v[i] = wash("", v[i], depth+1)
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for n, e := range v {
			out[short(mask(n), maxActor)] = wash(n, e, depth+1)
		}
		return out
	}
	return v
}

// number returns a whole number that every JSON reader reads exactly as such, and
// anything else as text.
func number(n json.Number) any {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil && i <= 1<<53 && i >= -1<<53 {
		return i
	}
	if f, err := n.Float64(); err == nil && f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
		return int64(f)
	}
	return string(n)
}

// secrets are parts of names under which no value goes into the log.
var secrets = []string{"token", "secret", "passw", "passphrase", "dsn", "credential", "private", "apikey", "authoriz", "bearer", "cookie", "seed", "nonce"}

// secret reports whether a member of this name could hold a secret.
func secret(name string) bool {
	n := strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' || r == '.' {
			return -1
		}
		return r
	}, strings.ToLower(name))
	return slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(n, s) }) || strings.HasSuffix(n, "key") && n != "publickey" && n != "joinkey"
}

var (
	userinfo = regexp.MustCompile(`://\S*@`)
	mysqlDSN = regexp.MustCompile(`[^\s:/@]+:[^\s@]*@(tcp|unix)\b`)
	assigned = regexp.MustCompile(`(?i)\b(password|passwd|pwd|token|secret|api[_-]?key)(\s*[=:]\s*)('[^']*'|"[^"]*"|[^\s&;,]+)`)
	bearer   = regexp.MustCompile(`(?i)\bbearer\s+\S+`)
	pem      = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)
)

// mask takes what looks like a credential out of a text.
func mask(s string) string {
	s = pem.ReplaceAllLiteralString(s, redacted)
	s = userinfo.ReplaceAllLiteralString(s, "://"+redacted+"@")
	s = mysqlDSN.ReplaceAllString(s, redacted+"@$1")
	s = bearer.ReplaceAllLiteralString(s, redacted)
	return assigned.ReplaceAllString(s, "$1$2"+redacted)
}

// short cuts s to about n bytes.
func short(s string, n int) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if len(s) <= n {
		return s
	}
	cut := n
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:cut], len(s))
}

// parse reads one JSON value of the kinds that canonical writes. It refuses what a
// second reader could understand otherwise: a member twice, a number that is not
// whole, anything after the value.
func parse(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the value")
	}
	return v, nil
}

func value(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth+4 {
		return nil, fmt.Errorf("nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("not JSON")
	}
	switch t := t.(type) {
	case json.Number:
		i, err := strconv.ParseInt(string(t), 10, 64)
		if err != nil || strconv.FormatInt(i, 10) != string(t) {
			return nil, fmt.Errorf("%.40s is not a whole number", t)
		}
		return i, nil
	case json.Delim:
		if t == '[' {
			return array(d, depth)
		}
		return object(d, depth)
	}
	return t, nil
}

func array(d *json.Decoder, depth int) (any, error) {
	out := []any{}
	for d.More() {
		v, err := value(d, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := d.Token()
	return out, err
}

func object(d *json.Decoder, depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON")
		}
		name, _ := t.(string)
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("the member %.40q occurs twice", name)
		}
		if out[name], err = value(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return out, err
}
