package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"kontor/audit"
	"kontor/internal/fault"
	"kontor/store"
)

// Types of events.
const (
	EventState    = "state"
	EventStep     = "step"
	EventProgress = "progress" // live only, not kept
	EventLog      = "log"
)

// Event is something that happened to a job.
type Event struct {
	Seq  int64           `json:"seq"` // from 1; 0 for what is not kept
	Time time.Time       `json:"time"`
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// maxLogs bounds what is kept of one job's log.
const maxLogs = 10_000

var migrations = []string{
	`CREATE TABLE jobs (id TEXT PRIMARY KEY, state TEXT NOT NULL, role TEXT NOT NULL, created INTEGER NOT NULL, events INTEGER NOT NULL, doc BLOB NOT NULL) STRICT`,
	`CREATE INDEX jobs_created ON jobs (created)`,
	`CREATE TABLE job_events (job TEXT NOT NULL, seq INTEGER NOT NULL, time INTEGER NOT NULL, type TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (job, seq)) STRICT, WITHOUT ROWID`,
	`CREATE TABLE reusable (key TEXT PRIMARY KEY, artifact TEXT NOT NULL, job TEXT NOT NULL, step TEXT NOT NULL) STRICT, WITHOUT ROWID`,
	`CREATE TABLE job_keys (key TEXT PRIMARY KEY, job TEXT NOT NULL) STRICT, WITHOUT ROWID`,
	`CREATE TABLE job_starts (dataset TEXT NOT NULL, rule TEXT NOT NULL, job TEXT NOT NULL, time INTEGER NOT NULL) STRICT`,
}

// change is what goes into the journal with a new version of a record.
type change struct {
	events []Event
	audit  []audit.Event
	also   func(*store.Tx) error
}

func (c *change) event(kind string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		b = []byte(`{}`)
	}
	c.events = append(c.events, Event{Type: kind, Data: b})
}

func (c *change) record(actor, action, object string, detail map[string]any) {
	c.audit = append(c.audit, audit.Event{Actor: actor, Action: action, Object: object, Detail: detail})
}

// errUnchanged ends an update without writing.
var errUnchanged = errors.New("unchanged")

// update changes a job: f gets a copy, which is journalled with its events and
// audit entries in one transaction and then takes the record's place.
func (m *Manager) update(ctx context.Context, id string, f func(r *Record, c *change) error) (*Record, error) {
	m.writing.Lock()
	defer m.writing.Unlock()
	old, err := m.get(ctx, id)
	if err != nil {
		return nil, err
	}
	r, c := old.clone(), &change{}
	if err := f(r, c); errors.Is(err, errUnchanged) {
		return old, nil
	} else if err != nil {
		return nil, err
	}
	return r, m.write(ctx, r, c, false)
}

// write journals a record. The caller holds m.writing.
func (m *Manager) write(ctx context.Context, r *Record, c *change, isNew bool) error {
	r.Updated = m.o.Now().UTC()
	r.Version++
	doc, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding job %s: %w", r.ID, err)
	}
	// A change that has begun is finished even if its caller goes away.
	err = m.o.DB.Write(context.WithoutCancel(ctx), func(tx *store.Tx) error { return m.put(ctx, tx, r, doc, c, isNew) })
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.live[r.ID] = r
	if r.State.Final() && r.settled() {
		delete(m.live, r.ID)
	}
	m.mu.Unlock()
	m.changed(r)
	for _, e := range c.audit {
		attrs := []any{"job", e.Object, "actor", e.Actor}
		for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
			attrs = append(attrs, k, e.Detail[k])
		}
		m.o.Log.Info(e.Action, attrs...)
	}
	return nil
}

func (m *Manager) put(ctx context.Context, tx *store.Tx, r *Record, doc []byte, c *change, isNew bool) error {
	ctx = context.WithoutCancel(ctx)
	if isNew {
		if _, err := tx.Exec(ctx, `INSERT INTO jobs (id, state, role, created, events, doc) VALUES (?, ?, ?, ?, 0, ?)`, r.ID, string(r.State), r.Role, r.Created.UnixNano(), doc); err != nil {
			return err
		}
	} else if _, err := tx.Exec(ctx, `UPDATE jobs SET state = ?, doc = ? WHERE id = ?`, string(r.State), doc, r.ID); err != nil {
		return err
	}
	if err := m.putEvents(ctx, tx, r.ID, r.Updated, c.events); err != nil {
		return err
	}
	for _, e := range c.audit {
		e.Time = r.Updated
		if err := m.o.Audit.Append(tx, e); err != nil {
			return err
		}
	}
	if c.also != nil {
		return c.also(tx)
	}
	return nil
}

func (m *Manager) putEvents(ctx context.Context, tx *store.Tx, id string, now time.Time, events []Event) error {
	if len(events) == 0 {
		return nil
	}
	var seq int64
	if err := tx.QueryRow(ctx, `SELECT events FROM jobs WHERE id = ?`, id).Scan(&seq); err != nil {
		return err
	}
	for _, e := range events {
		seq++
		if _, err := tx.Exec(ctx, `INSERT INTO job_events (job, seq, time, type, data) VALUES (?, ?, ?, ?, ?)`, id, seq, now.UnixNano(), e.Type, []byte(e.Data)); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE jobs SET events = ? WHERE id = ?`, seq, id)
	return err
}

// log keeps one line of a job's log. A log that is full, or a disk that is, loses the line.
func (m *Manager) log(id string, data any) {
	c := &change{}
	c.event(EventLog, data)
	m.mu.Lock()
	m.logged[id]++
	full := m.logged[id] > maxLogs
	m.mu.Unlock()
	if full {
		return
	}
	ctx := context.Background()
	if err := m.o.DB.Write(ctx, func(tx *store.Tx) error { return m.putEvents(ctx, tx, id, m.o.Now().UTC(), c.events) }); err != nil {
		m.o.Log.Warn("a line of a job's log could not be kept", "job", id, "error", err)
	}
	m.poke(id)
}

// get returns a job; the caller must not change it.
func (m *Manager) get(ctx context.Context, id string) (*Record, error) {
	m.mu.Lock()
	r := m.live[id]
	m.mu.Unlock()
	if r != nil {
		return r, nil
	}
	var doc []byte
	err := m.o.DB.Read(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, `SELECT doc FROM jobs WHERE id = ?`, id)
		if err != nil {
			return err
		}
		defer rows.Close()
		if rows.Next() {
			return rows.Scan(&doc)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	if doc == nil {
		return nil, fault.New(fault.Usage, fmt.Sprintf("there is no job %q", id), "see kontor job ls")
	}
	return decodeRecord(doc)
}

func decodeRecord(doc []byte) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal(doc, r); err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	if r.Format != 1 {
		return nil, fault.New(fault.Version, fmt.Sprintf("the journal holds a job of format %d", r.Format), "run the version of Kontor that wrote it, or a later one")
	}
	if err := r.hydrate(); err != nil {
		return nil, fmt.Errorf("reading job %s: %w", r.ID, err)
	}
	return r, nil
}

// events returns the kept events of a job after seq.
func (m *Manager) events(ctx context.Context, id string, after int64, kind string) ([]Event, error) {
	var out []Event
	err := m.o.DB.Read(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, `SELECT seq, time, type, data FROM job_events WHERE job = ? AND seq > ? AND (? = '' OR type = ?) ORDER BY seq LIMIT 1000`, id, after, kind, kind)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e Event
			var ns int64
			var data []byte
			if err := rows.Scan(&e.Seq, &ns, &e.Type, &data); err != nil {
				return err
			}
			e.Time, e.Data = time.Unix(0, ns).UTC(), data
			out = append(out, e)
		}
		return rows.Err()
	})
	return out, err
}
