// Package parallel splits a range over the processor's cores. Not for work
// that blocks: it has no queue, only as many goroutines as GOMAXPROCS.
package parallel

import (
	"context"
	"sync"
	"sync/atomic"
)

// For calls f(i) for every i in [0, n), each once, from up to GOMAXPROCS
// goroutines, or fewer under [WithLimit], and waits for them. It stops handing out indexes at the first
// error or when ctx ends, and returns that error.
func For(ctx context.Context, n int, f func(i int) error) error {
	return Workers(ctx, n, func() func(int) error { return f })
}

// Workers is [For] with state for each goroutine: mk is called once in every
// goroutine and returns the function that it then calls with its indexes.
func Workers(ctx context.Context, n int, mk func() func(i int) error) error {
	extra, release := helpers(ctx, n)
	defer release()
	if extra == 0 {
		f := mk()
		for i := range n {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		first error
		stop  atomic.Bool
	)
	work := func() {
		f := mk()
		for !stop.Load() {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			err := context.Cause(ctx)
			if err == nil {
				err = f(i)
			}
			if err != nil {
				once.Do(func() { first = err })
				stop.Store(true)
				return
			}
		}
	}
	for range extra {
		wg.Go(work)
	}
	work()
	wg.Wait()
	return first
}

// Chunks returns how many chunks of the given size cover n, and a function
// that gives the bounds of chunk i.
func Chunks(n, size int) (count int, bounds func(i int) (lo, hi int)) {
	return (n + size - 1) / size, func(i int) (int, int) { return i * size, min(n, (i+1)*size) }
}
