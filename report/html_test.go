package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// document is a page that passed the checks of parse.
type document struct {
	root *html.Node
	byID map[string]*html.Node
}

// allowed is every element that the page is made of. None can load or run anything.
var allowed = strings.Fields("html head meta title style body header main section footer aside div figure figcaption p b span " +
	"h1 h2 h3 h4 ul li dl dt dd table caption thead tbody tfoot tr th td svg desc line path circle rect text")

// parse fails the test unless the page is well-formed and holds nothing but what
// our own code writes: allowed elements, no reference to anything outside, no
// handler, unique ids, drawings that are XML and have names, finite coordinates.
func parse(t testing.TB, page string) *document {
	t.Helper()
	balanced(t, page)
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	d := &document{root: root, byID: map[string]*html.Node{}}
	d.walk(func(n *html.Node) {
		if n.Type == html.CommentNode {
			t.Errorf("a comment: %q", n.Data)
		}
		if n.Type != html.ElementNode {
			return
		}
		if !slices.Contains(allowed, n.Data) {
			t.Errorf("element %s", n.Data)
		}
		for _, a := range n.Attr {
			checkAttribute(t, n, a)
			if a.Key == "id" {
				if d.byID[a.Val] != nil {
					t.Errorf("id %q twice", a.Val)
				}
				d.byID[a.Val] = n
			}
		}
	})
	for _, svg := range d.all("svg") {
		if attr(svg, "aria-hidden") == "true" {
			continue
		}
		for _, id := range strings.Fields(attr(svg, "aria-labelledby")) {
			if n := d.byID[id]; n == nil || n.FirstChild == nil {
				t.Errorf("a drawing is named by %q, which says nothing", id)
			}
		}
		if attr(svg, "role") != "img" || attr(svg, "aria-labelledby") == "" {
			t.Error("a drawing without role or name")
		}
		spacing(t, svg)
	}
	return d
}

func checkAttribute(t testing.TB, n *html.Node, a html.Attribute) {
	t.Helper()
	switch a.Key {
	case "src", "href", "style", "srcset", "action", "xlink:href":
		t.Errorf("%s has %s=%q", n.Data, a.Key, a.Val)
	case "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height":
		if v, err := strconv.ParseFloat(a.Val, 64); err != nil || math.IsNaN(v) || math.Abs(v) > 1e4 || (a.Key == "width" || a.Key == "height" || a.Key == "r") && v < 0 {
			t.Errorf("%s has %s=%q", n.Data, a.Key, a.Val)
		}
	}
	if strings.HasPrefix(a.Key, "on") {
		t.Errorf("%s has a handler %s", n.Data, a.Key)
	}
	if strings.Contains(a.Val, "://") {
		t.Errorf("%s refers to %q", n.Data, a.Val)
	}
}

// balanced holds the page to the rules of XML where HTML would forgive: every
// element is closed, in order.
func balanced(t testing.TB, page string) {
	t.Helper()
	var open []string
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch kind := z.Next(); kind {
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) || len(open) > 0 {
				t.Errorf("ends with %v open: %v", open, z.Err())
			}
			drawings(t, page)
			return
		case html.StartTagToken:
			if name, _ := z.TagName(); string(name) != "meta" {
				open = append(open, string(name))
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				t.Fatalf("closes %s where %v is open", name, open)
			}
			open = open[:len(open)-1]
		}
	}
}

// drawings reads every drawing as XML.
func drawings(t testing.TB, page string) {
	t.Helper()
	for _, part := range strings.Split(page, "<svg ")[1:] {
		body, _, ok := strings.Cut(part, "</svg>")
		if !ok {
			t.Fatal("a drawing does not end")
		}
		d := xml.NewDecoder(strings.NewReader("<svg " + body + "</svg>"))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("a drawing is no XML: %v", err)
			}
		}
	}
}

// spacing checks that the labels of an axis neither repeat nor touch.
func spacing(t testing.TB, svg *html.Node) {
	t.Helper()
	type label struct {
		text     string
		from, to float64
	}
	axes := map[string][]label{}
	each(svg, func(n *html.Node) {
		class := attr(n, "class")
		if n.Data != "text" || !strings.HasPrefix(class, "tick") {
			return
		}
		s := n.FirstChild.Data
		x, y := number(n, "x"), number(n, "y")
		half := float64(len([]rune(s))) * charWidth / 2
		l := label{s, x - half, x + half}
		if class == "tick end" { // the vertical axis
			l = label{s, y - 6, y + 6}
			if x-2*half < 16 {
				t.Errorf("label %q reaches the name of its axis", s)
			}
		}
		axes[class] = append(axes[class], l)
	})
	for class, labels := range axes {
		slices.SortFunc(labels, func(a, b label) int { return int(math.Copysign(1, a.from-b.from)) })
		for i := 1; i < len(labels); i++ {
			if labels[i].text == labels[i-1].text || labels[i].from < labels[i-1].to {
				t.Errorf("%s labels %q and %q", class, labels[i-1].text, labels[i].text)
			}
		}
		if len(labels) < 2 {
			t.Errorf("%s has %d labels", class, len(labels))
		}
	}
}

func number(n *html.Node, key string) float64 {
	v, _ := strconv.ParseFloat(attr(n, key), 64)
	return v
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if strings.EqualFold(a.Key, key) {
			return a.Val
		}
	}
	return ""
}

func each(n *html.Node, f func(*html.Node)) {
	f(n)
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		each(c, f)
	}
}

func (d *document) walk(f func(*html.Node)) { each(d.root, f) }

func (d *document) all(element string) (out []*html.Node) {
	d.walk(func(n *html.Node) {
		if n.Type == html.ElementNode && n.Data == element {
			out = append(out, n)
		}
	})
	return out
}

func (d *document) headings() (out []string) {
	for _, n := range d.all("h2") {
		out = append(out, n.FirstChild.Data)
	}
	return out
}

func (d *document) text() string {
	var b bytes.Buffer
	d.walk(func(n *html.Node) {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			b.WriteString(n.Data)
			b.WriteByte('\n')
		}
	})
	return b.String()
}

// hostile fills every text of a report with s.
func hostile(t testing.TB, s string) Report {
	r := full(t)
	r.Job, r.Generated, r.Version = s, s, s
	r.Parties = []Party{{Name: s, Role: s, Rows: 1, Note: s}}
	r.Columns = []Column{{s, s, s, 0.5}}
	for i := range r.Sets {
		r.Sets[i].Name = s
	}
	for i := range r.Comparison {
		r.Comparison[i].Name, r.Comparison[i].Note = s, s
	}
	r.Importance = []Importance{{s, s, 1, 1}, {"other", s, 1, 1}}
	r.Steps = []Step{{s, s, 1, map[string]int64{s: 5}, 1}}
	r.Learned = []Learned{{s, s, []string{s}}}
	r.Traffic = []Traffic{{s, s, s, s, 1, 1}}
	r.Security, r.Warnings, r.Params = []string{s}, []string{s}, [][2]string{{s, s}}
	return r
}

func TestHostileTexts(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</svg></title></style><script>`, `' onload='x`, `{{.Job}}`,
		`<!-- `, `]]>`, `&lt;b&gt;`, "line\nbreak\x00\x1b", strings.Repeat("wide ", 400), strings.Repeat("x", 5000), "\u202eright to left", "ü→🙂",
	} {
		doc := parse(t, write(t, hostile(t, s)))
		if strings.Contains(s, "\x00") {
			continue // shows as a replacement character
		}
		// Everywhere the text comes back as it was.
		if n := strings.Count(doc.text(), s); n < 30 {
			t.Errorf("%.40q is shown %d times", s, n)
		}
	}
	// Broken text must not break the page.
	if page := write(t, hostile(t, "a\xff\xfeb")); strings.ToValidUTF8(page, "") != page {
		t.Error("the page is not UTF-8")
	}
}

// The page may name nothing that a reader's machine would fetch.
func TestNothingIsLoaded(t *testing.T) {
	t.Parallel()
	page := write(t, full(t))
	for _, word := range []string{"http://", "https://", "url(", "@import", "<script", "<link", "<iframe", "@font-face"} {
		if strings.Contains(page, word) {
			t.Errorf("the page has %q", word)
		}
	}
	if !strings.Contains(page, `content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;"`) &&
		!strings.Contains(page, `content="default-src 'none'; style-src 'unsafe-inline'"`) {
		t.Error("the page does not forbid to load")
	}
}

func FuzzWrite(f *testing.F) {
	f.Add("bank", 0.7, 3)
	f.Add("</svg>", math.Inf(1), -1)
	f.Add("\xff", 1e-300, 1<<40)
	f.Fuzz(func(t *testing.T, s string, v float64, n int) {
		r := hostile(t, s)
		r.Sets[0].Name = "test"
		r.Comparison[1].AUC = v
		r.History = History{Train: []float64{v, 1, v / 2}, Valid: []float64{1, v}, Best: n}
		r.Importance[0].Gain, r.Steps[0].Seconds, r.Steps[0].Rounds, r.Traffic[0].Bytes = v, v, n, int64(n)
		r.Sets[0].Eval.Gains[0].Lift = v
		parse(t, write(t, r))
	})
}
