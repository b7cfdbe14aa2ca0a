package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"kontor/internal/fault"
)

const day = 24 * time.Hour

func TestDue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		now          time.Duration // after the certificate was made
		renew, alarm bool
	}{
		"new": {0, false, false}, "two thirds": {60 * day, false, false}, "then": {60*day + time.Second, true, false},
		"two weeks left": {76 * day, true, false}, "less": {76*day + time.Second, true, true}, "over": {91 * day, true, true},
		"slow clock": {-backdate, false, false}, "clock set back": {-backdate - time.Second, true, true},
	} {
		renew, alarm := Due(noon.Add(-backdate), noon.Add(NodeValidity), noon.Add(c.now))
		if renew != c.renew || alarm != c.alarm {
			t.Errorf("%s: renew %v, alarm %v", name, renew, alarm)
		}
	}
	if renew, alarm := Due(time.Time{}, time.Time{}, noon); !renew || !alarm {
		t.Error("no certificate at all is not due")
	}
}

// manual is a clock that moves when KeepFresh waits, one step each time, and
// stops it at the end.
type manual struct {
	now  time.Time
	step time.Duration
	left int
	stop context.CancelFunc
	look func(now time.Time)
}

func (m *manual) Now() time.Time { return m.now }

func (m *manual) After(d time.Duration) <-chan time.Time {
	if m.look != nil {
		m.look(m.now)
	}
	c := make(chan time.Time, 1)
	if m.left--; m.left <= 0 {
		m.stop()
		return c
	}
	m.now = m.now.Add(max(d, m.step))
	c <- m.now
	return c
}

// TestKeepFreshForAYear runs a node for a year without restart: its certificate
// must be good at every moment, for peers whose clocks are an hour off too.
func TestKeepFreshForAYear(t *testing.T) {
	t.Parallel()
	id := ephemeral(t, "bank", noon)
	peers := pinned(t, id)
	ctx, stop := context.WithCancel(t.Context())
	clock := &manual{now: noon, left: 365 * 24, stop: stop}
	clock.look = func(now time.Time) {
		if int(now.Sub(noon).Hours())%7 != 0 { // signatures take their time under the race detector
			return
		}
		for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
			if _, err := VerifyPeer(id.TLSCertificate().Certificate, peers, now.Add(skew)); err != nil {
				t.Fatalf("%v after the start, skew %v: %v", now.Sub(noon), skew, err)
			}
		}
	}
	var got []Alarm
	KeepFresh(ctx, id, clock, func(a Alarm) { got = append(got, a) })
	if clock.left > 0 {
		t.Fatal("it ended before its context")
	}
	if len(got) != 6 { // every 60 days and the hour by which it is noticed
		t.Fatalf("%d reports in a year: %+v", len(got), got)
	}
	for i, a := range got {
		if !a.Renewed || a.Urgent || a.Err != nil || !a.NotAfter.Equal(a.Time.Add(NodeValidity)) {
			t.Errorf("report %d: %+v", i, a)
		}
	}
}

func TestKeepFreshAlarms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, err := Create(dir, "bank", noon)
	if err != nil {
		t.Fatal(err)
	}
	id.dir = filepath.Join(dir, "gone") // nothing can be written
	ctx, stop := context.WithCancel(t.Context())
	clock := &manual{now: noon, step: day, left: 90, stop: stop}
	var got []Alarm
	KeepFresh(ctx, id, clock, func(a Alarm) { got = append(got, a) })
	if len(got) != 29 { // days 61 to 89
		t.Fatalf("%d reports", len(got))
	}
	for _, a := range got {
		if urgent := a.Time.Sub(noon) > 76*day; a.Renewed || fault.KindOf(a.Err) != fault.Local || a.Err == nil || a.Urgent != urgent || !a.NotAfter.Equal(noon.Add(NodeValidity)) {
			t.Errorf("after %v: %+v", a.Time.Sub(noon), a)
		}
	}
	// When the disk is well again, so is the certificate, also if it has expired.
	id.dir = dir
	late := noon.Add(100 * day)
	a, due := id.freshen(late)
	if !due || !a.Renewed || a.Urgent || a.Err != nil {
		t.Errorf("after the repair: %+v", a)
	}
	if back, err := Load(dir); err != nil || !back.NotAfter().Equal(late.Add(NodeValidity)) {
		t.Errorf("on disk: %v", err)
	}
	if runtime.GOOS != "windows" {
		if info, err := os.Stat(filepath.Join(dir, nodeFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

func TestKeepFreshAfterAWrongClock(t *testing.T) {
	t.Parallel()
	id := ephemeral(t, "bank", noon.Add(3650*day)) // made by a clock ten years ahead
	ctx, stop := context.WithCancel(t.Context())
	var got []Alarm
	KeepFresh(ctx, id, &manual{now: noon, left: 3, stop: stop}, func(a Alarm) { got = append(got, a) })
	if len(got) != 1 || !got[0].Renewed || got[0].Urgent {
		t.Fatalf("%+v", got)
	}
	if _, err := VerifyPeer(id.TLSCertificate().Certificate, pinned(t, id), noon); err != nil {
		t.Error(err)
	}
}

func TestKeepFreshWithoutReport(t *testing.T) {
	t.Parallel()
	id := &Identity{name: "bank"}
	made := ephemeral(t, "bank", noon)
	id.key, id.cert = made.key, made.cert // loaded without node certificate
	ctx, stop := context.WithCancel(t.Context())
	stop()
	KeepFresh(ctx, id, SystemClock{}, nil)
	if id.NotAfter().IsZero() || id.NotBefore().IsZero() {
		t.Error("it does not look once before it waits")
	}
}

// TestRenewUnderHandshakes renews while connections are made: each one shows a
// whole certificate with its own key, old or new.
func TestRenewUnderHandshakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, err := Create(dir, "bank", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	peers := pinned(t, id)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 10 {
				if err := id.Renew(time.Now()); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				shake(t, id, peers)
			}
		})
	}
	wg.Wait()
	back, err := Load(dir)
	if err != nil || !back.TLSCertificate().Leaf.PublicKey.(ed25519.PublicKey).Equal(id.TLSCertificate().Leaf.PublicKey) {
		t.Errorf("what is kept is not what is shown: %v", err)
	}
}

func shake(t *testing.T, id *Identity, peers *Peers) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		done <- tls.Server(b, &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { c := id.TLSCertificate(); return &c, nil }}).Handshake()
	}()
	c := tls.Client(a, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		_, err := VerifyPeer([][]byte{s.PeerCertificates[0].Raw, s.PeerCertificates[1].Raw}, peers, time.Now())
		return err
	}})
	if err := c.Handshake(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
