package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kontor/api/rest"
	"kontor/internal/fault"
)

// defaultHome is where kontor init makes a node and the other commands look for
// one, if nothing else is said.
const defaultHome = "kontor-home"

// Files in a node's folder: the administrator's token, and the number of the
// process that has the folder open.
const (
	adminToken = "admin.token"
	lockFile   = "lock"
)

// target says which node a command talks to.
type target struct{ home, api, token string }

func (t *target) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&t.home, "home", "", "the node's folder (default $KONTOR_HOME, else ./"+defaultHome+")")
	f.StringVar(&t.api, "api", "", "address of the node's API instead, such as https://node.bank.example:7701 (default $KONTOR_API)")
	f.StringVar(&t.token, "token", "", "token for the API, or @FILE with one (default HOME/"+adminToken+", with --api $KONTOR_TOKEN)")
}

// conn is a node that a command talks to.
type conn struct {
	*rest.Client
	near  bool // on this machine: paths mean the same to both
	still bool // only its folder is open: nothing happens to its jobs
	close func() error
}

// nodeCmd makes a command that talks to a node.
func (a *app) nodeCmd(use, short string, args cobra.PositionalArgs, run func(ctx context.Context, n *conn, args []string) error) *cobra.Command {
	var t target
	c := &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		n, err := a.connect(cmd.Context(), t)
		if err != nil {
			return err
		}
		return closing(n.close, run(cmd.Context(), n, args))
	}}
	t.flags(c)
	return c
}

// closing closes and returns err, or else why that failed.
func closing(closeIt func() error, err error) error {
	if cerr := closeIt(); err == nil {
		err = cerr
	}
	return err
}

// connect finds the node: as the flags say, else the environment, else the folder
// beside us.
func (a *app) connect(ctx context.Context, t target) (*conn, error) {
	if t.api == "" && t.home == "" {
		t.api = os.Getenv("KONTOR_API")
	}
	if t.api != "" {
		return connectAPI(t)
	}
	home, err := t.folder()
	if err != nil {
		return nil, err
	}
	t.home = home
	return a.connectHome(ctx, t)
}

// folder returns the node's folder: as given, else by the environment, else the
// one that kontor init makes here.
func (t *target) folder() (string, error) {
	if home := cmp.Or(t.home, os.Getenv("KONTOR_HOME")); home != "" {
		return home, nil
	}
	if info, err := os.Stat(defaultHome); err != nil || !info.IsDir() {
		return "", fault.New(fault.Usage, "no node is named", "give its folder with --home or $KONTOR_HOME, or its address with --api and --token; kontor init makes a new one")
	}
	return defaultHome, nil
}

// connectAPI reaches a node by its address.
func connectAPI(t target) (*conn, error) {
	base, err := checkBase(t.api)
	if err != nil {
		return nil, err
	}
	token := cmp.Or(t.token, os.Getenv("KONTOR_TOKEN"))
	if token == "" && t.home != "" {
		token = "@" + filepath.Join(t.home, adminToken)
	}
	if token, err = readToken(token); err != nil {
		return nil, err
	}
	if token == "" {
		return nil, fault.New(fault.Usage, "no token is given for "+base, "give one with --token or $KONTOR_TOKEN; an administrator of the node makes it with kontor token create")
	}
	return &conn{Client: &rest.Client{Base: base, Token: token}, close: func() error { return nil }}, nil
}

// checkBase returns the base address of an API.
func checkBase(api string) (string, error) {
	if !strings.Contains(api, "://") {
		api = "http://" + api
	}
	u, err := url.Parse(api)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return "", fault.New(fault.Usage, "the address of the API is not of the form https://HOST:PORT", "give for example --api http://127.0.0.1:7701")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// readToken returns a token, from a file where text is @FILE.
func readToken(text string) (string, error) {
	path, isFile := strings.CutPrefix(text, "@")
	if !isFile {
		return strings.TrimSpace(text), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fault.Wrap(fault.Local, err, "the token cannot be read", "give a token with --token, or run as the user who owns the node's folder")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", fault.Wrap(fault.Local, err, "the token cannot be read", "name a file with --token @FILE")
	}
	return strings.TrimSpace(string(b)), nil
}

// opening is how long a command waits for a node that was started a moment ago, or
// for another command that has the folder open.
const opening = 5 * time.Second

// patiently opens a folder, again and again while another process has it open for
// a moment.
func patiently(ctx context.Context, home string, open func() error) error {
	for end := time.Now().Add(opening); ; {
		err := open()
		if fault.KindOf(err) != fault.Local || !held(home) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// connectHome reaches the node of a folder: the process that runs it, or the
// folder itself where none does.
func (a *app) connectHome(ctx context.Context, t target) (n *conn, err error) {
	api, runs := "", false
	err = patiently(ctx, t.home, func() error {
		if api, runs = a.node.running(t.home); runs {
			return nil
		}
		h, token, closeHome, err := a.node.offline(ctx, t.home)
		if err == nil {
			n, err = connectFolder(t, h, token, closeHome)
		}
		return err
	})
	if runs {
		return connectRunning(t, api)
	}
	return n, err
}

// held reports whether a process says that it has the folder open.
func held(home string) bool { return holder(home) != "" }

// holder returns the number of the process that has the folder open, as it says.
func holder(home string) string {
	b, err := os.ReadFile(filepath.Join(home, lockFile))
	if err != nil || len(b) > 32 {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// connectFolder calls the API within this process.
func connectFolder(t target, h http.Handler, token string, closeHome func() error) (*conn, error) {
	if t.token != "" {
		var err error
		if token, err = readToken(t.token); err != nil {
			return nil, errors.Join(err, closeHome())
		}
	}
	c := &rest.Client{Base: "http://kontor.invalid", Token: token, HTTP: &http.Client{Transport: rest.InProcess(h)}}
	return &conn{Client: c, near: true, still: true, close: closeHome}, nil
}

func connectRunning(t target, api string) (*conn, error) {
	token, err := readToken(cmp.Or(t.token, "@"+filepath.Join(t.home, adminToken)))
	if env := os.Getenv("KONTOR_TOKEN"); errors.Is(err, os.ErrPermission) && env != "" {
		token, err = readToken(env)
	}
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(api)
	if err != nil || u.Host == "" {
		return nil, fault.New(fault.Local, fmt.Sprintf("the node of %s has left no address of its API", t.home), "start it again with kontor up --home "+t.home)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsUnspecified() { // all interfaces: this one too
		u.Host = net.JoinHostPort("127.0.0.1", u.Port())
	}
	client, err := homeClient(t.home, u.Scheme)
	if err != nil {
		return nil, err
	}
	return &conn{Client: &rest.Client{Base: strings.TrimRight(u.String(), "/"), Token: token, HTTP: client}, near: true, close: func() error { return nil }}, nil
}
