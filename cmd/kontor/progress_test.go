package main

import (
	"strings"
	"testing"
	"time"

	"kontor/flow"
)

// clock is a time that a test moves on.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func show(tty bool, step time.Duration, events ...flow.Event) string {
	var b strings.Builder
	c := &clock{time.Unix(1000, 0)}
	p := newProgress(&b)
	p.tty, p.now = tty, c.now
	for _, e := range events {
		p.event(e)
		c.t = c.t.Add(step)
	}
	p.end()
	return b.String()
}

func trees(done int64) flow.Event {
	return flow.Event{Kind: flow.EventProgress, Party: "bank", Step: "boost", Done: done, Total: 60, Unit: "trees"}
}

func TestProgressInAPipeIsPlainLines(t *testing.T) {
	out := show(false, time.Second,
		flow.Event{Kind: flow.EventStart, Party: "bank", Step: "boost", Index: 3, Of: 4},
		flow.Event{Kind: flow.EventStart, Party: "telecom", Step: "boost", Index: 3, Of: 4},
		trees(0), trees(10), trees(20), trees(30), trees(40),
		flow.Event{Kind: flow.EventDone, Party: "bank", Step: "boost", Report: &flow.StepReport{Seconds: 5, Sent: 2_500_000}})
	if strings.ContainsAny(out, "\r\x1b") {
		t.Errorf("control characters in a pipe: %q", out)
	}
	if n := strings.Count(out, "[3/4] boost"); n != 1 {
		t.Errorf("the step is announced %d times", n)
	}
	if n := strings.Count(out, "trees"); n != 3 {
		t.Errorf("%d lines of progress in 5 s, want one in 2 s: %q", n, out)
	}
	for _, want := range []string{"20/60 trees, 10/s, ETA 4s", "40/60 trees, 10/s, ETA 2s", "bank: boost done in 5.00 s, sent 2.5 MB"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q does not say %q", out, want)
		}
	}
}

func TestProgressOnATerminalIsOneBar(t *testing.T) {
	out := show(true, time.Second, trees(0), trees(30), flow.Event{Kind: flow.EventNote, Party: "bank", Text: "hello"}, trees(60))
	if !strings.Contains(out, "[============            ] 30/60 trees, 30/s, ETA 1s") || !strings.Contains(out, "\r\x1b[Kbank: hello\n") {
		t.Errorf("%q", out)
	}
	if !strings.HasSuffix(out, "\r\x1b[K") {
		t.Errorf("the bar is left standing: %q", out)
	}
	if strings.Count(out, "\n") != 1 {
		t.Errorf("a bar stays on its line: %q", out)
	}
}

func TestProgressWithoutTotal(t *testing.T) {
	if got := describe(flow.Event{Step: "x", Done: 7, Unit: "ids"}, time.Second); got != "x 7 ids" {
		t.Error(got)
	}
}
