package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"

	"kontor/api/rest"
)

// view shows how a job goes on: one line a step that is redrawn on a terminal,
// lines one after another elsewhere.
type view struct {
	w     io.Writer
	tty   bool
	width int
	now   func() time.Time
	job   *rest.Job
	lines int                  // of the block that stands on the terminal
	drawn time.Time            // when it was drawn
	said  map[string]time.Time // by step: when its progress was last said
	last  map[string]string    // by step: what was last said of it
}

func newView(w io.Writer, j *rest.Job) *view {
	v := &view{w: w, now: time.Now, job: j, width: 80, said: map[string]time.Time{}, last: map[string]string{}}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		v.tty = true
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 20 {
			v.width = n
		}
	}
	return v
}

// begin shows the job as it was found.
func (v *view) begin() {
	if v.tty {
		v.draw(true)
		return
	}
	v.state()
	for _, s := range v.job.Steps {
		if s.State != "pending" {
			v.step(s)
		}
	}
}

// event takes an event in and shows what it changed. What it cannot read, a newer
// node has sent; the job goes on without it.
func (v *view) event(e rest.Event) error {
	switch e.Type {
	case rest.EventState, rest.EventEnd:
		var s rest.StateEvent
		if json.Unmarshal(e.Data, &s) == nil {
			v.turn(s)
		}
	case rest.EventStep, rest.EventProgress:
		var s rest.JobStep
		if json.Unmarshal(e.Data, &s) == nil {
			v.advance(s, e.Type == rest.EventProgress)
		}
	case rest.EventLog:
		var l rest.LogLine
		if json.Unmarshal(e.Data, &l) == nil && (l.Level == "warn" || l.Level == "error") {
			v.note(strings.TrimSpace(l.Step + " " + l.Text))
		}
	}
	return nil
}

func (v *view) turn(s rest.StateEvent) {
	if i := slices.IndexFunc(v.job.Parties, func(p rest.JobParty) bool { return p.Name == s.Party }); i >= 0 && s.Consent != "" {
		v.job.Parties[i].Consent = s.Consent
		if !v.tty {
			v.print(s.Party + ": " + consentText(rest.JobParty{Consent: s.Consent}))
		}
	}
	changed := v.job.State != s.State || v.job.WaitingFor != s.WaitingFor
	v.job.State, v.job.WaitingFor, v.job.Error = s.State, s.WaitingFor, s.Error
	switch {
	case v.tty:
		v.draw(true)
	case changed:
		v.state()
	}
}

func (v *view) advance(s rest.JobStep, progress bool) {
	i := slices.IndexFunc(v.job.Steps, func(old rest.JobStep) bool { return old.Name == s.Name })
	if i < 0 {
		v.job.Steps = append(v.job.Steps, s)
	} else {
		v.job.Steps[i] = s
	}
	switch {
	case v.tty:
		v.draw(!progress)
	case !progress:
		v.step(s)
	case v.now().Sub(v.said[s.Name]) >= 2*time.Second:
		v.said[s.Name] = v.now()
		v.print(s.Name + " " + bar(s, 24))
	}
}

// state and step say one change, where nothing can be redrawn.
func (v *view) state() {
	v.print(fmt.Sprintf("job %s %s: %s", short(v.job.ID), v.job.Name, stateText(v.job)))
}

func (v *view) step(s rest.JobStep) {
	detail := ""
	if s.State != "running" || s.Attempt > 1 {
		detail = stepDetail(s)
	}
	text := strings.TrimSuffix(fmt.Sprintf("%s: %s, %s", s.Name, s.State, detail), ", ")
	if v.last[s.Name] != text { // parties come to a point one after another
		v.last[s.Name] = text
		v.print(text)
	}
}

// print writes one line, whatever line ends stand in the text.
func (v *view) print(text string) {
	fmt.Fprintln(v.w, clean(strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, text))))
}

// note says something that is no state, above the block.
func (v *view) note(text string) {
	v.erase()
	v.print(text)
	if v.tty {
		v.draw(true)
	}
}

// broken is told why the events stopped coming; they are asked for again.
func (v *view) broken(err error) {
	why := ""
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) { // it was cut off: that says nothing more
		why = ": " + err.Error()
	}
	v.note("the node does not answer, trying again" + why)
}

// draw puts the block on the terminal again, but not for every progress.
func (v *view) draw(now bool) {
	if !now && v.now().Sub(v.drawn) < 100*time.Millisecond {
		return
	}
	v.drawn = v.now()
	v.erase()
	block := []string{fmt.Sprintf("job %s %s: %s", short(v.job.ID), v.job.Name, stateText(v.job))}
	wide := 0
	for _, s := range v.job.Steps {
		wide = max(wide, len(s.Name))
	}
	for _, s := range v.job.Steps {
		block = append(block, fmt.Sprintf("  %-*s  %-7s  %s", wide, s.Name, s.State, stepDetail(s)))
	}
	var b strings.Builder
	for _, l := range block {
		b.WriteString(fit(clean(l), v.width-1) + "\n")
	}
	v.lines = len(block)
	io.WriteString(v.w, b.String())
}

// erase takes the block away; the next output stands in its place.
func (v *view) erase() {
	if v.lines > 0 {
		fmt.Fprintf(v.w, "\x1b[%dA\r\x1b[J", v.lines)
		v.lines = 0
	}
}

// fit cuts a line to a width, so that the terminal does not break it in two. Wide
// characters count as two.
func fit(text string, width int) string {
	used := 0
	for i, r := range text {
		n := 1
		if r >= 0x1100 {
			n = 2
		}
		if used+n > width {
			return text[:i]
		}
		used += n
	}
	return text
}

func (v *view) end() {
	if v.tty {
		v.draw(true)
	}
	v.lines = 0
}

// bar gives "[====    ] 12/60 trees, 3.1/s, ETA 15s", as far as it is known.
func bar(s rest.JobStep, width int64) string {
	if s.Done <= 0 && s.Total <= 0 {
		return ""
	}
	text := fmt.Sprintf("%d %s", s.Done, s.Unit)
	if s.Total > 0 {
		full := max(0, min(s.Done, s.Total)*width/s.Total)
		text = fmt.Sprintf("[%s%s] %d/%d %s", strings.Repeat("=", int(full)), strings.Repeat(" ", int(width-full)), s.Done, s.Total, s.Unit)
	}
	text = strings.TrimRight(text, " ")
	if s.Rate > 0 {
		text += fmt.Sprintf(", %.3g/s", s.Rate)
	}
	if s.ETA > 0 {
		text += ", ETA " + time.Duration(s.ETA*float64(time.Second)).Round(time.Second).String()
	}
	return text
}
