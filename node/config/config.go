// Package config reads and writes kontor.yaml, what an institution decides about
// its own node: where it listens, how peers reach it, how much of the machine
// jobs may take, what it logs. Every setting has a safe default, and a file is
// refused with its line rather than half understood.
//
// Who may use which data is not here: that is the policy. Neither are keys,
// peers or tokens, which no person writes by hand.
//
// The reference is docs/config.md.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kontor/internal/fault"
)

const (
	// FileName is the configuration's name in the folder of a node.
	FileName = "kontor.yaml"

	listenFile = "listen" // the only setting of nodes made before there was a configuration
	maxFile    = 64 << 10
)

// Config is what kontor.yaml says.
type Config struct {
	Name      string // of the institution; the identity has it too, and they must agree
	Listen    string // host:port for peers, port 0 for any; empty: the node takes no connections
	Advertise string // host:port by which peers reach it, for invitations; empty: none is known
	API       API
	DialOut   []DialOut
	Relay     bool // pass connections on between two peers that can only dial out
	Jobs      Jobs
	Log       Log
}

// API is where the HTTP API listens. Beyond this machine it needs TLS.
type API struct {
	Listen  string // host:port, port 0 for any
	TLSCert string // PEM file, empty for none; absolute once [Load] has read it
	TLSKey  string
}

// DialOut is a peer that this node keeps a connection to, so that the peer, or
// others through it if it relays, reach this node although it has no open port.
type DialOut struct {
	Peer    string
	Address string // host:port; empty: as the peer's invitation says
}

// Jobs bounds what jobs may take of this machine. Zero means no bound of our own.
type Jobs struct {
	Parallel int           // how many run at once; at least 1
	Patience time.Duration // how long a job waits for a peer that is away before it fails
	Cores    int           // for one job
	Memory   int64         // bytes, for one job
	Disk     int64         // bytes that one job may write
	Reserve  int64         // bytes of the disk that stay free: no job starts below it
}

// Log says what is logged and how.
type Log struct {
	Level  string // one of Levels
	Format string // one of Formats
}

// The words that [Log] takes.
var (
	Levels  = []string{"debug", "info", "warn", "error"}
	Formats = []string{"text", "json"}
)

// Default returns the configuration of a new node: peers and people on this
// machine alone reach it until somebody decides otherwise.
func Default(name string) *Config {
	return &Config{
		Name:   name,
		Listen: "127.0.0.1:7700",
		API:    API{Listen: "127.0.0.1:7701"},
		Jobs:   Jobs{Parallel: 4, Patience: 24 * time.Hour, Reserve: 1 << 30},
		Log:    Log{Level: "info", Format: "text"},
	}
}

// Load reads the configuration of the node in home. Where there is none, it is
// [Default] with the address in the file "listen" that older versions wrote. Files
// that it names are made absolute, relative to home.
func Load(home string) (*Config, error) {
	path := filepath.Join(home, FileName)
	b, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return legacy(home)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Local, err, "the configuration cannot be read", "check its permissions and size")
	}
	c, err := Parse(path, b)
	if err != nil {
		return nil, err
	}
	for _, f := range []*string{&c.API.TLSCert, &c.API.TLSKey} {
		if *f != "" && !filepath.IsAbs(*f) {
			*f = filepath.Join(home, *f)
		}
	}
	return c, nil
}

func legacy(home string) (*Config, error) {
	c := Default("")
	path := filepath.Join(home, listenFile)
	b, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fault.Wrap(fault.Local, err, "the listen address cannot be read", "check the folder's permissions")
	}
	c.Listen = strings.TrimSpace(string(b))
	if c.Listen != "" && !isListen(c.Listen) {
		return nil, fault.New(fault.Local, fmt.Sprintf("%s holds no address of the form host:port", path), "write the address to listen on into it, for example 127.0.0.1:7700")
	}
	return c, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is no file of up to %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}
