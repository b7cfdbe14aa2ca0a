package rest

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"kontor/internal/fault"
)

// writeTimeout is how long a client may take nothing of a stream.
const writeTimeout = time.Minute

// patient extends the connection's write deadline with each write, so that a
// stream may last for hours but not stand still.
type patient struct {
	w   http.ResponseWriter
	ctl *http.ResponseController
}

func newPatient(w http.ResponseWriter) *patient {
	return &patient{w, http.NewResponseController(w)}
}

func (p *patient) Write(b []byte) (int, error) {
	if err := p.ctl.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.w.Write(b)
}

type watchInput struct {
	ID          string `path:"id" minLength:"1" maxLength:"100" doc:"Identifier or unique prefix of one"`
	After       int64  `query:"after" minimum:"0" doc:"Only events after this number"`
	LastEventID string `header:"Last-Event-ID" maxLength:"20" doc:"The same, as browsers send it; the larger counts"`
}

// watch streams a job's events until it has ended.
func (s *server) watch(ctx context.Context, in *watchInput) (*stream, error) {
	after := in.After
	if in.LastEventID != "" {
		n, err := strconv.ParseInt(in.LastEventID, 10, 64)
		if err != nil || n < 0 {
			return nil, fault.New(fault.Usage, "the header Last-Event-ID is no number of an event", "send the id of the last event received")
		}
		after = max(after, n)
	}
	job, err := s.svc.Job(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	select {
	case s.watchers <- struct{}{}:
	default:
		return nil, fault.New(fault.Local, "too many event streams are open", "close some, or ask for the job now and then")
	}
	return &stream{func(hc huma.Context) {
		defer func() { <-s.watchers }()
		s.sendEvents(hc, job.ID, after)
	}}, nil
}

func (s *server) sendEvents(hc huma.Context, id string, after int64) {
	r, w := humago.Unwrap(hc)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy in between must not wait for more
	w.WriteHeader(http.StatusOK)
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	p := newPatient(w)
	var mu sync.Mutex
	write := func(b []byte) error {
		mu.Lock()
		defer mu.Unlock()
		if _, err := p.Write(b); err != nil {
			return err
		}
		if err := p.ctl.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		return nil
	}
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		tick := time.NewTicker(s.heartbeat)
		defer tick.Stop()
		for {
			if write([]byte(": alive\n\n")) != nil {
				stop()
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	err := s.svc.Events(ctx, id, after, func(e Event) error { return write(appendEvent(nil, e)) })
	stop()
	<-beating
	if err != nil && r.Context().Err() == nil && !errors.Is(err, context.Canceled) {
		s.log.Warn("event stream ended early", "job", id, "error", err)
	}
}

type fileInput struct {
	ID   string `path:"id" minLength:"1" maxLength:"100" doc:"Identifier or unique prefix of one"`
	Name string `path:"name" minLength:"1" maxLength:"300" doc:"As in the list of files; a slash is written %2F"`
}

// file sends a file of a job.
func (s *server) file(ctx context.Context, in *fileInput) (*stream, error) {
	f, err := s.svc.File(ctx, in.ID, in.Name)
	if err != nil {
		return nil, err
	}
	return &stream{func(hc huma.Context) {
		defer f.Content.Close()
		r, w := humago.Unwrap(hc)
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(f.Name)}))
		if f.SHA256 != "" {
			h.Set("ETag", `"`+f.SHA256+`"`)
		}
		if seeker, ok := f.Content.(io.ReadSeeker); ok {
			http.ServeContent(patientWriter{w, newPatient(w)}, r, "", time.Time{}, seeker)
			return
		}
		h.Set("Content-Length", strconv.FormatInt(f.Size, 10))
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodHead {
			return
		}
		if n, err := io.Copy(newPatient(w), f.Content); err != nil || n != f.Size {
			panic(http.ErrAbortHandler) // the client sees that it is cut
		}
	}}, nil
}

// patientWriter is a ResponseWriter whose writes go through a patient.
type patientWriter struct {
	http.ResponseWriter
	p *patient
}

func (w patientWriter) Write(b []byte) (int, error) { return w.p.Write(b) }

func (s *server) exportModel(ctx context.Context, in *modelID) (*stream, error) {
	m, err := s.svc.Model(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return s.export("application/zip", "model-"+m.ID+".zip", func(ctx context.Context, w io.Writer) error {
		return s.svc.ExportModel(ctx, m.ID, w)
	}), nil
}

type auditRange struct {
	From int64 `query:"from" minimum:"0" doc:"First entry"`
	To   int64 `query:"to" minimum:"0" doc:"Last entry; to the end where it is 0"`
}

func (s *server) exportAudit(_ context.Context, in *auditRange) (*stream, error) {
	return s.export("application/x-ndjson", "audit.jsonl", func(ctx context.Context, w io.Writer) error {
		return s.svc.ExportAudit(ctx, w, in.From, in.To)
	}), nil
}

// export streams what f writes. An error before the first byte becomes a problem, one
// after it breaks the connection.
func (s *server) export(media, name string, f func(context.Context, io.Writer) error) *stream {
	return &stream{func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		lazy := &lazyWriter{patient: newPatient(w), begin: func() {
			w.Header().Set("Content-Type", media)
			w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
			w.WriteHeader(http.StatusOK)
		}}
		if r.Method == http.MethodHead {
			lazy.begin()
			return
		}
		err := f(r.Context(), lazy)
		switch {
		case err == nil && !lazy.begun:
			lazy.begin()
		case err != nil && !lazy.begun:
			s.fail(w, r, problemOf(err))
		case err != nil:
			s.log.Warn("export ended early", "operation", hc.Operation().OperationID, "error", err)
			panic(http.ErrAbortHandler)
		}
	}}
}

// lazyWriter begins the answer with the first byte.
type lazyWriter struct {
	*patient
	begin func()
	begun bool
}

func (w *lazyWriter) Write(b []byte) (int, error) {
	if !w.begun {
		w.begun = true
		w.begin()
	}
	return w.patient.Write(b)
}
