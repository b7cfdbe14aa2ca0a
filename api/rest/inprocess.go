package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// InProcess returns a transport that calls h directly, without a socket: for
// the command line where no node runs, and for tests. Answers stream as they
// are written; closing an answer's body ends the request's context. The token is
// checked as ever.
func InProcess(h http.Handler) http.RoundTripper { return &inProcess{h} }

type inProcess struct{ h http.Handler }

var errAborted = errors.New("the answer was broken off")

// RoundTrip implements http.RoundTripper.
func (t *inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, stop := context.WithCancel(r.Context())
	pr, pw := io.Pipe()
	w := &pipeWriter{header: http.Header{}, pipe: pw, begun: make(chan struct{})}
	in := r.Clone(ctx)
	in.RemoteAddr, in.RequestURI = "in-process", r.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	go func() {
		defer stop()
		defer in.Body.Close()
		err := io.EOF
		defer func() {
			if v := recover(); v != nil {
				err = errAborted
				if v != http.ErrAbortHandler {
					err = fmt.Errorf("%w: %v", errAborted, v)
				}
				w.fail(err)
			}
			if gone := r.Context().Err(); gone != nil {
				err = gone // what a handler makes of a request that was given up is no answer
			}
			w.WriteHeader(http.StatusOK)
			pw.CloseWithError(err)
		}()
		t.h.ServeHTTP(w, in)
	}()
	select {
	case <-w.begun:
	case <-ctx.Done():
		// The handler may have answered and ended just now: that counts.
		select {
		case <-w.begun:
		default:
			if r.Context().Err() != nil {
				pr.CloseWithError(r.Context().Err())
				return nil, r.Context().Err()
			}
			<-w.begun
		}
	}
	if w.failed != nil {
		return nil, w.failed
	}
	context.AfterFunc(r.Context(), func() { pr.CloseWithError(r.Context().Err()) })
	return &http.Response{StatusCode: w.status, Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), Proto: "HTTP/1.1",
		ProtoMajor: 1, ProtoMinor: 1, Header: w.sent, Body: &pipeBody{pr, stop}, ContentLength: -1, Request: r}, nil
}

// pipeWriter is the answer's writing end.
type pipeWriter struct {
	header, sent http.Header
	pipe         *io.PipeWriter
	once         sync.Once
	begun        chan struct{}
	status       int
	failed       error
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	})
}

// fail is for a handler that broke off before it answered.
func (w *pipeWriter) fail(err error) {
	w.once.Do(func() {
		w.failed = err
		close(w.begun)
	})
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(b)
}

// Flush implements http.Flusher: nothing is held back.
func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }

type pipeBody struct {
	*io.PipeReader
	stop context.CancelFunc
}

func (b *pipeBody) Close() error {
	b.stop()
	return b.PipeReader.Close()
}
