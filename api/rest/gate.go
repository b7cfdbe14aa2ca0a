package rest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"kontor/internal/fault"
)

// What a request may take.
const (
	maxBody     = 4 << 20
	bodyTimeout = time.Minute
)

// gate stands before every operation: token, role, body, account, answer. What
// it lets through has a [Caller] and is on record if it changes anything.
func (s *server) gate(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	op := ctx.Operation()
	began := s.now()
	rule, known := rules[op.OperationID]
	who := Identity{}
	status := http.StatusInternalServerError
	defer func() {
		s.log.Debug("api request", "operation", op.OperationID, "path", cut(r.URL.Path), "status", status,
			"caller", who.ID, "seconds", s.now().Sub(began).Seconds())
	}()
	fail := func(p *Problem) {
		status = p.Status
		s.fail(w, r, p)
	}
	if !known {
		fail(problemOf(fmt.Errorf("operation %s has no rule", op.OperationID)))
		return
	}
	if !rule.public {
		var p *Problem
		if who, p = s.admit(w, r, op.OperationID, rule); p != nil {
			fail(p)
			return
		}
	}
	r = r.WithContext(WithCaller(r.Context(), who))
	body, p := s.readBody(w, r)
	if p != nil {
		fail(p)
		return
	}
	if rule.stream {
		sw := &statusWriter{ResponseWriter: w}
		s.run(humago.NewContext(op, r, sw), r, func(p *Problem) {
			if sw.status != 0 { // too late for another answer: break the connection, so that the cut shows
				panic(http.ErrAbortHandler)
			}
			s.fail(sw, r, p)
		}, next)
		status = sw.status
		return
	}
	a, p := s.answer(op, rule, r, body, next)
	if p != nil {
		fail(p)
		return
	}
	status = a.Status
	writeAnswer(w, r, a)
}

// admit checks token and role.
func (s *server) admit(w http.ResponseWriter, r *http.Request, operation string, rule rule) (Identity, *Problem) {
	who, err := s.login(r)
	if err != nil {
		return Identity{}, s.refuseLogin(w, r, err)
	}
	s.svc.Admitted(r.Context(), who, remoteHost(r.RemoteAddr))
	if !rule.allows(who.Role) {
		if err := s.svc.Audit(r.Context(), who.String(), "api.denied", operation); err != nil {
			return who, problemOf(err)
		}
		return who, problemOf(Denied(fmt.Sprintf("the role %s of token %s may not do %s", who.Role, who.ID, operation),
			"use a token with the role "+roleList(rule.roles)))
	}
	return who, nil
}

var errLogin = errors.New("login failed")

// login returns whose token the request carries; errLogin where it carries none
// that is valid.
func (s *server) login(r *http.Request) (Identity, error) {
	id, secret, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return Identity{}, errLogin
	}
	hash, who, err := s.svc.Authenticate(r.Context(), id)
	if errors.Is(err, ErrNotFound) {
		secretFits(secret, hash) // as much work as for a token that exists
		return Identity{}, errLogin
	}
	if err != nil {
		return Identity{}, err
	}
	if !secretFits(secret, hash) {
		return Identity{}, errLogin
	}
	return who, nil
}

func (s *server) refuseLogin(w http.ResponseWriter, r *http.Request, err error) *Problem {
	if !errors.Is(err, errLogin) {
		return problemOf(err)
	}
	host := remoteHost(r.RemoteAddr)
	if ok, wait := s.failures.add(host, s.now()); !ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		return newProblem(http.StatusTooManyRequests, fault.New(fault.Trust,
			"too many failed logins from this address", "wait a moment, then use a valid token"))
	}
	id, _, _ := parseAuthorization(r.Header.Get("Authorization"))
	if err := s.svc.Audit(r.Context(), host, "api.login-failed", id); err != nil {
		return problemOf(err)
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="kontor"`)
	return newProblem(http.StatusUnauthorized, fault.New(fault.Trust, "no valid token",
		"send one as Authorization: Bearer kontor_…; the administrator's is in the file admin.token of the node's folder"))
}

// readBody takes the whole body before anything else happens, with a deadline
// that ends with it: what is done with it may take longer.
func (s *server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	ctl := http.NewResponseController(w)
	timed := ctl.SetReadDeadline(time.Now().Add(bodyTimeout)) == nil
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if timed {
		_ = ctl.SetReadDeadline(time.Time{}) // it was possible a moment ago; a broken connection shows soon enough
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, newProblem(http.StatusRequestEntityTooLarge, fault.New(fault.Usage,
			fmt.Sprintf("the request is larger than %d MiB", maxBody>>20), "send less at once"))
	case err != nil:
		return nil, newProblem(http.StatusRequestTimeout, fault.New(fault.Usage,
			"the request did not arrive whole", "send it again"))
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return b, nil
}

// run calls the operation and turns a panic of ours into a problem.
func (s *server) run(ctx huma.Context, r *http.Request, fail func(*Problem), next func(huma.Context)) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler {
			panic(v)
		}
		s.log.Error("api request failed", "operation", ctx.Operation().OperationID, "panic", fmt.Sprint(v))
		fail(problemOf(fmt.Errorf("the request could not be answered")))
	}()
	next(ctx)
}

// fail answers with a problem.
func (s *server) fail(w http.ResponseWriter, r *http.Request, p *Problem) {
	if p.Status >= 500 && p.Status != http.StatusServiceUnavailable {
		s.log.Warn("api request failed", "method", r.Method, "path", cut(r.URL.Path), "status", p.Status, "error", p.Detail)
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.Header().Del("Content-Length")
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(encode(p)) // a client that went away is no error of ours
	}
}

// String returns the identity as it stands in the account.
func (i Identity) String() string { return i.Name + " (" + i.ID + ")" }

func roleList(roles []Role) string {
	words := make([]string, len(roles))
	for i, r := range roles {
		words[i] = string(r)
	}
	return strings.Join(words, " or ")
}

// cut bounds a text from a request for the log and the account.
func cut(text string) string {
	if len(text) > 200 {
		text = text[:200]
	}
	return strings.ToValidUTF8(text, "?")
}

// statusWriter remembers whether an answer has begun.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var _ slog.LogValuer = Identity{}

// LogValue keeps logs to the token's identifier and role.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.ID + "/" + string(i.Role)) }
