package node

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kontor/api/rest"
	"kontor/flow/job"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/node/config"
	"kontor/transport"
)

// APIFile is the file in a node's folder that says where its API answers.
const APIFile = "api.addr"

// Addresses is where a running node is reached.
type Addresses struct {
	Name string
	Peer string // empty if it takes no connections
	API  string // base address
}

// Run takes part in everything until ctx ends: it answers peers and the API, and
// carries jobs on. It calls ready once it can be reached.
func (n *Institution) Run(ctx context.Context, o InstitutionOptions, ready func(Addresses)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	peers, err := transport.Listen(n.transportOptions(o))
	if err != nil {
		return err
	}
	apiListener, base, err := n.listenAPI()
	if err != nil {
		return errors.Join(err, peers.Close())
	}
	n.mu.Lock()
	n.peers, n.api, n.started = peers, base, n.now().UTC()
	n.mu.Unlock()
	var wg sync.WaitGroup
	failed := make(chan error, 3)
	part := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				failed <- err
			}
			stop() // one ends, all end
		})
	}
	transportCtx, stopTransport := context.WithCancel(context.Background())
	var network sync.WaitGroup
	network.Go(func() {
		if err := peers.Run(transportCtx); err != nil {
			failed <- err
			stop()
		}
	})
	part(n.jobs.Run)
	part(func(ctx context.Context) error { return n.serveAPI(ctx, apiListener) })
	wg.Go(func() { identity.KeepFresh(ctx, n.home.Identity, identity.SystemClock{}, n.certificate) })
	if err := n.announce(ctx, base); err != nil {
		stop()
		failed <- err
	} else {
		at := Addresses{n.home.Identity.Name(), peers.Addr(), base}
		n.log.Info("the node is up", "name", at.Name, "peers", at.Peer, "api", at.API, "version", Version)
		if ready != nil {
			ready(at)
		}
	}
	wg.Wait() // jobs first, so that they can still tell their peers
	stopTransport()
	network.Wait()
	os.Remove(filepath.Join(n.home.Dir, APIFile))
	n.mu.Lock()
	n.peers, n.api = nil, ""
	n.mu.Unlock()
	n.log.Info("the node has stopped")
	select {
	case err := <-failed:
		return err
	default:
		if err := n.change(context.WithoutCancel(ctx), "node", "node.stopped", "node", nil, nil); err != nil { // a full disk
			n.log.Warn("that the node has stopped could not be recorded", "error", err)
		}
		return nil
	}
}

func (n *Institution) transportOptions(o InstitutionOptions) transport.Options {
	cfg := n.home.Config
	t := transport.Options{Identity: n.home.Identity, Peers: n.home.Peers, Listen: cfg.Listen, Relay: cfg.Relay, OnAsk: n.answer,
		Version:      transport.VersionInfo{Software: Version, Capabilities: o.capabilities(), Required: []string{job.Capability}},
		DialPatience: -1, Linger: 2 * time.Second,
		OnRefused: func(err error) { n.log.Warn("a connection was refused", "error", err) }}
	for _, d := range cfg.DialOut {
		t.DialOut = append(t.DialOut, transport.DialOut{Peer: d.Peer, Addr: d.Address})
	}
	if o.Now != nil {
		t.Now = o.Now
	}
	if o.Transport != nil {
		o.Transport(&t)
	}
	return t
}

// listenAPI opens the API's port, with TLS beyond this machine.
func (n *Institution) listenAPI() (net.Listener, string, error) {
	api := n.home.Config.API
	l, err := net.Listen("tcp", api.Listen)
	if err != nil {
		return nil, "", fault.Wrap(fault.Local, err, "the API cannot listen on "+api.Listen, "stop what uses the port, or change api: listen in "+config.FileName)
	}
	scheme := "http"
	if api.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(api.TLSCert, api.TLSKey)
		if err != nil {
			l.Close()
			return nil, "", fault.Wrap(fault.Local, err, "the API's certificate cannot be used", "check api: tls_cert and tls_key in "+config.FileName)
		}
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}})
		scheme = "https"
	}
	return l, scheme + "://" + l.Addr().String(), nil
}

func (n *Institution) serveAPI(ctx context.Context, l net.Listener) error {
	s := rest.NewServer(rest.NewHandler(n.apiOptions()))
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	var shutdown sync.WaitGroup
	shutdown.Go(func() {
		<-ctx.Done()
		grace, end := context.WithTimeout(context.Background(), 3*time.Second)
		defer end()
		if s.Shutdown(grace) != nil {
			s.Close()
		}
	})
	err := s.Serve(l)
	if ctx.Err() == nil {
		s.Close()
		return fault.Wrap(fault.Local, err, "the API stopped", "look at the log, then start the node again")
	}
	shutdown.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// announce writes where the API answers, and that the node runs.
func (n *Institution) announce(ctx context.Context, base string) error {
	path := filepath.Join(n.home.Dir, APIFile)
	err := os.WriteFile(path+".new", []byte(base+"\n"), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fault.Wrap(fault.Local, err, "the node's folder cannot be written", "check free space and permissions")
	}
	return n.change(ctx, "node", "node.started", "node", map[string]any{"version": Version, "fingerprint": n.home.Identity.Fingerprint()}, nil)
}

// certificate hears how it stands with the node's certificate.
func (n *Institution) certificate(a identity.Alarm) {
	n.mu.Lock()
	n.alarm = &a
	n.mu.Unlock()
	switch {
	case a.Err != nil && a.Urgent:
		n.log.Error("the node's certificate could not be renewed and ends soon", "ends", a.NotAfter, "error", a.Err)
	case a.Err != nil:
		n.log.Warn("the node's certificate could not be renewed yet", "ends", a.NotAfter, "error", a.Err)
	case a.Renewed:
		n.log.Info("the node's certificate was renewed", "ends", a.NotAfter)
		if err := n.change(context.Background(), "node", "certificate.renewed", "node", map[string]any{"ends": a.NotAfter}, nil); err != nil {
			n.log.Warn("that could not be recorded", "error", err)
		}
	}
}

// Up opens the node of a folder and runs it until ctx ends.
func Up(ctx context.Context, o InstitutionOptions, ready func(Addresses)) error {
	n, err := OpenInstitution(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(n.Run(ctx, o, ready), n.Close())
}

// Offline opens the folder of a node that does not run: its API within this
// process, with the administrator's token. Close it soon: no node can start meanwhile.
func Offline(ctx context.Context, home string) (h http.Handler, token string, closeHome func() error, err error) {
	n, err := OpenInstitution(ctx, InstitutionOptions{Home: home})
	if err != nil {
		return nil, "", nil, err
	}
	b, err := os.ReadFile(filepath.Join(home, adminTokenFile))
	if err != nil {
		return nil, "", nil, errors.Join(fault.Wrap(fault.Local, err, "the administrator's token cannot be read", "run as the user who owns "+home), n.Close())
	}
	return rest.NewHandler(n.apiOptions()), strings.TrimSpace(string(b)), n.Close, nil
}

// Running says where the API of the node of a folder answers, if a process runs it.
func Running(home string) (api string, ok bool) {
	b, err := os.ReadFile(filepath.Join(home, APIFile))
	if err != nil {
		return "", false
	}
	api = strings.TrimSpace(string(b))
	_, addr, found := strings.Cut(api, "://")
	if !found {
		return "", false
	}
	c, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return "", false // a node that was killed leaves its file
	}
	c.Close()
	return api, true
}
