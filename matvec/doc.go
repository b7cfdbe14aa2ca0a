// Package matvec multiplies one party's private matrix with another party's
// secret vectors. The holder has a 0/1 matrix M, for every feature a one-hot
// column of bins; the querier has integer vectors v, for instance the gradients
// of boosted trees. The querier learns the sums v·M, one for each bin, and the
// holder learns nothing about v.
//
// The work that depends on M is done once, in a hint; each query after it costs
// the holder about what the same sums cost in the clear. It pays where many
// vectors meet one matrix. It is the wrong tool for a single product over a
// matrix that is used once, for matrices that are not 0/1, and for parties that
// may lie: both are assumed to follow the protocol. What a party that does not
// could do, and everything the two learn, is in PROTOCOL.md with the derivation of
// every bound that this package states.
//
// # Use
//
//	both:     p, err := Plan(Spec{...})
//	holder:   h, err := NewHolder(ctx, p, seed, m, rand.Reader, nil); send h.Hint()
//	querier:  q, err := NewQuerier(p, seed, rand.Reader)
//	          query, key, err := q.Encrypt(ctx, vectors); send query
//	holder:   answer, err := h.Answer(ctx, query); send answer
//	querier:  sums, err := key.Open(ctx, hint, answer); key.Erase()
//
// The seed is public. Both sides take it from randomness of their session that no
// party could choose; several holders may make their hints under the same one,
// and one query then serves them all. Nothing here does I/O or logs; randomness
// comes from the reader that the caller gives, which has to be crypto/rand.Reader
// outside of tests: a reader that repeats itself gives secrets away.
//
// # Constant time
//
// Nothing branches on or indexes by a querier's vector, secret or noise, or by
// the holder's mask. The holder's own bins choose which words it adds where, so
// its pattern of memory accesses follows its data: someone who watches the
// caches of the holder's machine is outside of the model.
//
// # Specification
//
// PROTOCOL.md in this folder. The idea of a hint is SimplePIR's (Henzinger, Hong,
// Corrigan-Gibbs, Meiklejohn, Vaikuntanathan, USENIX Security 2023).
package matvec

import "errors"

var (
	// ErrSpec says that no parameters serve a [Spec]: it is out of range, or it
	// asks for more bits over more rows and queries than the ring has room for.
	// Ask for fewer MeanBits or fewer queries.
	ErrSpec = errors.New("matvec: no parameters for what is asked")
	// ErrMatrix says that a matrix is malformed or does not fit its parameters.
	ErrMatrix = errors.New("matvec: unusable matrix")
	// ErrRange says that the vectors to encrypt do not fit the parameters: their
	// number, their length, or the sum of magnitudes of one of them.
	ErrRange = errors.New("matvec: vectors out of range")
	// ErrBudget says that a hint has answered as many vectors as were planned.
	// The holder must refuse; a new hint under a new seed starts a new budget.
	ErrBudget = errors.New("matvec: the planned number of queries is used up")
	// ErrEncoding says that received bytes are not what they should be: another
	// version, a wrong length, or a number out of range. The peer is at fault.
	ErrEncoding = errors.New("matvec: malformed message")
	// ErrMismatch says that values of different parameters, matrices or queries
	// were put together.
	ErrMismatch = errors.New("matvec: values that do not belong together")
	// ErrErased says that a key was used after [Key.Erase].
	ErrErased = errors.New("matvec: the key has been erased")
)
