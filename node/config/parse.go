package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"kontor/identity"
	"kontor/internal/fault"
	"kontor/internal/suggest"
)

const (
	reference  = "see docs/config.md"
	maxDialOut = 256
)

// Parse reads and checks a configuration. What it does not say is as in
// [Default]. Errors are of kind [fault.Local] and name file and line.
func Parse(file string, b []byte) (*Config, error) {
	if len(b) > maxFile {
		return nil, fault.New(fault.Local, fmt.Sprintf("%s has %d bytes, a configuration has at most %d", file, len(b), maxFile), reference)
	}
	c, p := Default(""), &parser{file: file}
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return c, nil // nothing but comments: all defaults
	case err != nil:
		return nil, p.syntax(err)
	}
	if err := d.Decode(&more); err == nil {
		p.fail(&more, "keep one", "there is a second document")
	} else if !errors.Is(err, io.EOF) {
		return nil, p.syntax(err)
	}
	if len(doc.Content) == 1 {
		p.config(c, doc.Content[0])
	}
	if p.err != nil {
		return nil, p.err
	}
	return c, nil
}

// parser keeps the first error; after it, everything else is skipped.
type parser struct {
	file string
	err  error
}

func (p *parser) syntax(err error) error {
	return fault.New(fault.Local, fmt.Sprintf("%s: %s", p.file, strings.TrimPrefix(err.Error(), "yaml: ")), "correct the YAML; "+reference)
}

func (p *parser) fail(n *yaml.Node, cure, format string, args ...any) {
	if p.err == nil {
		p.err = fault.New(fault.Local, fmt.Sprintf("%s line %d: %s", p.file, max(n.Line, 1), fmt.Sprintf(format, args...)), cmp.Or(cure, reference))
	}
}

// settings says how each key of a mapping is read.
type settings map[string]func(v *yaml.Node)

// mapping reads a mapping whose keys are those of known. Nothing at all leaves
// the defaults.
func (p *parser) mapping(n *yaml.Node, what string, known settings) {
	if p.err != nil || isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, "write it as key: value lines; "+reference, "%s must be a mapping", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content) && p.err == nil; i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		read, ok := known[k.Value]
		switch {
		case k.Kind != yaml.ScalarNode:
			p.fail(k, "", "%s has a setting whose name is no word", what)
		case !ok:
			p.fail(k, suggest.For(k.Value, slices.Sorted(maps.Keys(known))), "%s has no setting %.40q", what, k.Value)
		case seen[k.Value]:
			p.fail(k, "remove one of the two", "%s has %q twice", what, k.Value)
		default:
			seen[k.Value] = true
			read(v)
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (p *parser) config(c *Config, n *yaml.Node) {
	api := n // for errors that concern the whole of it
	p.mapping(n, "the configuration", settings{
		"name":      p.text(&c.Name, "name", "use one to 32 of a-z, 0-9 and -, as in the identity", orEmpty(isName)),
		"listen":    p.text(&c.Listen, "listen", `write host:port, for example "0.0.0.0:7700", or "" to take no connections`, orEmpty(isListen)),
		"advertise": p.text(&c.Advertise, "advertise", `write the host:port by which peers reach this node, for example "node.bank.example:7700"`, orEmpty(isAddress)),
		"api":       func(v *yaml.Node) { api = v; p.api(&c.API, v) },
		"dial_out":  func(v *yaml.Node) { c.DialOut = p.dialOut(v) },
		"relay":     p.boolean(&c.Relay, "relay"),
		"jobs":      func(v *yaml.Node) { p.jobs(&c.Jobs, v) },
		"log": func(v *yaml.Node) {
			p.mapping(v, "log", settings{"level": p.choice(&c.Log.Level, "level", Levels), "format": p.choice(&c.Log.Format, "format", Formats)})
		},
	})
	switch a := c.API; {
	case p.err != nil:
	case (a.TLSCert == "") != (a.TLSKey == ""):
		p.fail(api, "give both tls_cert and tls_key, or neither", "the API has a certificate without key or a key without certificate")
	case a.TLSCert == "" && !IsLoopback(a.Listen):
		p.fail(api, "give tls_cert and tls_key, or listen on 127.0.0.1 and let people in by an SSH tunnel",
			"the API would be open to the network at %s without TLS, tokens could be read on the way", a.Listen)
	case c.Relay && c.Listen == "":
		p.fail(n, "give an address to listen on, or write relay: false", "a relay must take connections, but listen is empty")
	}
}

func (p *parser) api(a *API, n *yaml.Node) {
	always := func(string) bool { return true }
	p.mapping(n, "api", settings{
		"listen":   p.text(&a.Listen, "listen", `write host:port, for example "127.0.0.1:7701"`, isListen),
		"tls_cert": p.text(&a.TLSCert, "tls_cert", "name a PEM file", always),
		"tls_key":  p.text(&a.TLSKey, "tls_key", "name a PEM file", always),
	})
}

func (p *parser) jobs(j *Jobs, n *yaml.Node) {
	p.mapping(n, "jobs", settings{
		"parallel": p.integer(&j.Parallel, "parallel", 1, 1024),
		"patience": func(v *yaml.Node) {
			d, err := ParseDuration(p.scalar(v, "patience"))
			if p.err == nil && (err != nil || d < time.Second || d > 366*day) {
				p.fail(v, "write for example 24h, 90m or 7d; from 1s to 366d", "patience: %.40q is not such a duration", v.Value)
			}
			j.Patience = d
		},
		"cores":   p.integer(&j.Cores, "cores", 0, 4096),
		"memory":  p.size(&j.Memory, "memory"),
		"disk":    p.size(&j.Disk, "disk"),
		"reserve": p.size(&j.Reserve, "reserve"),
	})
}

func (p *parser) dialOut(n *yaml.Node) []DialOut {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) > maxDialOut {
		p.fail(n, `write - {peer: telecom, address: "telecom.example:7700"} on a line each`, "dial_out must be a list of up to %d peers", maxDialOut)
		return nil
	}
	var out []DialOut
	for _, v := range n.Content {
		var d DialOut
		p.mapping(v, "dial_out", settings{
			"peer":    p.text(&d.Peer, "peer", "use the name by which the peer was accepted", isName),
			"address": p.text(&d.Address, "address", "write host:port, or leave it out where the peer's invitation has it", orEmpty(isAddress)),
		})
		if d.Peer == "" {
			p.fail(v, "add peer: and its name", "dial_out has an entry without peer")
		}
		if slices.ContainsFunc(out, func(o DialOut) bool { return o.Peer == d.Peer }) {
			p.fail(v, "keep one of them", "dial_out has %s twice", d.Peer)
		}
		out = append(out, d)
	}
	return out
}

// scalar returns the text of a value. References to other parts of the file are
// refused: what a line says should stand in it.
func (p *parser) scalar(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Anchor != "" {
		p.fail(n, "write one value behind it; "+reference, "%s must have a value", what)
		return ""
	}
	return n.Value
}

func (p *parser) text(to *string, what, cure string, fits func(string) bool) func(*yaml.Node) {
	return func(v *yaml.Node) {
		s := p.scalar(v, what)
		if p.err == nil && (!fits(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })) {
			p.fail(v, cure, "%s: %.80q is not possible", what, s)
		}
		*to = s
	}
}

func (p *parser) choice(to *string, what string, words []string) func(*yaml.Node) {
	return func(v *yaml.Node) {
		s := p.scalar(v, what)
		if p.err == nil && !slices.Contains(words, s) {
			p.fail(v, suggest.For(s, words), "%s cannot be %.40q", what, s)
		}
		*to = s
	}
}

func (p *parser) boolean(to *bool, what string) func(*yaml.Node) {
	return func(v *yaml.Node) {
		s := p.scalar(v, what)
		if p.err == nil && s != "true" && s != "false" {
			p.fail(v, "write true or false", "%s cannot be %.40q", what, s)
		}
		*to = s == "true"
	}
}

func (p *parser) integer(to *int, what string, least, most int) func(*yaml.Node) {
	return func(v *yaml.Node) {
		x, err := strconv.Atoi(p.scalar(v, what))
		if p.err == nil && (err != nil || x < least || x > most) {
			p.fail(v, fmt.Sprintf("write a whole number from %d to %d", least, most), "%s cannot be %.40q", what, v.Value)
		}
		*to = x
	}
}

func (p *parser) size(to *int64, what string) func(*yaml.Node) {
	return func(v *yaml.Node) {
		x, err := ParseSize(p.scalar(v, what))
		if p.err == nil && err != nil {
			p.fail(v, "write for example 2GiB, 500MB or 0 for no limit", "%s cannot be %.40q", what, v.Value)
		}
		*to = x
	}
}

func orEmpty(fits func(string) bool) func(string) bool {
	return func(s string) bool { return s == "" || fits(s) }
}

func isName(s string) bool { return identity.CheckName(s) == nil }

func isAddress(s string) bool { return identity.CheckAddress(s) == nil }

// isListen is isAddress with port 0 too, and no host for all interfaces.
func isListen(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); perr == nil && n == 0 {
		port = "1"
	}
	return err == nil && isAddress(net.JoinHostPort(cmp.Or(host, "0.0.0.0"), port))
}

// IsLoopback reports whether only this machine can connect to the address.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
