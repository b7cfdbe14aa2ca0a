package rest

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"kontor/internal/fault"
)

// Watch calls f for each event of a job after number after, until the one of type
// end, and returns nil then or when the job had ended before. A broken stream is
// taken up where it broke, for as long as ctx lasts: a node that restarts does
// not end it. An error of f ends it and is returned.
func (c *Client) Watch(ctx context.Context, id string, after int64, f func(Event) error) error {
	const first, most = 200 * time.Millisecond, 5 * time.Second
	pause := first
	for {
		seen := after
		ended, err := c.follow(ctx, id, &after, f)
		if ended {
			return err
		}
		if after > seen {
			pause = first
		}
		if c.Retry != nil {
			c.Retry(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, most)
	}
}

// follow reads one stream. It reports whether that was the end of it, with the
// error to return; otherwise why it broke.
func (c *Client) follow(ctx context.Context, id string, after *int64, f func(Event) error) (ended bool, err error) {
	res, err := c.send(ctx, call{method: http.MethodGet, path: escape("/v1/jobs/%s/events", []string{id}),
		query: url.Values{"after": {number(*after)}}, header: http.Header{"Accept": {"text/event-stream"}}})
	if err != nil {
		return ctx.Err() != nil || fault.KindOf(err) != fault.Local, err
	}
	defer res.Body.Close()
	stream := newEventReader(res.Body)
	for {
		e, err := stream.next()
		if errors.Is(err, errEvent) {
			return true, fault.Wrap(fault.Protocol, err, "the node's events", "check proxies between this command and the node")
		}
		if err != nil {
			return c.over(ctx, id, *after, err)
		}
		if e.Seq < *after || e.Seq == *after && e.Type != EventProgress {
			continue
		}
		if err := f(e); err != nil {
			return true, err
		}
		*after = e.Seq
		if e.Type == EventEnd {
			return true, nil
		}
	}
}

// over tells a stream that ended because there was nothing more to say from one
// that was cut.
func (c *Client) over(ctx context.Context, id string, after int64, cause error) (bool, error) {
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	j, err := c.Job(ctx, id)
	if err != nil {
		return ctx.Err() != nil || fault.KindOf(err) != fault.Local, err
	}
	if j.State.Final() && j.LastEvent <= after {
		return true, nil
	}
	return false, cause
}
