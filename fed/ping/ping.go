// Package ping is the least protocol there is: each host sends the guest a
// challenge and gets the answer that only this session gives. It shows that the
// parties' nodes reach each other, trust each other and derive the same session,
// and what a step costs that does nothing. It computes nothing on data.
// PROTOCOL.md has the messages.
package ping

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"sync"

	"kontor/session"
)

const (
	tagPing = "ping"
	tagPong = "pong"
	size    = 32
)

// answer binds a challenge to the session.
func answer(s *session.Session, challenge []byte) []byte {
	id := s.ID().Derive("ping")
	sum := sha256.Sum256(append(id[:], challenge...))
	return sum[:]
}

// Guest answers every host once. The hosts are served at the same time.
func Guest(ctx context.Context, s *session.Session, _ io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hosts := s.Hosts()
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error // the cause; what the others return after it is its echo
	)
	for _, h := range hosts {
		wg.Go(func() {
			if err := serve(ctx, s, h); err != nil {
				once.Do(func() { first = err; cancel() })
			}
		})
	}
	wg.Wait()
	return first
}

func serve(ctx context.Context, s *session.Session, host string) error {
	var challenge session.Bytes
	if err := s.Recv(ctx, host, tagPing, size, &challenge); err != nil {
		return err
	}
	if len(challenge) != size {
		return s.Violation(host, fmt.Sprintf("its challenge has %d bytes where %d were expected", len(challenge), size))
	}
	return s.Send(ctx, host, tagPong, session.Bytes(answer(s, challenge)))
}

// Host challenges the guest. rand is crypto/rand.Reader but in tests.
func Host(ctx context.Context, s *session.Session, rand io.Reader) error {
	challenge := make([]byte, size)
	if _, err := io.ReadFull(rand, challenge); err != nil {
		return fmt.Errorf("drawing the challenge: %w", err)
	}
	if err := s.Send(ctx, s.Guest(), tagPing, session.Bytes(challenge)); err != nil {
		return err
	}
	var got session.Bytes
	if err := s.Recv(ctx, s.Guest(), tagPong, size, &got); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(got, answer(s, challenge)) != 1 {
		return s.Violation(s.Guest(), "its answer is not that of this session")
	}
	return nil
}

// Learned returns what a party learned, for its account of the job.
func Learned() string { return "That the other parties' nodes run this job; nothing about data." }
