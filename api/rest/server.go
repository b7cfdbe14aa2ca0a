package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"kontor/internal/fault"
)

// Options are what a handler needs.
type Options struct {
	Service   Service
	Metrics   http.Handler     // served at /metrics; nil for none
	Log       *slog.Logger     // nil for none
	Version   string           // of the software, for the API document
	Now       func() time.Time // nil for time.Now
	Heartbeat time.Duration    // between comments in a silent event stream; 0 for 15 s
}

type server struct {
	svc       Service
	log       *slog.Logger
	now       func() time.Time
	heartbeat time.Duration
	failures  failures
	flights   flights
	watchers  chan struct{} // a place for each event stream
	api       huma.API
}

// maxWatchers bounds the event streams open at once.
const maxWatchers = 512

// NewHandler returns the API. Event streams last until their job ends: who shuts
// a server down first ends the context its requests come from (http.Server.BaseContext).
func NewHandler(o Options) http.Handler {
	s := &server{svc: o.Service, log: o.Log, now: o.Now, heartbeat: o.Heartbeat, watchers: make(chan struct{}, maxWatchers)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.heartbeat <= 0 {
		s.heartbeat = 15 * time.Second
	}
	mux := http.NewServeMux()
	s.api = humago.New(mux, apiConfig(o.Version))
	s.api.UseMiddleware(s.gate)
	s.routes()
	tidySchemas(s.api.OpenAPI())
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	document := sync.OnceValues(func() ([]byte, error) { return json.Marshal(s.api.OpenAPI()) })
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		b, err := document()
		if err != nil {
			s.fail(w, r, problemOf(err))
			return
		}
		writeAnswer(w, r, &Answer{Status: http.StatusOK, ContentType: "application/openapi+json", Body: b})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		// A stream before on this connection may have left a deadline for its last write.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		if _, pattern := mux.Handler(r); pattern == "" {
			s.noRoute(mux, w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// NewServer returns a server for h whose slow or idle clients do not hold it.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
}

// noRoute answers for a path or method that there is not.
func (s *server) noRoute(mux http.Handler, w http.ResponseWriter, r *http.Request) {
	rec := newRecorder()
	mux.ServeHTTP(rec, r)
	if rec.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", rec.header.Get("Allow"))
		s.fail(w, r, newProblem(rec.status, fault.New(fault.Usage, "this address does not take "+cut(r.Method), "use one of "+rec.header.Get("Allow"))))
		return
	}
	s.fail(w, r, problemOf(NotFound("there is no "+cut(r.URL.Path)+" in this API", "see /openapi.json for what there is")))
}

func apiConfig(version string) huma.Config {
	c := huma.DefaultConfig("Kontor node", version)
	c.CreateHooks = nil // no $schema members in answers
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.Info.Description = "The API of one institution's node, for its own users. Errors are RFC 9457 problems with the fields of a fault; docs/api.md is the guide."
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", BearerFormat: "kontor_<id>_<key>", Description: "A token with a role; the administrator's is in the file admin.token of the node's folder"},
	}
	c.Security = []map[string][]string{{"token": {}}}
	format := huma.Format{Marshal: marshal, Unmarshal: json.Unmarshal}
	c.Formats = map[string]huma.Format{"application/json": format, "json": format}
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{func(_ huma.Context, _ string, v any) (any, error) {
		var m *huma.ErrorModel
		if e, ok := v.(error); ok && errors.As(e, &m) {
			return badRequest(m), nil
		}
		return v, nil
	}}
	return c
}

// badRequest says what is wrong with a request, without giving back what was
// sent: it may hold a secret.
func badRequest(m *huma.ErrorModel) *Problem {
	cure := "see /openapi.json for what the request takes"
	switch m.Status {
	case http.StatusUnsupportedMediaType:
		cure = "send the header Content-Type: application/json"
	case http.StatusBadRequest:
		cure = "send a JSON document in UTF-8"
	}
	kind := fault.Usage
	if m.Status >= 500 {
		kind = fault.Internal
	}
	p := newProblem(m.Status, fault.New(kind, m.Detail, cure))
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, ProblemDetail{Message: e.Message, Location: e.Location})
	}
	return p
}

func marshal(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func encode(p *Problem) []byte {
	var b bytes.Buffer
	_ = marshal(&b, p) // texts and numbers only: cannot fail
	return b.Bytes()
}

// tidySchemas makes the document say what is sent: lists are never null, and
// errors are problems of ours.
func tidySchemas(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	var tidy func(*huma.Schema)
	tidy = func(s *huma.Schema) {
		if s == nil {
			return
		}
		if s.Type == huma.TypeArray {
			s.Nullable = false
		}
		tidy(s.Items)
		for _, p := range s.Properties {
			tidy(p)
		}
		if more, ok := s.AdditionalProperties.(*huma.Schema); ok {
			tidy(more)
		}
	}
	for _, s := range schemas {
		tidy(s)
	}
}
