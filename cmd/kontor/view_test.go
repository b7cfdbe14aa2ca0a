package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"kontor/api/rest"
)

// screen plays what a view writes to a terminal and returns what stands there.
func screen(t *testing.T, out string) string {
	t.Helper()
	var rows []string
	for out != "" {
		esc := strings.IndexByte(out, '\x1b')
		if esc < 0 {
			esc = len(out)
		}
		for l := range strings.Lines(out[:esc]) {
			rows = append(rows, strings.TrimSuffix(strings.TrimPrefix(l, "\r"), "\n"))
		}
		if out = out[esc:]; out == "" {
			break
		}
		up := 0
		if _, err := fmt.Sscanf(out, "\x1b[%dA\r\x1b[J", &up); err != nil || up > len(rows) {
			t.Fatalf("%q after %d rows: %v", out[:min(20, len(out))], len(rows), err)
		}
		rows = rows[:len(rows)-up]
		out = out[strings.Index(out, "[J")+2:]
	}
	return strings.Join(rows, "\n")
}

func event(t *testing.T, kind string, v any) rest.Event {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return rest.Event{Type: kind, Data: b}
}

// TestViewOnTerminal redraws a block in place: one line for the job, one a step.
func TestViewOnTerminal(t *testing.T) {
	var out bytes.Buffer
	now := day
	v := newView(&out, &rest.Job{ID: "0123456789abcdef", Name: "churn", State: rest.Running,
		Steps: []rest.JobStep{{Name: "align", State: "pending"}, {Name: "boost", State: "pending"}}})
	v.tty, v.width, v.now = true, 60, func() time.Time { return now }
	v.begin()
	for i := range 50 { // faster than a person can see: not all are drawn
		now = now.Add(10 * time.Millisecond)
		v.event(event(t, rest.EventProgress, rest.JobStep{Name: "align", State: "running", Done: int64(i), Total: 50, Unit: "ids"}))
	}
	if n := strings.Count(out.String(), "\x1b["); n > 2*10 {
		t.Errorf("drawn %d times in half a second", n/2)
	}
	v.event(event(t, rest.EventLog, rest.LogLine{Level: "warn", Text: "the link is slow"}))
	v.event(event(t, rest.EventLog, rest.LogLine{Level: "info", Text: "not for here"}))
	v.event(rest.Event{Type: rest.EventStep, Data: json.RawMessage(`"from a newer node"`)})
	v.event(event(t, rest.EventStep, rest.JobStep{Name: "align", State: "done", Seconds: 2, Sent: 10}))
	v.event(event(t, rest.EventStep, rest.JobStep{Name: "boost", State: "running", Attempt: 2, Done: 3, Unit: "trees", LastError: strings.Repeat("very ", 50) + "long\x1b[2J"}))
	v.event(event(t, rest.EventState, rest.StateEvent{State: rest.Done}))
	v.end()
	want := "the link is slow\njob 0123456789ab churn: done\n  align  done     2.00 s, sent 10 B\n  boost  running  3 trees attempt 2 after: very very very v"
	if got := screen(t, out.String()); got != want {
		t.Errorf("the screen shows\n%s\nwant\n%s", got, want)
	}
}

func TestTextsOfOthersAreCleaned(t *testing.T) {
	for in, want := range map[string]string{
		"a\x1b[31mb":     "a\ufffd[31mb",
		"tab\tline\n":    "tab\tline\n",
		"\u202eevil":     "\ufffdevil",
		"\u4e2d\u6587 ü": "\u4e2d\u6587 ü",
		"\u009b2J\x07":   "\ufffd2J\ufffd",
		"bad \xff utf8":  "bad \ufffd utf8",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	if got := fit("\u4e2d\u6587abc", 5); got != "\u4e2d\u6587a" {
		t.Errorf("cut to %q", got)
	}
}

func TestBar(t *testing.T) {
	for want, s := range map[string]rest.JobStep{
		"":       {},
		"7 rows": {Done: 7, Unit: "rows"},
		"[=====     ] 5/10 trees, 2/s, ETA 1m30s": {Done: 5, Total: 10, Unit: "trees", Rate: 2, ETA: 90},
		"[==========] 11/10":                      {Done: 11, Total: 10},
		"[          ] -1/10":                      {Done: -1, Total: 10},
	} {
		if got := bar(s, 10); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
}

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"":           {},
		"24h":        now.Add(24 * time.Hour),
		"2026-03-01": time.Date(2026, 3, 2, 0, 0, 0, 0, time.Local), // with the end of the day
		"2030-01-31": time.Date(2030, 2, 1, 0, 0, 0, 0, time.Local),
	} {
		if got, err := expiry(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"-1h", "2026-02-28", "tomorrow", "0s"} {
		if got, err := expiry(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
