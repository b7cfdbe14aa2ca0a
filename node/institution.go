package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kontor/api/rest"
	"kontor/audit"
	"kontor/data"
	"kontor/flow"
	"kontor/flow/job"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/model"
	"kontor/node/config"
	"kontor/store"
	"kontor/transport"
)

// Institution is an institution's node with everything that it keeps: what
// kontor up runs. Opened without being run, it can be looked at and changed, but
// no job goes on and no peer is answered.
type Institution struct {
	home    *Home
	db      *store.DB
	account *audit.Log
	data    *data.Catalogue
	models  *model.Registry
	rules   *rules
	jobs    *job.Manager
	log     *slog.Logger
	gauges  *gauges
	now     func() time.Time

	mu      sync.Mutex
	peers   *transport.Node // nil while the node does not run
	api     string          // base address of the API; empty while it does not run
	started time.Time
	alarm   *identity.Alarm // the last word on the node's certificate
	seen    map[string]sighting
	logins  map[string]time.Time // by token and address: the hour of the last login on record
}

// sighting is what was last seen of a peer.
type sighting struct {
	at  time.Time
	err string
}

// InstitutionOptions is what an institution is opened with.
type InstitutionOptions struct {
	Home      string
	Log       io.Writer // nil for none
	LogFormat string    // text or json; empty as the configuration says

	// For tests.
	Now          func() time.Time
	Transport    func(*transport.Options)
	Pause        time.Duration // the longest between two attempts
	Capabilities []string      // what the node can take part in; nil is all that this version can
}

const adminTokenFile = "admin.token"

// OpenInstitution opens a node's folder, which then belongs to this process
// until [Institution.Close].
func OpenInstitution(ctx context.Context, o InstitutionOptions) (_ *Institution, err error) {
	home, err := OpenHome(o.Home)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	n := &Institution{home: home, log: newLogger(o, home.Config), now: o.Now, seen: map[string]sighting{}, logins: map[string]time.Time{}}
	if n.db, err = store.Open(home.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.db.Close()
		}
	}()
	if err := n.db.Migrate("node", migrations...); err != nil {
		return nil, err
	}
	if n.account, err = audit.Open(n.db, home.Identity); err != nil {
		return nil, err
	}
	if n.data, err = data.Open(n.db); err != nil {
		return nil, err
	}
	if n.models, err = model.Open(n.db, filepath.Join(home.Dir, "models")); err != nil {
		return nil, err
	}
	n.rules = &rules{path: filepath.Join(home.Dir, PolicyFile), log: n.log}
	n.gauges = newGauges(n)
	if err := os.MkdirAll(n.jobsDir(), 0o700); err != nil {
		return nil, fault.Wrap(fault.Local, err, "the jobs folder cannot be made", "check permissions of "+home.Dir)
	}
	if n.jobs, err = job.New(ctx, n.jobOptions(o)); err != nil {
		return nil, err
	}
	return n, n.ensureAdmin(ctx)
}

func (n *Institution) jobOptions(o InstitutionOptions) job.Options {
	cfg := n.home.Config.Jobs
	return job.Options{Signer: n.home.Identity, DB: n.db, Audit: n.account, Dir: n.jobsDir(), Peers: reach{n}, Site: site{n},
		Capabilities: o.capabilities(), Version: Version, Parallel: cfg.Parallel, Patience: cfg.Patience,
		Limits: flow.Limits{Cores: cfg.Cores, Memory: cfg.Memory, Disk: cfg.Disk}, Log: n.log, Rand: rand.Reader, Now: n.now, Pause: o.Pause, Ended: n.gauges.stepEnded, Room: n.room}
}

func capabilities() []string { return append(flow.AllCapabilities(), job.Capability) }

func (o InstitutionOptions) capabilities() []string {
	if o.Capabilities != nil {
		return o.Capabilities
	}
	return capabilities()
}

func (n *Institution) jobsDir() string { return filepath.Join(n.home.Dir, "jobs") }

func newLogger(o InstitutionOptions, cfg *config.Config) *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		level = slog.LevelInfo
	}
	format := o.LogFormat
	if format == "" {
		format = cfg.Log.Format
	}
	ho := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(o.Log, ho))
	}
	return slog.New(slog.NewTextHandler(o.Log, ho))
}

// Close gives the folder back. Nothing may run any more.
func (n *Institution) Close() error { return n.db.Close() }

// apiOptions are what the HTTP API is made from.
func (n *Institution) apiOptions() rest.Options {
	return rest.Options{Service: service{n}, Metrics: n.gauges.handler(), Log: n.log, Version: Version, Now: n.now}
}

// ensureAdmin makes the administrator's token where the folder has none.
func (n *Institution) ensureAdmin(ctx context.Context) error {
	path := filepath.Join(n.home.Dir, adminTokenFile)
	if _, err := os.Stat(path); err == nil {
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return fault.Wrap(fault.Local, err, "the administrator's token cannot be read", "check permissions of the node's folder")
	}
	id, secret, hash, err := rest.MakeToken(rand.Reader)
	if err != nil {
		return err
	}
	if err := createFile(path, []byte(secret+"\n")); err != nil {
		return err
	}
	t := rest.Token{ID: id, Name: "admin", Role: rest.Admin, Created: n.now().UTC()}
	return n.change(ctx, "node", "token.created", "token "+id, map[string]any{"holder": t.Name, "role": string(t.Role)}, func(tx *store.Tx) error {
		return putToken(ctx, tx, t, hash)
	})
}

// change does something to the node's state together with its audit entry.
func (n *Institution) change(ctx context.Context, actor, action, object string, detail map[string]any, f func(*store.Tx) error) error {
	return n.db.Write(ctx, func(tx *store.Tx) error {
		if f != nil {
			if err := f(tx); err != nil {
				return err
			}
		}
		return n.record(tx, actor, action, object, detail)
	})
}

func (n *Institution) record(tx *store.Tx, actor, action, object string, detail map[string]any) error {
	return n.account.Append(tx, audit.Event{Time: n.now().UTC(), Actor: actor, Action: action, Object: object, Detail: detail})
}

// network returns the node's end of all connections, an error while it does not run.
func (n *Institution) network() (*transport.Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.peers == nil {
		return nil, fault.New(fault.Local, "the node does not run", fmt.Sprintf("start it with kontor up --home %s", n.home.Dir))
	}
	return n.peers, nil
}
