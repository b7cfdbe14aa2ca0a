package rest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Lengths of the parts of a token's secret, kontor_<id>_<key>.
const (
	tokenPrefix = "kontor_"
	tokenIDLen  = 12 // 60 bits
	tokenKeyLen = 52 // 256 bits
)

var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// MakeToken draws a token from random, which is crypto/rand.Reader outside of tests:
// its identifier, the secret that its holder keeps, and what the node keeps.
func MakeToken(random io.Reader) (id, secret string, hash [32]byte, err error) {
	if random == nil {
		random = rand.Reader
	}
	var b [8 + 32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", "", hash, fmt.Errorf("drawing a token: %w", err)
	}
	id = tokenText.EncodeToString(b[:8])[:tokenIDLen]
	secret = tokenPrefix + id + "_" + tokenText.EncodeToString(b[8:])
	return id, secret, sha256.Sum256([]byte(secret)), nil
}

var errToken = errors.New("not a token of the form kontor_<id>_<key>")

// parseToken returns the identifier in a token's secret.
func parseToken(secret string) (id string, err error) {
	rest, ok := strings.CutPrefix(secret, tokenPrefix)
	if !ok || len(rest) != tokenIDLen+1+tokenKeyLen || rest[tokenIDLen] != '_' {
		return "", errToken
	}
	for i, c := range []byte(rest) {
		if i != tokenIDLen && (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return "", errToken
		}
	}
	return rest[:tokenIDLen], nil
}

// parseAuthorization returns the secret in an Authorization header.
func parseAuthorization(header string) (id, secret string, err error) {
	scheme, secret, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", "", errToken
	}
	secret = strings.Trim(secret, " ")
	id, err = parseToken(secret)
	return id, secret, err
}

// secretFits compares in constant time.
func secretFits(secret string, hash [32]byte) bool {
	got := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(got[:], hash[:]) == 1
}

// maxKey bounds an idempotency key.
const maxKey = 200

// parseIdempotencyKey returns the key in an Idempotency-Key header, which may
// be quoted as the draft standard has it; "" for none.
func parseIdempotencyKey(header string) (string, error) {
	key := header
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	if key == "" {
		if header != "" {
			return "", errors.New("an empty key")
		}
		return "", nil
	}
	if len(key) > maxKey {
		return "", fmt.Errorf("a key of %d bytes, at most %d are allowed", len(key), maxKey)
	}
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return "", errors.New("a key with a character other than printable ASCII, or with a blank, quote or backslash")
		}
	}
	return key, nil
}
