package report

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Sizes in units of the drawing. Twelve units of text read well both at half the
// width of a screen and at half the width of a printed page.
const (
	plotWidth, plotHeight = 460.0, 340.0
	plotLeft, plotRight   = 62.0, 12.0
	plotTop, plotBottom   = 14.0, 46.0
	charWidth             = 6.3 // an estimate, for what has to be kept apart
)

// scale maps a range of values to a range of the drawing.
type scale struct {
	lo, hi   float64
	from, to float64
	ticks    []float64
	text     func(v float64) string
}

func (s *scale) at(v float64) float64 { return s.from + (v-s.lo)/(s.hi-s.lo)*(s.to-s.from) }

// shares is a scale from 0 to 1 in percent.
func shares() scale {
	return scale{lo: 0, hi: 1, ticks: []float64{0, 0.2, 0.4, 0.6, 0.8, 1}, text: func(v float64) string { return fixed(100*v, 0) }}
}

// plottable tells whether a figure can be drawn. Those that are drawn, shares,
// lifts and log-losses, are small; whatever is not came from elsewhere.
func plottable(v float64) bool { return v >= 0 && v <= 1e4 }

// fit returns a scale with round ticks around [lo, hi]. Its ends are ticks. It
// never looks closer than labels of a few digits can tell apart.
func fit(lo, hi float64, ticks int) scale {
	if !plottable(lo) || !plottable(hi) || hi < lo {
		lo, hi = 0, 1
	}
	if least := 5e-4 * math.Max(1, hi); hi-lo < least {
		mid := (lo + hi) / 2
		lo, hi = math.Max(0, mid-least/2), math.Max(0, mid-least/2)+least
	}
	step := roundStep((hi - lo) / float64(ticks))
	first, last := math.Floor(lo/step+1e-9), math.Ceil(hi/step-1e-9)
	s := scale{lo: first * step, hi: last * step}
	for k := first; k <= last; k++ {
		s.ticks = append(s.ticks, k*step)
	}
	decimals := decimalsOf(step)
	s.text = func(v float64) string { return fixed(v, decimals) }
	return s
}

// decimalsOf returns how many decimals it takes to write multiples of step.
func decimalsOf(step float64) int {
	d := 0
	for ; d < 6; d++ {
		if v := step * math.Pow10(d); math.Abs(v-math.Round(v)) < 1e-6*v {
			break
		}
	}
	return d
}

// roundStep returns the least of 1, 2, 2.5 and 5 times a power of ten that is not below v.
func roundStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*p >= v*(1-1e-9) {
			return m * p
		}
	}
	return 10 * p
}

// plot is a drawing with two axes. All coordinates come from finite numbers.
type plot struct {
	b      strings.Builder
	x, y   scale
	id     string
	title  string
	desc   string
	xLabel string
	yLabel string
}

// newPlot begins a drawing. id is unique in the page; title and desc are for
// those who do not see it.
func newPlot(id, title, desc string, x, y scale, xLabel, yLabel string) *plot {
	x.from, x.to = plotLeft, plotWidth-plotRight
	y.from, y.to = plotHeight-plotBottom, plotTop
	p := &plot{x: x, y: y, id: id, title: title, desc: desc, xLabel: xLabel, yLabel: yLabel}
	p.axes()
	return p
}

func (p *plot) axes() {
	for _, v := range p.y.ticks {
		y := p.y.at(v)
		class := "grid"
		if v == p.y.lo {
			class = "axis"
		}
		p.line(class, p.x.from, y, p.x.to, y)
		p.text("tick end", p.x.from-7, y+4, p.y.text(v))
	}
	shown := math.Inf(-1) // where the last label ended
	for _, v := range p.x.ticks {
		x, s := p.x.at(v), p.x.text(v)
		p.line("axis", x, p.y.from, x, p.y.from+4)
		half := float64(len([]rune(s))) * charWidth / 2
		if x-half < shown+4 {
			continue
		}
		shown = x + half
		p.text("tick mid", x, p.y.from+17, s)
	}
	p.text("label mid", (p.x.from+p.x.to)/2, plotHeight-8, p.xLabel)
	mid := (p.y.from + p.y.to) / 2
	fmt.Fprintf(&p.b, `<text class="label mid" transform="translate(13 %s) rotate(-90)">%s</text>`, num(mid), esc(p.yLabel))
}

// num writes a coordinate, a tenth of a unit fine.
func num(v float64) string {
	if !finite(v) {
		v = 0
	}
	s := strconv.FormatFloat(v, 'f', 1, 64)
	s = strings.TrimSuffix(s, ".0")
	if s == "-0" {
		return "0"
	}
	return s
}

func esc(s string) string { return template.HTMLEscapeString(s) }

func (p *plot) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&p.b, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, num(x1), num(y1), num(x2), num(y2))
}

func (p *plot) text(class string, x, y float64, s string) {
	fmt.Fprintf(&p.b, `<text class="%s" x="%s" y="%s">%s</text>`, class, num(x), num(y), esc(s))
}

func (p *plot) dot(class string, x, y, r float64) {
	fmt.Fprintf(&p.b, `<circle class="%s" cx="%s" cy="%s" r="%s"/>`, class, num(x), num(y), num(r))
}

// point is a place in the values of the axes.
type point struct{ x, y float64 }

// drawable tells whether a place can be drawn.
func (q point) drawable() bool { return plottable(q.x) && plottable(q.y) }

// curve draws a line through points; those that cannot be drawn are passed over.
func (p *plot) curve(class string, pts []point) {
	p.b.WriteString(`<path class="` + class + `" d="`)
	op := byte('M')
	for _, q := range pts {
		if q.drawable() {
			fmt.Fprintf(&p.b, "%c%s %s", op, num(p.x.at(q.x)), num(p.y.at(q.y)))
			op = 'L'
		}
	}
	p.b.WriteString(`"/>`)
}

// segment draws a straight line between two places in the values of the axes.
func (p *plot) segment(class string, a, b point) {
	p.line(class, p.x.at(a.x), p.y.at(a.y), p.x.at(b.x), p.y.at(b.y))
}

// key is an entry of a legend; dot draws a point instead of a line.
type key struct {
	class, text string
	dot         bool
}

// legend writes entries below one another, the last at the height of the value
// bottom, in the right half where cumulative curves leave room.
func (p *plot) legend(bottom float64, keys []key) {
	longest := 0
	for _, k := range keys {
		longest = max(longest, len([]rune(k.text)))
	}
	x := p.x.to - 10 - float64(longest)*charWidth
	for i, k := range keys {
		y := p.y.at(bottom) - float64(len(keys)-1-i)*18
		if k.dot {
			p.dot(k.class, x-17, y-4, 4)
		} else {
			p.line(k.class, x-28, y-4, x-7, y-4)
		}
		p.text("key", x, y, k.text)
	}
}

// legendAbove writes entries in a row over the drawing.
func (p *plot) legendAbove(keys []key) {
	x := p.x.from
	for _, k := range keys {
		if k.dot {
			p.dot(k.class, x+8, -8, 4)
		} else {
			p.line(k.class, x, -8, x+20, -8)
		}
		p.text("key", x+27, -4, k.text)
		x += 27 + float64(len([]rune(k.text)))*charWidth + 18
	}
}

// svg returns the drawing. head is the room over it, for a legend.
func (p *plot) svg(head float64) template.HTML {
	return template.HTML(fmt.Sprintf(
		`<svg role="img" aria-labelledby="%[1]s-t %[1]s-d" viewBox="0 %[2]s %[3]s %[4]s"><title id="%[1]s-t">%[5]s</title><desc id="%[1]s-d">%[6]s</desc>%[7]s</svg>`,
		p.id, num(-head), num(plotWidth), num(plotHeight+head), esc(p.title), esc(p.desc), p.b.String()))
}
