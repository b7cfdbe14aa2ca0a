package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"kontor/internal/fault"
)

// full is a configuration in which nothing is as in Default.
func full() *Config {
	return &Config{
		Name: "bank", Listen: "0.0.0.0:0", Advertise: "node.bank.example:7700",
		API:     API{Listen: "[::]:443", TLSCert: "tls/api \"1\".pem", TLSKey: "/etc/ünï: #.key"},
		DialOut: []DialOut{{"telecom", "telecom.example:7700"}, {"shop", ""}},
		Relay:   true,
		Jobs:    Jobs{Parallel: 9, Patience: 90 * time.Minute, Cores: 3, Memory: 3 << 30, Disk: 1500, Reserve: 5 << 20},
		Log:     Log{"debug", "json"},
	}
}

func TestTemplateIsReadBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*Config{"default": Default("bank"), "full": full()} {
		text := Template(c)
		got, err := Parse(FileName, text)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: %v\n%+v\n%+v\n%s", name, err, got, c, text)
		}
	}
	// Each setting can be seen in the file and has a comment before it.
	text := string(Template(Default("bank")))
	for _, key := range []string{"name", "listen", "advertise", "api", "tls_cert", "tls_key", "dial_out", "relay", "jobs", "parallel", "patience", "cores", "memory", "disk", "reserve", "log", "level", "format"} {
		if !strings.Contains(text, key+":") {
			t.Errorf("the template does not show %s", key)
		}
	}
}

// TestDocument holds docs/config.md to the settings and defaults that there are.
func TestDocument(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	c := Default("bank")
	for _, row := range []string{
		"| `name` |", "| `listen` | `" + c.Listen + "` |", "| `advertise` | `\"\"` |", "| `api.listen` | `" + c.API.Listen + "` |", "| `api.tls_cert`, `api.tls_key` | `\"\"` |",
		"| `dial_out` | `[]` |", "| `relay` | `false` |", fmt.Sprintf("| `jobs.parallel` | `%d` |", c.Jobs.Parallel), "| `jobs.patience` | `" + FormatDuration(c.Jobs.Patience) + "` |",
		fmt.Sprintf("| `jobs.cores` | `%d` |", c.Jobs.Cores), "| `jobs.memory` | `" + FormatSize(c.Jobs.Memory) + "` |", "| `jobs.disk` | `" + FormatSize(c.Jobs.Disk) + "` |",
		"| `jobs.reserve` | `" + FormatSize(c.Jobs.Reserve) + "` |", "| `log.level` | `" + c.Log.Level + "` |", "| `log.format` | `" + c.Log.Format + "` |",
	} {
		if !strings.Contains(string(b), row) {
			t.Errorf("docs/config.md has no row %s", row)
		}
	}
}

func TestDefaultIsClosed(t *testing.T) {
	t.Parallel()
	c := Default("bank")
	if !IsLoopback(c.Listen) || !IsLoopback(c.API.Listen) || c.Relay || len(c.DialOut) != 0 {
		t.Errorf("a new node is open: %+v", c)
	}
	for name, text := range map[string]string{"nothing": "", "comments": "# nothing\n", "empty mapping": "{}", "empty parts": "api:\njobs:\nlog:\ndial_out:\n"} {
		if got, err := Parse("f", []byte(text)); err != nil || !reflect.DeepEqual(got, Default("")) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	c, err := Parse("f", []byte("listen: \"\"\napi: {listen: \"localhost:0\"}\ndial_out:\n- peer: telecom\njobs: {patience: 7d, memory: 1.5 GB}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Default("")
	want.Listen, want.API.Listen, want.DialOut = "", "localhost:0", []DialOut{{Peer: "telecom"}}
	want.Jobs.Patience, want.Jobs.Memory = 7*day, 1_500_000_000
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
	if c, err := Parse("f", []byte("listen: :7700")); err != nil || c.Listen != ":7700" {
		t.Errorf("all interfaces: %+v, %v", c, err)
	}
}

// TestErrors: each names file and line, says what is wrong and what to do.
func TestErrors(t *testing.T) {
	t.Parallel()
	for text, says := range map[string][]string{
		"name: Bank":                                  {"line 1", `"Bank"`, "a-z"},
		"\nlisten: here":                              {"line 2", "listen", "0.0.0.0:7700"},
		"listen: a:99999":                             {"line 1", "listen"},
		"listen: null":                                {"line 1", "listen must have a value"},
		"listen: [a]":                                 {"line 1", "listen must have a value"},
		"advertise: 10.0.0.7":                         {"line 1", "advertise", "host:port"},
		"advertise: 10.0.0.7:0":                       {"line 1", "advertise"},
		"lisen: 127.0.0.1:1":                          {"line 1", `no setting "lisen"`, `did you mean "listen"`},
		"api:\n  tls_crt: x":                          {"line 2", "api has no setting", `"tls_cert"`},
		"xyzzy: 1":                                    {"line 1", "choose one of: advertise, api"},
		"relay: yes":                                  {"line 1", "relay", "true or false"},
		"relay: true\nrelay: true":                    {"line 2", "twice"},
		"jobs: 4":                                     {"line 1", "jobs must be a mapping"},
		"jobs: {parallel: 0}":                         {"line 1", "parallel", "1 to 1024"},
		"jobs: {parallel: 2.5}":                       {"line 1", "parallel", "whole number"},
		"jobs: {cores: -1}":                           {"line 1", "cores"},
		"jobs: {patience: 24}":                        {"line 1", "patience", "24h"},
		"jobs: {patience: 10000d}":                    {"line 1", "patience", "366d"},
		"jobs: {patience: 1ms}":                       {"line 1", "patience"},
		"jobs: {memory: plenty}":                      {"line 1", "memory", "2GiB"},
		"jobs: {disk: -1}":                            {"line 1", "disk"},
		"log: {level: trace}":                         {"line 1", "level", "debug, info, warn, error"},
		"log: {format: jsno}":                         {"line 1", `did you mean "json"`},
		"api: {listen: \"0.0.0.0:7701\"}":             {"line 1", "without TLS", "tls_cert", "SSH"},
		"api: {listen: \":7701\"}":                    {"line 1", "without TLS"},
		"api: {listen: \"bank.example:1\"}":           {"line 1", "without TLS"},
		"api: {listen: \"\"}":                         {"line 1", "listen"},
		"api: {tls_cert: a.pem}":                      {"line 1", "both"},
		"api:\n  listen: 0.0.0.0:1\n  tls_key: a.pem": {"line 2", "both"},
		"dial_out: telecom":                           {"line 1", "dial_out", "list"},
		"dial_out: [telecom]":                         {"line 1", "mapping"},
		"dial_out: [{address: \"a:1\"}]":              {"line 1", "without peer"},
		"dial_out: [{peer: a}, {peer: a}]":            {"line 1", "a twice"},
		"dial_out: [{peer: A}]":                       {"line 1", "peer"},
		"dial_out: [{peer: a, address: b}]":           {"line 1", "address"},
		"relay: true\nlisten: \"\"":                   {"line 1", "relay"},
		"a: b: c":                                     {"YAML"},
		"listen: \"a":                                 {"YAML"},
		"- a":                                         {"line 1", "mapping"},
		"just text":                                   {"line 1", "mapping"},
		"? [a]\n: b":                                  {"line 1", "no word"},
		"name: &x bank":                               {"line 1", "name must have a value"},
		"name: a\nadvertise: *x":                      {"YAML"},
		"name: a\n---\nname: b":                       {"line 2", "second document"},
		"name: \"a\\nb\"":                             {"line 1", "name"},
		"api: {tls_cert: \"a\\0\", tls_key: b}":       {"line 1", "tls_cert"},
		strings.Repeat("#", maxFile+1):                {"at most"},
	} {
		c, err := Parse("kontor.yaml", []byte(text))
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Local || f.Cure == "" || c != nil {
			t.Errorf("%.60q: %+v, %v", text, c, err)
			continue
		}
		for _, s := range append(says, "kontor.yaml") {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%.60q: %v does not say %q", text, err, s)
			}
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := Load(home); err != nil || !reflect.DeepEqual(c, Default("")) {
		t.Errorf("nothing there: %+v, %v", c, err)
	}
	write("listen", "10.0.0.7:7700\n")
	if c, err := Load(home); err != nil || c.Listen != "10.0.0.7:7700" {
		t.Errorf("older folder: %+v, %v", c, err)
	}
	write("listen", "nowhere")
	if _, err := Load(home); fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("bad address: %v", err)
	}
	write(FileName, "api: {listen: \"0.0.0.0:1\", tls_cert: tls/a.pem, tls_key: /b.pem}")
	if c, err := Load(home); err != nil || c.Listen != Default("").Listen || c.API.TLSCert != filepath.Join(home, "tls/a.pem") || c.API.TLSKey != "/b.pem" {
		t.Errorf("kontor.yaml: %+v, %v", c, err)
	}
	write(FileName, "\nlisten: 1")
	if _, err := Load(home); err == nil || !strings.Contains(err.Error(), filepath.Join(home, FileName)+" line 2") {
		t.Errorf("error: %v", err)
	}
	write(FileName, strings.Repeat(" ", maxFile+1))
	if _, err := Load(home); fault.KindOf(err) != fault.Local || err == nil {
		t.Errorf("huge: %v", err)
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{"0": 0, "4096": 4096, "2GiB": 2 << 30, "2 gib": 2 << 30, "1kB": 1000, "1.5TB": 1_500_000_000_000, "7B": 7, "0.5KiB": 512, "8388607TiB": 8388607 << 40} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "GiB", "-1", "1e3", "inf", "nan", "0x10", "1.2.3", "8388608TiB", "9999999.5TiB", "2 GiB free", "1_000"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%q is read as %d", s, got)
		}
	}
	for _, n := range []int64{0, 1, 1023, 1024, 1 << 30, 3 << 40, 1e9, 1<<63 - 1, 5 << 20} {
		if got, err := ParseSize(FormatSize(n)); err != nil || got != n {
			t.Errorf("%d becomes %q, %d, %v", n, FormatSize(n), got, err)
		}
	}
	for d, want := range map[time.Duration]string{24 * time.Hour: "24h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", 5 * time.Minute: "5m", time.Hour + time.Second: "1h0m1s", 0: "0s"} {
		s := FormatDuration(d)
		if got, err := ParseDuration(s); s != want || err != nil || got != d {
			t.Errorf("%v becomes %q, %v, %v", d, s, got, err)
		}
	}
	for _, s := range []string{"", "d", "-1d", "1.5d", "99999d", "1 day", "5"} {
		if got, err := ParseDuration(s); err == nil {
			t.Errorf("%q is read as %v", s, got)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	t.Parallel()
	for a, want := range map[string]bool{"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true, "localhost:1": true,
		"0.0.0.0:1": false, ":1": false, "[::]:1": false, "10.0.0.1:1": false, "localhost.example:1": false, "127.0.0.1": false, "127.0.0.1.example:1": false} {
		if IsLoopback(a) != want {
			t.Errorf("%s: %v", a, !want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Template(Default("bank")))
	f.Add(Template(full()))
	f.Add([]byte("a: &x [*x]"))
	f.Add([]byte("jobs: {memory: 1e9GiB}\n---\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse("f", b)
		if err != nil {
			if fault.KindOf(err) != fault.Local {
				t.Errorf("kind of %v", err)
			}
			return
		}
		// What is taken can be written and read again, and never is open by accident.
		again, err := Parse("f", Template(c))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%v\n%+v\n%+v", err, again, c)
		}
		if !IsLoopback(c.API.Listen) && (c.API.TLSCert == "" || c.API.TLSKey == "") {
			t.Errorf("open API: %+v", c.API)
		}
	})
}

func FuzzUnits(f *testing.F) {
	f.Add("2GiB")
	f.Add("1.5 TB")
	f.Add("30d")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseSize(s); err == nil {
			if m, err := ParseSize(FormatSize(n)); n < 0 || err != nil || m != n {
				t.Errorf("%q: %d, %d, %v", s, n, m, err)
			}
		}
		if d, err := ParseDuration(s); err == nil {
			if e, err := ParseDuration(FormatDuration(d)); err != nil || e != d {
				t.Errorf("%q: %v, %v, %v", s, d, e, err)
			}
		}
	})
}
