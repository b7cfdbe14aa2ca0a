package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"kontor/identity"
	"kontor/node/config"
)

// machine looks at what is here.
func (p *Probes) machine(ctx context.Context, c *config.Config) []Check {
	checks := []Check{p.home(), p.disk(c.Jobs.Reserve)}
	if p.Certificate != nil {
		checks = append(checks, p.certificate())
	}
	if p.Policy != nil {
		detail, err := p.Policy()
		checks = append(checks, outcome("policy", "the policy is understood", detail, "the policy cannot be used, so every job of a peer is refused", err, "correct policy.yaml"))
	}
	if p.Database != nil {
		detail, err := p.Database(ctx)
		checks = append(checks, outcome("state", "the state database is sound", detail, "the state database cannot be used", err,
			"stop the node and restore state.db from a backup"))
	}
	return append(checks, p.port(ctx, "peer port", c.Listen, p.Listening, "listen"), p.port(ctx, "api", c.API.Listen, p.APIListening, "api.listen"), p.exposure(c))
}

func outcome(name, well, detail, ill string, err error, cure string) Check {
	if err != nil {
		return failed(name, ill, err, cure)
	}
	return good(name, well, detail)
}

func (p *Probes) config() (*config.Config, Check) {
	const name = "configuration"
	c, err := p.Config()
	if err != nil {
		return config.Default(p.Name), failed(name, "the configuration cannot be used, so the defaults are looked at", err, "correct "+config.FileName)
	}
	if p.Name != "" && c.Name != "" && c.Name != p.Name {
		return c, failed(name, fmt.Sprintf("%s says name: %s, the identity is %s", config.FileName, c.Name, p.Name), nil,
			"write name: "+p.Name+" into "+config.FileName+", or use the folder of "+c.Name)
	}
	for _, f := range []string{c.API.TLSCert, c.API.TLSKey} {
		if f == "" {
			continue
		}
		if _, err := os.Stat(f); err != nil {
			return c, failed(name, "a file of the API's TLS is not there", err, "correct api.tls_cert and api.tls_key in "+config.FileName)
		}
	}
	return c, good(name, "the configuration is understood", filepath.Join(p.Home, config.FileName))
}

// guarded is what others must not change, and must not read: keys never, the
// rest where the folder does not keep them out anyway. What is not there is
// somebody else's check.
var guarded = []struct {
	file         string
	key, private bool
}{
	{"identity.pem", true, true}, {"node.pem", true, true}, {"admin.token", true, true},
	{"state.db", false, true}, {"state.db-wal", false, true}, {"jobs", false, true}, {"models", false, true},
	{"peers", false, false}, {config.FileName, false, false}, {"policy.yaml", false, false},
}

// home looks at who may read and write the folder of the node.
func (p *Probes) home() Check {
	const name = "folder"
	info, err := os.Stat(p.Home)
	if err != nil || !info.IsDir() {
		return failed(name, "the folder of the node cannot be opened", err, "make it with kontor init, or name the right one with --home")
	}
	f, err := os.CreateTemp(p.Home, ".doctor-*")
	if err != nil {
		return failed(name, "nothing can be written into the folder of the node", err, "run the node as the owner of "+p.Home+", on a disk that is not mounted read-only")
	}
	f.Close()
	os.Remove(f.Name())
	if runtime.GOOS == "windows" { // no such mode bits; folders inherit the user's protection
		return good(name, "the folder can be written", p.Home)
	}
	open := info.Mode().Perm()&0o077 != 0
	for _, g := range guarded {
		info, err := os.Stat(filepath.Join(p.Home, g.file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return failed(name, g.file+" cannot be looked at", err, "run the node as the owner of "+p.Home)
		}
		mode := info.Mode().Perm()
		switch {
		case (g.key || open) && mode&0o022 != 0:
			return failed(name, fmt.Sprintf("others may change %s (mode %04o)", g.file, mode), nil, "run chmod go-w "+filepath.Join(p.Home, g.file))
		case (g.key || g.private && open) && mode&0o044 != 0:
			return failed(name, fmt.Sprintf("others may read %s (mode %04o)", g.file, mode), nil,
				"run chmod -R go-rwx "+p.Home+", and replace keys and tokens that somebody may have copied")
		}
	}
	if open {
		return warning(name, fmt.Sprintf("others may look into the folder (mode %04o)", info.Mode().Perm()), "", "run chmod 700 "+p.Home)
	}
	return good(name, "only its owner can open the folder", p.Home)
}

func (p *Probes) disk(reserve int64) Check {
	const name = "disk"
	free, total, err := p.Disk(p.Home)
	if errors.Is(err, errors.ErrUnsupported) {
		return warning(name, "how much of the disk is free cannot be found out on this system", "", "look at it yourself now and then")
	}
	if err != nil {
		return failed(name, "the disk cannot be looked at", err, "check that "+p.Home+" is there and its disk in order")
	}
	limit := cmp.Or(uint64(max(reserve, 0)), 1<<30)
	what := fmt.Sprintf("%s of %s are free", amount(float64(free)), amount(float64(total)))
	const cure = "delete results of old jobs or give the disk more space"
	switch {
	case free < limit:
		return failed(name, what+", too little for jobs to start", nil, cure+fmt.Sprintf("; at least %s must stay free (jobs.reserve)", amount(float64(limit))))
	case float64(free) < float64(total)/10:
		return warning(name, what, "less than a tenth is left", cure)
	}
	return good(name, what, p.Home)
}

const dateFormat = "2006-01-02 15:04 UTC"

func (p *Probes) certificate() Check {
	const name = "certificate"
	c, err := p.Certificate()
	if err != nil {
		return failed(name, "the node's certificate cannot be read", err, "restore node.pem, or delete it to have it made anew")
	}
	now := p.Now()
	until := "the node's certificate is valid until " + c.NotAfter.UTC().Format(dateFormat)
	const cure = "start the node, which renews it, or look in its log why it could not"
	switch renew, alarm := identity.Due(c.NotBefore, c.NotAfter, now); {
	case !now.Before(c.NotAfter):
		return failed(name, "the node's certificate expired on "+c.NotAfter.UTC().Format(dateFormat)+", no peer accepts it", c.RenewError, cure)
	case now.Before(c.NotBefore):
		return failed(name, "the node's certificate is valid only from "+c.NotBefore.UTC().Format(dateFormat), errors.New("the clock was ahead when it was made, or is behind now"),
			"set the clock of this machine, then start the node again")
	case alarm:
		w := failed(name, fmt.Sprintf("%s, in %s, and was not renewed", until, span(c.NotAfter.Sub(now))), c.RenewError, cure)
		w.OK, w.Warn = true, true
		return w
	case renew && c.RenewError != nil:
		w := failed(name, until+", renewing it failed", c.RenewError, cure)
		w.OK, w.Warn = true, true
		return w
	}
	return good(name, until, "it is renewed by itself")
}

// port looks whether an address can be listened on, or answers if this node
// listens on it already.
func (p *Probes) port(ctx context.Context, name, address, now, setting string) Check {
	if now != "" {
		ctx, stop := context.WithTimeout(ctx, p.Timeout)
		defer stop()
		conn, err := p.Dial(ctx, reachable(now))
		if err != nil {
			return failed(name, "this node listens on "+now+" but does not answer there", err, "look for a firewall on this machine, and in the node's log")
		}
		conn.Close()
		return good(name, "this node answers on "+now, "")
	}
	if address == "" {
		return good(name, "this node takes no connections, it only dials", setting+` is ""`)
	}
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		l.Close()
		return good(name, address+" can be listened on; the node does not run", "")
	case errors.Is(err, syscall.EADDRINUSE):
		return failed(name, address+" is in use by another process", nil,
			fmt.Sprintf("stop that process (ss -ltnp shows it) or write another address for %s in %s", setting, config.FileName))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return failed(name, "this machine does not have the address "+address, nil, fmt.Sprintf("write one that it has for %s in %s, or 0.0.0.0 for all", setting, config.FileName))
	case errors.Is(err, fs.ErrPermission):
		return failed(name, address+" is not allowed for this user", nil, fmt.Sprintf("write a port above 1023 for %s in %s", setting, config.FileName))
	}
	return failed(name, "the node cannot listen on "+address, err, fmt.Sprintf("write another address for %s in %s", setting, config.FileName))
}

// reachable is where this machine reaches what listens on all its interfaces.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		if strings.Contains(host, ":") {
			return net.JoinHostPort("::1", port)
		}
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// exposure says whether peers can reach this node at all, which is the first
// surprise of a new one.
func (p *Probes) exposure(c *config.Config) Check {
	const name = "reachable"
	switch {
	case c.Listen != "" && !config.IsLoopback(c.Listen):
		return good(name, "peers elsewhere can connect to this node, as far as the network lets them", cmp.Or(c.Advertise, c.Listen))
	case len(c.DialOut) > 0:
		return good(name, "this node connects to its peers by itself", fmt.Sprintf("dial_out: %d", len(c.DialOut)))
	case c.Listen == "":
		return warning(name, "nobody can reach this node, it can only start jobs itself", "listen is empty and dial_out has no peer",
			"to take part in the jobs of others, name them under dial_out in "+config.FileName)
	}
	return warning(name, "only this machine can connect to this node", "listen is "+c.Listen,
		"to work with peers elsewhere, write listen: 0.0.0.0:7700 or dial_out into "+config.FileName)
}

// dialOut looks whether the peers to connect to are known at all.
func dialOut(c *config.Config, peers []Peer) Check {
	const name = "dial out"
	for _, d := range c.DialOut {
		i := slices.IndexFunc(peers, func(p Peer) bool { return p.Name == d.Peer })
		if i < 0 {
			return failed(name, "dial_out names "+d.Peer+", which is no accepted peer", nil,
				"accept its invitation (kontor peer accept), or correct the name in "+config.FileName)
		}
		if d.Address == "" && peers[i].Address == "" {
			return failed(name, "no address is known for "+d.Peer, errors.New("neither dial_out nor its invitation has one"),
				"write its address under dial_out in "+config.FileName)
		}
	}
	return good(name, "the peers to connect to are known", fmt.Sprintf("dial_out: %d", len(c.DialOut)))
}

// amount writes a number of bytes for people.
func amount(n float64) string {
	for _, u := range []string{"B", "KiB", "MiB", "GiB", "TiB"} {
		if n < 1024 || u == "TiB" {
			if n < 10 && u != "B" {
				return fmt.Sprintf("%.1f %s", n, u)
			}
			return fmt.Sprintf("%.0f %s", n, u)
		}
		n /= 1024
	}
	return ""
}

// span writes a duration for people.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.0f hours", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%.0f minutes", d.Minutes())
	case d >= 2*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return d.Round(100 * time.Microsecond).String()
}
