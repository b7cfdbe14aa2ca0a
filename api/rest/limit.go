package rest

import (
	"net/netip"
	"sync"
	"time"
)

// Failed logins a remote address may have at once, and how soon one is forgiven.
const (
	loginBurst  = 10
	loginRefill = 6 * time.Second
	loginHosts  = 4096 // addresses remembered
)

// failures counts failed logins by remote address, so that guessing is slow and
// the account cannot be filled. It never refuses a valid token: who shares an
// address with somebody who guesses is not locked out.
type failures struct {
	mu    sync.Mutex
	hosts map[string]time.Time // when the host's count is back at zero
}

// add counts a failure and reports whether the address had any left, and
// otherwise how long to wait.
func (f *failures) add(host string, now time.Time) (bool, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hosts == nil {
		f.hosts = map[string]time.Time{}
	}
	until, ok := f.hosts[host]
	if !ok && len(f.hosts) >= loginHosts {
		f.forget(now)
		if len(f.hosts) >= loginHosts {
			host = "" // too many addresses: the newest share one count
			until = f.hosts[host]
		}
	}
	if until.Before(now) {
		until = now
	}
	if wait := until.Add(loginRefill).Sub(now) - loginBurst*loginRefill; wait > 0 {
		return false, wait
	}
	f.hosts[host] = until.Add(loginRefill)
	return true, 0
}

func (f *failures) forget(now time.Time) {
	for h, until := range f.hosts {
		if !until.After(now) {
			delete(f.hosts, h)
		}
	}
}

// remoteHost returns what failures are counted by: the address, or for IPv6 its
// network of 64 bits, which one customer has whole.
func remoteHost(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		if len(remote) > 64 {
			remote = remote[:64]
		}
		return remote
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
