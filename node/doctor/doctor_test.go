package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kontor/internal/fault"
	"kontor/node/config"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// healthy returns probes of a node with which nothing is wrong and which has the
// peers bank and shop.
func healthy(t *testing.T) Probes {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	if err := os.MkdirAll(filepath.Join(home, "peers"), 0o700); err != nil {
		t.Fatal(err)
	}
	os.Chmod(home, 0o700)
	for _, f := range []string{"identity.pem", "node.pem", "admin.token", "state.db", "policy.yaml"} {
		if err := os.WriteFile(filepath.Join(home, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := config.Default("telecom")
	c.Listen, c.API.Listen = "0.0.0.0:0", "127.0.0.1:0"
	return Probes{
		Home: home, Now: func() time.Time { return noon }, Name: "telecom",
		Config:      func() (*config.Config, error) { return c, nil },
		Certificate: func() (Certificate, error) { return Certificate{NotBefore: noon, NotAfter: noon.Add(90 * day)}, nil },
		Policy:      func() (string, error) { return "3 rules", nil },
		Database:    func(context.Context) (string, error) { return "2 jobs", nil },
		Disk:        func(string) (uint64, uint64, error) { return 50 << 30, 100 << 30, nil },
		Peers:       func() ([]Peer, error) { return []Peer{{"shop", "shop.example:7700"}, {"bank", ""}}, nil },
		Probe:       func(_ context.Context, peer, _ string) (PeerState, error) { return well(), nil },
		Resolve:     func(context.Context, string) ([]string, error) { return []string{"10.0.0.7"}, nil },
		Dial:        func(context.Context, string) (net.Conn, error) { a, b := net.Pipe(); b.Close(); return a, nil },
	}
}

func well() PeerState {
	return PeerState{Version: "1.0.0", Wire: 2, TLS: "TLS 1.3", RTT: 20 * time.Millisecond, Bandwidth: 12e6, CertNotAfter: noon.Add(60 * day), SkewKnown: true, ClockSkew: time.Second}
}

func find(t *testing.T, checks []Check, name string) Check {
	t.Helper()
	i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no check %q in %+v", name, checks)
	}
	return checks[i]
}

// sane holds every check to what a person needs.
func sane(t *testing.T, checks []Check) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range checks {
		if c.Name == "" || c.What == "" || seen[c.Name] || c.Warn && !c.OK || (!c.OK || c.Warn) != (c.Cure != "") {
			t.Errorf("not a good check: %+v", c)
		}
		seen[c.Name] = true
	}
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	checks := Run(t.Context(), healthy(t))
	sane(t, checks)
	var names []string
	for _, c := range checks {
		names = append(names, c.Name)
		if !c.OK || c.Warn {
			t.Errorf("%+v", c)
		}
	}
	want := []string{"configuration", "folder", "disk", "certificate", "policy", "state", "peer port", "api", "reachable",
		"peer bank: connection", "peer bank: version", "peer bank: latency", "peer bank: certificate",
		"peer shop: address", "peer shop: connection", "peer shop: version", "peer shop: latency", "peer shop: certificate", "clock"}
	if !slices.Equal(names, want) || Failed(checks) {
		t.Errorf("checks %v\nwant   %v", names, want)
	}
	if c := find(t, checks, "peer shop: latency"); c.What != "20ms there and back, 12 MB/s" {
		t.Errorf("latency: %q", c.What)
	}
}

// TestIll spoils one thing at a time and looks that it alone is found.
func TestIll(t *testing.T) {
	t.Parallel()
	bad := errors.New("it burnt")
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	configure := func(p *Probes, f func(c *config.Config)) {
		c, _ := p.Config()
		f(c)
	}
	certificate := func(c Certificate) func(*Probes) {
		return func(p *Probes) { p.Certificate = func() (Certificate, error) { return c, nil } }
	}
	disk := func(free, total uint64, err error) func(*Probes) {
		return func(p *Probes) { p.Disk = func(string) (uint64, uint64, error) { return free, total, err } }
	}
	mode := func(file string, m os.FileMode) func(*Probes) {
		return func(p *Probes) { os.Chmod(filepath.Join(p.Home, file), m) }
	}
	probe := func(f func(peer, address string) (PeerState, error)) func(*Probes) {
		return func(p *Probes) {
			p.Probe = func(_ context.Context, peer, address string) (PeerState, error) { return f(peer, address) }
		}
	}
	shop := func(change func(*PeerState)) func(*Probes) {
		return probe(func(peer, _ string) (PeerState, error) {
			s := well()
			if peer == "shop" {
				change(&s)
			}
			return s, nil
		})
	}
	shopErr := func(err error) func(*Probes) {
		return probe(func(peer, _ string) (PeerState, error) {
			if peer == "shop" {
				return PeerState{}, err
			}
			return well(), nil
		})
	}
	const unix = runtime.GOOS != "windows"
	for name, c := range map[string]struct {
		spoil func(*Probes)
		check string
		warn  bool
		says  []string // in what, cause or cure
	}{
		"config": {func(p *Probes) {
			p.Config = func() (*config.Config, error) { return config.Parse("kontor.yaml", []byte("name: telecom\nlisten: 1")) }
		}, "configuration", false, []string{"line 2", "host:port"}},
		"name": {func(p *Probes) { p.Name = "bank" }, "configuration", false, []string{"telecom", "name: bank"}},
		"tls": {func(p *Probes) {
			configure(p, func(c *config.Config) { c.API.TLSCert, c.API.TLSKey = "/nowhere/a.pem", "/nowhere/b.pem" })
		}, "configuration", false, []string{"/nowhere/a.pem", "tls_cert"}},
		"folder gone":   {func(p *Probes) { p.Home += "x" }, "folder", false, []string{"kontor init"}},
		"key readable":  {mode("identity.pem", 0o640), "folder", false, []string{"identity.pem", "0640", "chmod"}},
		"token":         {mode("admin.token", 0o604), "folder", false, []string{"admin.token", "replace"}},
		"key writable":  {mode("node.pem", 0o620), "folder", false, []string{"change node.pem", "chmod go-w"}},
		"folder open":   {mode(".", 0o755), "folder", true, []string{"0755", "chmod 700"}},
		"state open":    {func(p *Probes) { mode(".", 0o755)(p); mode("state.db", 0o644)(p) }, "folder", false, []string{"read state.db"}},
		"policy open":   {func(p *Probes) { mode(".", 0o755)(p); mode("policy.yaml", 0o666)(p) }, "folder", false, []string{"change policy.yaml"}},
		"disk low":      {disk(5<<30, 100<<30, nil), "disk", true, []string{"5.0 GiB of 100 GiB", "tenth", "delete"}},
		"disk full":     {disk(1<<20, 100<<30, nil), "disk", false, []string{"1.0 MiB", "1.0 GiB must stay free"}},
		"disk error":    {disk(0, 0, bad), "disk", false, []string{"burnt"}},
		"disk unknown":  {disk(0, 0, errors.ErrUnsupported), "disk", true, nil},
		"cert error":    {func(p *Probes) { p.Certificate = func() (Certificate, error) { return Certificate{}, bad } }, "certificate", false, []string{"burnt", "node.pem"}},
		"cert expired":  {certificate(Certificate{NotBefore: noon.Add(-90 * day), NotAfter: noon, RenewError: bad}), "certificate", false, []string{"expired on 2026-03-01 12:00 UTC", "burnt"}},
		"cert soon":     {certificate(Certificate{NotBefore: noon.Add(-80 * day), NotAfter: noon.Add(10 * day), RenewError: bad}), "certificate", true, []string{"in 10 days", "not renewed", "burnt"}},
		"cert retrying": {certificate(Certificate{NotBefore: noon.Add(-70 * day), NotAfter: noon.Add(20 * day), RenewError: bad}), "certificate", true, []string{"renewing it failed"}},
		"cert future":   {certificate(Certificate{NotBefore: noon.Add(day), NotAfter: noon.Add(91 * day)}), "certificate", false, []string{"only from", "set the clock"}},
		"policy": {func(p *Probes) {
			p.Policy = func() (string, error) { return "", fault.New(fault.Spec, "policy.yaml line 7: no rule", "write one") }
		}, "policy", false, []string{"line 7", "write one"}},
		"state":      {func(p *Probes) { p.Database = func(context.Context) (string, error) { return "", bad } }, "state", false, []string{"burnt", "backup"}},
		"local only": {func(p *Probes) { configure(p, func(c *config.Config) { c.Listen = "127.0.0.1:0" }) }, "reachable", true, []string{"0.0.0.0:7700"}},
		"nobody":     {func(p *Probes) { configure(p, func(c *config.Config) { c.Listen = "" }) }, "reachable", true, []string{"dial_out"}},
		"dials a stranger": {func(p *Probes) {
			configure(p, func(c *config.Config) { c.DialOut = []config.DialOut{{Peer: "shop"}, {Peer: "shoop", Address: "a:1"}} })
		}, "dial out", false, []string{"shoop", "accept"}},
		"dials nowhere": {func(p *Probes) {
			configure(p, func(c *config.Config) { c.DialOut = []config.DialOut{{Peer: "bank"}} })
		}, "dial out", false, []string{"address", "bank"}},
		"foreign address": {func(p *Probes) { configure(p, func(c *config.Config) { c.Listen = "203.0.113.1:0" }) }, "peer port", false,
			[]string{"does not have", "listen in kontor.yaml"}},
		"peers": {func(p *Probes) { p.Peers = func() ([]Peer, error) { return nil, bad } }, "peers", false, []string{"burnt"}},
		"bad address": {func(p *Probes) {
			p.Peers = func() ([]Peer, error) { return []Peer{{"shop", "nowhere"}}, nil }
			p.Probe = nil
		}, "peer shop: address", false, []string{"invitation"}},
		"unknown name": {func(p *Probes) {
			p.Resolve = func(context.Context, string) ([]string, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "shop.example"}
			}
			shopErr(bad)(p)
		}, "peer shop: address", false, []string{"shop.example", "no such host", "name server"}},
		"port closed": {func(p *Probes) {
			p.Dial = func(context.Context, string) (net.Conn, error) { return nil, refused }
			shopErr(bad)(p)
		}, "peer shop: address", false, []string{"shop.example:7700", "refused", "firewall"}},
		"other way": {func(p *Probes) {
			p.Dial = func(context.Context, string) (net.Conn, error) { return nil, refused }
			probe(func(peer, address string) (PeerState, error) {
				if address != "" {
					return PeerState{}, errors.New("asked at an address that does not answer")
				}
				return well(), nil
			})(p)
		}, "peer shop: address", true, []string{"refused"}},
		"untrusted": {shopErr(fault.New(fault.Trust, "it is not the pinned shop", "compare")), "peer shop: connection", false, []string{"trust", "pinned", "compare"}},
		"version":   {shopErr(fault.New(fault.Version, "it speaks wire 0", "")), "peer shop: connection", false, []string{"wire 0", "agree with shop"}},
		"silent":    {shopErr(context.DeadlineExceeded), "peer shop: connection", false, []string{"in time"}},
		"away": {probe(func(peer, _ string) (PeerState, error) {
			if peer == "bank" {
				return PeerState{}, errors.New("no way")
			}
			return well(), nil
		}), "peer bank: connection", false, []string{"not connected", "dial_out"}},
		"older": {shop(func(s *PeerState) { s.Missing = []string{"predict/1", "boost/2"} }), "peer shop: version", true, []string{"lacks boost/2, predict/1", "update"}},
		"far":   {shop(func(s *PeerState) { s.RTT = 1500 * time.Millisecond }), "peer shop: latency", true, []string{"1.5s", "slow"}},
		"thin":  {shop(func(s *PeerState) { s.Bandwidth = 100e3 }), "peer shop: latency", true, []string{"0.1 MB/s"}},
		"peer's certificate": {shop(func(s *PeerState) { s.CertNotAfter = noon.Add(10 * day) }), "peer shop: certificate", true,
			[]string{"2026-03-11", "ask shop"}},
		"peer's clock":     {shop(func(s *PeerState) { s.ClockSkew = -10 * time.Minute }), "clock", true, []string{"10 minutes", "here or there", "ask shop"}},
		"peer's clock far": {shop(func(s *PeerState) { s.ClockSkew = 2 * time.Hour }), "clock", false, []string{"2 hours"}},
		"own clock": {probe(func(string, string) (PeerState, error) {
			s := well()
			s.ClockSkew = 20 * time.Minute
			return s, nil
		}), "clock", true, []string{"clock of this machine is wrong", "NTP", "bank, shop"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !unix && c.check == "folder" {
				t.Skip("Windows has no mode bits")
			}
			p := healthy(t)
			c.spoil(&p)
			checks := Run(t.Context(), p)
			sane(t, checks)
			got := find(t, checks, c.check)
			if got.OK != c.warn || got.Warn != c.warn || Failed(checks) == c.warn {
				t.Errorf("%+v", got)
			}
			all := got.What + "\n" + got.Cause + "\n" + got.Cure
			for _, s := range c.says {
				if !strings.Contains(all, s) {
					t.Errorf("%+v does not say %q", got, s)
				}
			}
			for _, other := range checks {
				if other.Name != c.check && other.Name != "reachable" && (!other.OK || other.Warn) {
					t.Errorf("also found: %+v", other)
				}
			}
		})
	}
}

// TestNothingPlugged looks at a folder alone, as where no node can start.
func TestNothingPlugged(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	os.Chmod(home, 0o700)
	if err := os.WriteFile(filepath.Join(home, config.FileName), []byte("listen: 127.0.0.1:0\napi: {listen: \"127.0.0.1:0\"}\njobs: {reserve: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	checks := Run(t.Context(), Probes{Home: home})
	sane(t, checks)
	if Failed(checks) {
		t.Errorf("%+v", checks)
	}
	if entries, _ := os.ReadDir(home); len(entries) != 1 {
		t.Errorf("it left something behind: %v", entries)
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := healthy(t)
	p.Dial = nil
	c, _ := p.Config()
	c.API.Listen = l.Addr().String()
	if got := find(t, Run(t.Context(), p), "api"); got.OK || !strings.Contains(got.What, "in use by another") || !strings.Contains(got.Cure, "api.listen") {
		t.Errorf("port in use: %+v", got)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p.APIListening = "0.0.0.0:" + port // as a running node says
	if got := find(t, Run(t.Context(), p), "api"); !got.OK || got.Warn {
		t.Errorf("own port: %+v", got)
	}
	l.Close()
	if got := find(t, Run(t.Context(), p), "api"); got.OK || !strings.Contains(got.What, "does not answer") {
		t.Errorf("dead port: %+v", got)
	}
	if got := reachable("[::]:7"); got != "[::1]:7" {
		t.Errorf("reachable: %s", got)
	}
}

// TestManyPeers: peers are looked at together, bounded, and one that never
// answers costs its own time only.
func TestManyPeers(t *testing.T) {
	t.Parallel()
	p := healthy(t)
	var peers []Peer
	for i := range 40 {
		peers = append(peers, Peer{Name: fmt.Sprintf("p%02d", i)})
	}
	p.Peers = func() ([]Peer, error) { return peers, nil }
	var mu sync.Mutex
	inside, most, together := 0, 0, make(chan struct{})
	p.Probe = func(ctx context.Context, peer, _ string) (PeerState, error) {
		mu.Lock()
		inside++
		if most = max(most, inside); inside == maxAtOnce && most == inside {
			select {
			case <-together:
			default:
				close(together)
			}
		}
		mu.Unlock()
		if peer == "p07" {
			<-ctx.Done() // its timeout
			return PeerState{}, ctx.Err()
		}
		<-together // it ends only if so many are looked at together
		runtime.Gosched()
		mu.Lock()
		inside--
		mu.Unlock()
		return well(), nil
	}
	p.Timeout = 100 * time.Millisecond
	checks := Run(t.Context(), p)
	sane(t, checks)
	if got := find(t, checks, "peer p07: connection"); got.OK || !strings.Contains(got.Cause, "in time") {
		t.Errorf("the silent peer: %+v", got)
	}
	for _, c := range checks {
		if !c.OK && c.Name != "peer p07: connection" {
			t.Errorf("%+v", c)
		}
	}
	if most > maxAtOnce || len(checks) < 39*4 {
		t.Errorf("%d at once, %d checks", most, len(checks))
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	p.Timeout = time.Hour
	p.Probe = func(ctx context.Context, _, _ string) (PeerState, error) { <-ctx.Done(); return PeerState{}, ctx.Err() }
	if !Failed(Run(ctx, p)) {
		t.Error("what could not be looked at is said to be well")
	}
}

func TestDiskSpace(t *testing.T) {
	t.Parallel()
	free, total, err := diskSpace(t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil || total == 0 || free > total {
		t.Errorf("%d of %d, %v", free, total, err)
	}
	if _, _, err := diskSpace(filepath.Join(t.TempDir(), "gone")); err == nil {
		t.Error("a folder that is not there has space")
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{0: "0 B", 1023: "1023 B", 1 << 30: "1.0 GiB", 50 << 30: "50 GiB", 1 << 60: "1048576 TiB"} {
		if got := amount(n); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 1234 * time.Microsecond: "1.2ms", 90 * time.Second: "90 s", 90 * time.Minute: "90 minutes", 5 * time.Hour: "5 hours", 72 * time.Hour: "3 days"} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
