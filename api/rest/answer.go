package rest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"kontor/internal/fault"
)

// recorder holds an answer until it is whole: only then it is stored or sent,
// and a failure on the way still becomes a problem.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

func (w *recorder) answer() *Answer {
	w.WriteHeader(http.StatusOK)
	return &Answer{Status: w.status, ContentType: w.header.Get("Content-Type"), Location: w.header.Get("Location"), Body: w.body.Bytes()}
}

func writeAnswer(w http.ResponseWriter, r *http.Request, a *Answer) {
	h := w.Header()
	if a.ContentType != "" {
		h.Set("Content-Type", a.ContentType)
	}
	if a.Location != "" {
		h.Set("Location", a.Location)
	}
	if a.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	w.WriteHeader(a.Status)
	if r.Method != http.MethodHead && a.Status != http.StatusNoContent {
		_, _ = w.Write(a.Body) // a client that went away is no error of ours
	}
}

// answer lets the operation run and returns what it answered; where the request
// has an idempotency key, what it answered the first time.
func (s *server) answer(op *huma.Operation, rule rule, r *http.Request, body []byte, next func(huma.Context)) (*Answer, *Problem) {
	if !rule.mutates(r.Method) {
		return s.act(op, rule, r, next)
	}
	key, err := parseIdempotencyKey(r.Header.Get("Idempotency-Key"))
	switch {
	case err != nil:
		return nil, problemOf(fault.Wrap(fault.Usage, err, "the header Idempotency-Key", "send up to 200 printable ASCII characters, such as a UUID"))
	case key == "":
		return s.act(op, rule, r, next)
	case rule.secret:
		return nil, problemOf(fault.New(fault.Usage, "this answer holds a secret and is not kept for an Idempotency-Key", "leave the header out"))
	}
	full := Caller(r.Context()).ID + "/" + key
	end, err := s.flights.begin(r.Context(), full)
	if err != nil {
		return nil, problemOf(err)
	}
	defer end()
	asked := requestHash(r, body)
	old, err := s.svc.StoredAnswer(r.Context(), full)
	switch {
	case err != nil:
		return nil, problemOf(err)
	case old != nil && old.Request != asked:
		return nil, newProblem(http.StatusUnprocessableEntity, fault.New(fault.Usage,
			"the Idempotency-Key was used before for another request", "take a new key for each request that is meant to be carried out"))
	case old != nil:
		return old, nil
	}
	a, p := s.act(op, rule, r.WithContext(context.WithValue(r.Context(), idempotencyKey{}, full)), next)
	if p != nil || a.Status >= 300 {
		return a, p // nothing was done: the same key may try again
	}
	a.Request, a.Time = asked, s.now().UTC()
	// The client may have gone; that the answer is kept matters all the more.
	if err := s.svc.StoreAnswer(context.WithoutCancel(r.Context()), full, *a); err != nil {
		return nil, problemOf(err)
	}
	return a, nil
}

// act puts the request on record if it changes anything, and carries it out.
func (s *server) act(op *huma.Operation, rule rule, r *http.Request, next func(huma.Context)) (*Answer, *Problem) {
	if rule.mutates(r.Method) {
		object := cut(strings.TrimPrefix(r.URL.Path, "/v1/"))
		if err := s.svc.Audit(r.Context(), Caller(r.Context()).String(), "api."+op.OperationID, object); err != nil {
			return nil, problemOf(err)
		}
	}
	w := newRecorder()
	var failed *Problem
	s.run(humago.NewContext(op, r, w), r, func(p *Problem) { failed = p }, next)
	if failed != nil {
		return nil, failed
	}
	a := w.answer()
	if a.Status >= 500 && a.Status != http.StatusServiceUnavailable {
		s.log.Warn("api request failed", "operation", op.OperationID, "path", cut(r.URL.Path), "status", a.Status)
	}
	return a, nil
}

func requestHash(r *http.Request, body []byte) [32]byte {
	h := sha256.New()
	for _, s := range []string{r.Method, r.URL.RequestURI()} {
		h.Write([]byte(strconv.Itoa(len(s)) + ":" + s))
	}
	h.Write(body)
	return [32]byte(h.Sum(nil))
}

// flights lets one request with a key run at a time; others with the same key wait.
type flights struct {
	mu   sync.Mutex
	keys map[string]chan struct{}
}

// begin waits for its turn; the function it returns ends the turn.
func (f *flights) begin(ctx context.Context, key string) (end func(), err error) {
	for {
		f.mu.Lock()
		if f.keys == nil {
			f.keys = map[string]chan struct{}{}
		}
		other, taken := f.keys[key]
		if !taken {
			mine := make(chan struct{})
			f.keys[key] = mine
			f.mu.Unlock()
			return func() {
				f.mu.Lock()
				delete(f.keys, key)
				f.mu.Unlock()
				close(mine)
			}, nil
		}
		f.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
