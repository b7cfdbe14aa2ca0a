// Package ring holds the number-theoretic kernels that the lattice protocols
// stand on: arithmetic modulo 53-bit primes, the negacyclic number-theoretic
// transform over Z_q[X]/(X^N+1), samplers that draw from a keyed AES-CTR stream,
// packing of short integers, and the step from two residues to a fraction of
// their product.
//
// It is not a general lattice library. It has no ciphertexts, no keys and no
// security parameters: those belong to the protocol that calls it. Moduli are
// primes q = 2^53 - c with a small c, because then 2^11 residues add up in one
// 64-bit word and a word folds back below 2^53 + 2^30 with one multiplication.
//
// # Constant time
//
// No function branches on, or indexes memory by, a value that it transforms or
// samples, except where its comment says so ([NTT.ForwardBits] looks its bits
// up in a table, rejection sampling reveals how many draws it threw away, which
// is independent of the ones it kept). Products are single machine
// multiplications, whose time does not depend on their operands on amd64 and
// arm64.
//
// # Specification
//
// The transform is the merged negacyclic one of Longa and Naehrig ("Speeding up
// the Number Theoretic Transform for Faster Ideal Lattice-Based Cryptography",
// CANS 2016): natural order in, bit-reversed order out, with the twiddle of node
// i of the binary tree of butterflies at index i. Multiplications by constants
// are Shoup's, the lazy bounds are Harvey's ("Faster arithmetic for
// number-theoretic transforms", 2014).
package ring
