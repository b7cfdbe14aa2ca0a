package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"

	"kontor/internal/fault"
)

// Client calls a node's API. Its errors are *fault.Error as the node made them,
// with [ErrNotFound], [ErrConflict] or [ErrDenied] where the status says so.
type Client struct {
	Base  string       // such as http://127.0.0.1:7701
	Token string       // secret of a token; never sent in clear beyond this machine
	HTTP  *http.Client // nil for a client without timeout, as contexts bound calls

	// Retry is called before each new attempt of Watch with why the stream broke; may be nil.
	Retry func(error)
}

// maxAnswer bounds an answer that is not a stream.
const maxAnswer = 64 << 20

var plainClient = &http.Client{CheckRedirect: noRedirect}

// noRedirect: a node never redirects, and a token must not follow one.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (c *Client) client() *http.Client {
	if c.HTTP == nil {
		return plainClient
	}
	h := *c.HTTP
	h.CheckRedirect = noRedirect
	return &h
}

// call is one request.
type call struct {
	method, path string
	query        url.Values
	body         any
	key          string // Idempotency-Key
	header       http.Header
}

// send returns the answer of a request that succeeded; the caller closes its body.
func (c *Client) send(ctx context.Context, r call) (*http.Response, error) {
	base, err := c.address()
	if err != nil {
		return nil, err
	}
	target := base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("writing a request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "the address of the API", "give one such as http://127.0.0.1:7701")
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if body != nil {
		req.Header.Set("Content-Type", jsonMedia)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	res, err := c.client().Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, readProblem(res)
}

// address checks that a token would not be readable on the way.
func (c *Client) address() (string, error) {
	u, err := url.Parse(c.Base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fault.New(fault.Usage, fmt.Sprintf("%q is no address of an API", c.Base), "give one such as http://127.0.0.1:7701")
	}
	if _, within := c.client().Transport.(*inProcess); !within && u.Scheme == "http" && c.Token != "" && !loopback(u.Hostname()) {
		return "", fault.New(fault.Trust, "the token would be sent in clear to "+u.Host, "use an address that begins with https://")
	}
	return strings.TrimSuffix(c.Base, "/"), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the address is in the sentence already
	}
	return fault.Wrap(fault.Local, err, "the node's API at "+c.Base+" cannot be reached",
		"start the node with kontor up, or name its address with KONTOR_API")
}

// readProblem returns the error in an answer, from a node or from a proxy before it.
func readProblem(res *http.Response) error {
	p := &Problem{}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || media != p.ContentType("") || json.Unmarshal(b, p) != nil || p.Kind == "" {
		*p = Problem{What: fmt.Sprintf("something at this address answered %s that is no node of ours", res.Status), Cure: "check the address of the API and proxies in between"}
	}
	p.Status = res.StatusCode
	return p.Fault()
}

// get, and do for requests with a body, decode the answer.
func get[T any](ctx context.Context, c *Client, query url.Values, format string, args ...string) (*T, error) {
	return do[T](ctx, c, call{method: http.MethodGet, path: escape(format, args), query: query})
}

func do[T any](ctx context.Context, c *Client, r call) (*T, error) {
	b, err := c.bytes(ctx, r)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fault.Wrap(fault.Version, err, "the node's answer cannot be read", "use a command line of the node's version")
	}
	return v, nil
}

// bytes returns the whole answer.
func (c *Client) bytes(ctx context.Context, r call) ([]byte, error) {
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if len(b) > maxAnswer {
		return nil, fault.New(fault.Protocol, "the node's answer is too large", "ask for less at once")
	}
	return b, nil
}

// nothing is for requests whose answer has no body.
func (c *Client) nothing(ctx context.Context, method, format string, args ...string) error {
	_, err := c.bytes(ctx, call{method: method, path: escape(format, args)})
	return err
}

// copyTo streams the answer to w.
func (c *Client) copyTo(ctx context.Context, w io.Writer, query url.Values, format string, args ...string) error {
	res, err := c.send(ctx, call{method: http.MethodGet, path: escape(format, args), query: query})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, faultyReader{res.Body, func(err error) error { return c.unreachable(ctx, err) }}); err != nil {
		return err
	}
	return nil
}

// faultyReader tells a failing connection from a failing destination.
type faultyReader struct {
	r    io.Reader
	wrap func(error) error
}

func (f faultyReader) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	if err != nil && err != io.EOF {
		err = f.wrap(err)
	}
	return n, err
}

// escape puts args into the %s of a path.
func escape(format string, args []string) string {
	for _, a := range args {
		format = strings.Replace(format, "%s", strings.ReplaceAll(url.PathEscape(a), "%s", "%25s"), 1)
	}
	return format
}
