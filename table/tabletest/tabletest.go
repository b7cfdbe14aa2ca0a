//go:build unix

// Package tabletest starts real database servers for tests: PostgreSQL and
// MariaDB or MySQL as they are installed on the machine, with their data in a
// temporary folder, for the length of one test. A test that asks for a server that
// is not installed is skipped, or fails where KONTOR_REQUIRE_SERVERS is 1. Not for
// anything but tests.
package tabletest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a running database.
type Server struct {
	User, Password, Database string
	Socket                   string // as the socket parameter of a DSN wants it
	Port                     int    // on 127.0.0.1; speaks TLS, and without it too
	CA                       string // file with the certificate to expect for localhost
	scheme                   string
	exec                     func(statement string) error
}

// Exec runs statements in the server.
func (s Server) Exec(t testing.TB, statements ...string) {
	t.Helper()
	for _, q := range statements {
		if err := s.exec(q); err != nil {
			t.Fatalf("%s: %v", strings.ReplaceAll(q, password, "***"), err)
		}
	}
}

// DSN addresses the server through its socket.
func (s Server) DSN() string {
	return fmt.Sprintf("%s://%s:%s@/%s?socket=%s", s.scheme, s.User, s.Password, s.Database, s.Socket)
}

// TCP addresses the server on localhost, without parameters.
func (s Server) TCP() string {
	return fmt.Sprintf("%s://%s:%s@localhost:%d/%s", s.scheme, s.User, s.Password, s.Port, s.Database)
}

// find returns the path of a program that is installed, perhaps outside PATH.
func find(t testing.TB, what string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if p, err := exec.LookPath(name); err == nil {
			if p, err = filepath.EvalSymlinks(p); err == nil {
				return p
			}
		}
		for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/", "/usr/libexec/"} {
			if m, _ := filepath.Glob(pattern + name); len(m) > 0 {
				return m[len(m)-1]
			}
		}
	}
	if os.Getenv("KONTOR_REQUIRE_SERVERS") == "1" {
		t.Fatalf("%s is not installed (no %s), and KONTOR_REQUIRE_SERVERS asks for it", what, strings.Join(names, ", "))
	}
	t.Skipf("%s is not installed (no %s)", what, strings.Join(names, ", "))
	return ""
}

// unprivileged makes cmd run as somebody else where this is root: database servers
// refuse to run as root.
func unprivileged(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"nobody", "postgres", "mysql"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
			gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
			if err1 == nil && err2 == nil {
				return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
			}
		}
	}
	t.Skip("this is root and there is no user nobody to run a database server as")
	return nil
}

// room makes the folder of a server. Its path is short, as paths of sockets must be.
func room(t testing.TB, as *syscall.Credential) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kdb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	give(t, as, dir)
	return dir
}

func give(t testing.TB, as *syscall.Credential, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if as == nil {
			return
		}
		if err := os.Chown(p, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}

func command(as *syscall.Credential, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + dir, "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	return cmd
}

func run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// serve starts a server and stops it when the test ends. ready is polled until it
// is true.
func serve(t testing.TB, cmd *exec.Cmd, stop syscall.Signal, ready func() error) {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended shows in its log
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(stop) // it may have ended
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s ended:\n%s", cmd.Path, log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v", cmd.Path, err)
		}
	}
}

// freePort returns a port that nobody listens on at this moment.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
