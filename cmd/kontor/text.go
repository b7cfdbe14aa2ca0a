package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"kontor/internal/fault"
)

// show prints v as one JSON object, or what text writes.
func (a *app) show(v any, text func(w io.Writer)) error {
	if a.json {
		return a.printJSON(v)
	}
	w := &failing{w: a.out}
	text(cleaner{w})
	return w.err
}

// cleaner replaces what could steer a terminal or turn text around: much of what
// is shown was written by other institutions. It is given whole texts.
type cleaner struct{ w io.Writer }

func (c cleaner) Write(b []byte) (int, error) {
	if _, err := io.WriteString(c.w, clean(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// clean returns text without control and format characters but for line ends and tabs.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) && r != utf8.RuneError {
			return r
		}
		return '\ufffd'
	}, text)
}

// line returns text as one line, for a cell or a sentence.
func line(text string) string { return strings.Join(strings.Fields(text), " ") }

// grid writes rows in columns. Cells are made single lines, the first keeps its
// indentation; empty last ones leave no blanks.
func grid(out io.Writer, rows ...[]string) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		for i := range r {
			indent := ""
			if i == 0 {
				indent = r[0][:len(r[0])-len(strings.TrimLeft(r[0], " "))]
			}
			r[i] = indent + line(r[i])
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	w.Flush() // into memory: cannot fail
	for l := range strings.Lines(b.String()) {
		io.WriteString(out, strings.TrimRight(l, " \n")+"\n")
	}
}

// pairs writes a name and a value a line, without those that are empty.
func pairs(out io.Writer, kv ...string) {
	var rows [][]string
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			rows = append(rows, []string{kv[i], kv[i+1]})
		}
	}
	grid(out, rows...)
}

// when is a point in time for a person; "" for none.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// short is the beginning of an identifier, enough to name the thing.
func short(id string) string { return id[:min(len(id), 12)] }

// split reads NAME=VALUE of a flag.
func split(flag, arg string) (name, value string, err error) {
	name, value, ok := strings.Cut(arg, "=")
	if !ok || name == "" || value == "" {
		return "", "", fault.New(fault.Usage, fmt.Sprintf("--%s %q is not of the form NAME=VALUE", flag, arg), "see kontor --help")
	}
	return name, value, nil
}

// splitAll reads the values of a flag that may be repeated.
func splitAll(flag string, args []string) (map[string]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, arg := range args {
		name, value, err := split(flag, arg)
		if err != nil {
			return nil, err
		}
		if old, twice := out[name]; twice {
			return nil, fault.New(fault.Usage, fmt.Sprintf("--%s names %s twice, with %q and %q", flag, name, old, value), "give it once")
		}
		out[name] = value
	}
	return out, nil
}

// orNone returns s, or what stands for nothing.
func orNone(s, none string) string { return cmp.Or(s, none) }

// cut shortens a text that would fill the screen; the JSON has it whole.
func cut(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}
