// Package engine maps functions over the parts of a table and reduces what they
// give, on all cores of this process. A task gets a reference to its part, such as
// a [kontor/table.Part], and never rows; it depends on nothing but its reference
// and what that refers to, so that it can be run again, or elsewhere, with the
// same result. Keep it so: another engine can then take the same tasks.
//
// Not for the rounds of a protocol, nor for loops over values in memory; see
// package kontor/internal/parallel for those.
package engine

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"kontor/internal/parallel"
)

// Map calls f for every part and returns the results in the order of the parts. At
// the first error it starts no further task and returns it.
func Map[P, R any](ctx context.Context, parts []P, f func(context.Context, P) (R, error)) ([]R, error) {
	out := make([]R, len(parts))
	err := parallel.For(ctx, len(parts), func(i int) (err error) {
		out[i], err = f(ctx, parts[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ErrNothing is a reduction of no parts.
var ErrNothing = errors.New("engine: there is no part to reduce")

// Reduce calls f for every part and joins the results in the order of the parts, so
// that the result is the same however many cores there are. It holds few results at
// a time, whatever the number of parts. merge may change and return its first
// argument; calls of it do not overlap.
func Reduce[P, R any](ctx context.Context, parts []P, f func(context.Context, P) (R, error), merge func(sum, next R) (R, error)) (R, error) {
	var zero R
	if len(parts) == 0 {
		return zero, ErrNothing
	}
	o := ordered[R]{merge: merge, waiting: map[int]R{}, window: 2 * runtime.GOMAXPROCS(0)}
	o.changed.L = &o.mu
	// A part that is not even begun, because ctx ended, puts nothing that would wake who waits.
	stop := context.AfterFunc(ctx, func() { _ = o.fail(context.Cause(ctx)) })
	defer stop()
	err := parallel.For(ctx, len(parts), func(i int) error {
		r, err := f(ctx, parts[i])
		return o.put(i, r, err)
	})
	if err != nil {
		return zero, err
	}
	return o.sum, nil
}

// ordered joins results in order as they come.
type ordered[R any] struct {
	merge   func(sum, next R) (R, error)
	window  int
	mu      sync.Mutex
	changed sync.Cond
	waiting map[int]R
	next    int // the first result not yet joined
	sum     R
	err     error
}

func (o *ordered[R]) fail(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	o.changed.Broadcast()
	return o.err
}

// put takes the result of part i. It waits while too many results stand before one
// that is still to come: that one is being worked on, as parts begin in order.
func (o *ordered[R]) put(i int, r R, err error) error {
	if err != nil {
		return o.fail(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.changed.Broadcast()
	for i >= o.next+o.window && o.err == nil {
		o.changed.Wait()
	}
	if o.err != nil {
		return o.err
	}
	o.waiting[i] = r
	for {
		r, ok := o.waiting[o.next]
		if !ok {
			return nil
		}
		delete(o.waiting, o.next)
		if o.next == 0 {
			o.sum = r
		} else if o.sum, o.err = o.merge(o.sum, r); o.err != nil {
			return o.err
		}
		o.next++
	}
}
