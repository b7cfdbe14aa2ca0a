package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"kontor/flow"
)

// progress shows how a job goes on: a bar that is redrawn on a terminal, plain
// lines elsewhere.
type progress struct {
	mu      sync.Mutex
	w       io.Writer
	tty     bool
	now     func() time.Time
	began   map[string]time.Time // by party, step and unit
	drawn   time.Time
	onLine  bool // a bar stands on the current line
	started map[string]bool
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, now: time.Now, began: map[string]time.Time{}, started: map[string]bool{}}
	if f, ok := w.(*os.File); ok {
		p.tty = term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	}
	return p
}

// Every party's events come here; a step is announced once, by whoever begins it first.
func (p *progress) event(e flow.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case flow.EventStart:
		if !p.tty && !p.started[e.Step] {
			p.line("[%d/%d] %s", e.Index, e.Of, e.Step)
		}
		p.started[e.Step] = true
	case flow.EventProgress:
		p.progress(e)
	case flow.EventDone:
		r := e.Report
		p.line("%s: %s done in %.2f s, sent %s", e.Party, e.Step, r.Seconds, bytesText(r.Sent))
	case flow.EventNote:
		who := e.Party
		if e.Step != "" {
			who += ", " + e.Step
		}
		p.line("%s: %s", who, e.Text)
	}
}

func (p *progress) progress(e flow.Event) {
	key := e.Party + "\x00" + e.Step + "\x00" + e.Unit
	now := p.now()
	if _, ok := p.began[key]; !ok {
		p.began[key] = now
	}
	pause := 2 * time.Second
	if p.tty {
		pause = 100 * time.Millisecond
	}
	if now.Sub(p.drawn) < pause {
		return
	}
	p.drawn = now
	text := describe(e, now.Sub(p.began[key]))
	if !p.tty {
		p.line("%s", text)
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	p.onLine = true
}

// describe gives "bank: boost [====    ] 12/60 trees, 3.1/s, ETA 15 s".
func describe(e flow.Event, since time.Duration) string {
	who := e.Step
	if e.Party != "" {
		who = e.Party + ": " + e.Step
	}
	if e.Total <= 0 {
		return fmt.Sprintf("%s %d %s", who, e.Done, e.Unit)
	}
	const width = 24
	full := int(min(e.Done, e.Total) * width / e.Total)
	s := fmt.Sprintf("%s [%s%s] %d/%d %s", who, strings.Repeat("=", full), strings.Repeat(" ", width-full), e.Done, e.Total, e.Unit)
	if rate := float64(e.Done) / since.Seconds(); since > time.Second/2 && rate > 0 {
		left := time.Duration(float64(e.Total-e.Done) / rate * float64(time.Second))
		s += fmt.Sprintf(", %.3g/s, ETA %s", rate, left.Round(time.Second))
	}
	return s
}

func (p *progress) line(format string, args ...any) {
	if p.onLine {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.onLine = false
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

// end clears a bar that is still shown.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.onLine {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.onLine = false
	}
}
