package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"kontor/internal/fault"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ephemeral(t testing.TB, name string, now time.Time) *Identity {
	t.Helper()
	id, err := Ephemeral(name, now)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// pinned returns peers that know id.
func pinned(t testing.TB, ids ...*Identity) *Peers {
	t.Helper()
	ps := MemoryPeers()
	for _, id := range ids {
		if err := ps.Add(&Invitation{Name: id.Name(), Key: id.PublicKey()}, noon); err != nil {
			t.Fatal(err)
		}
	}
	return ps
}

func TestCreateLoad(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "deep", "bank")
	if _, err := Load(dir); !errors.Is(err, ErrNone) || fault.KindOf(err) != fault.Local {
		t.Fatalf("Load of nothing: %v", err)
	}
	id, err := Create(dir, "bank", noon)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if back.Name() != "bank" || back.Fingerprint() != id.Fingerprint() || !back.NotAfter().Equal(noon.Add(NodeValidity)) {
		t.Errorf("loaded %s %s %s, created %s %s", back.Name(), back.Fingerprint(), back.NotAfter(), id.Name(), id.Fingerprint())
	}
	if p, err := VerifyPeer(back.TLSCertificate().Certificate, pinned(t, id), noon); err != nil || p.Name != "bank" {
		t.Errorf("VerifyPeer: %v, %v", p, err)
	}
	if _, err := Create(dir, "bank", noon); !errors.Is(err, ErrExists) {
		t.Errorf("second Create: %v", err)
	}
	if again, _ := Load(dir); again.Fingerprint() != id.Fingerprint() {
		t.Error("second Create changed the identity")
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, identityFile): 0o600, filepath.Join(dir, nodeFile): 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
			}
		}
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("leftovers in the folder: %v", entries)
	}
}

func TestCreateRace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ids := make([]*Identity, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() { ids[i], _ = Create(dir, "bank", noon) })
	}
	wg.Wait()
	var won *Identity
	for _, id := range ids {
		if id != nil && won != nil {
			t.Fatal("two calls created an identity")
		}
		if id != nil {
			won = id
		}
	}
	back, err := Load(dir)
	if err != nil || won == nil || back.Fingerprint() != won.Fingerprint() {
		t.Fatalf("what was created is not what is loaded: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	other := t.TempDir()
	if _, err := Create(other, "bank", noon); err != nil {
		t.Fatal(err)
	}
	copyOf := func(dir, file string) {
		data, err := os.ReadFile(filepath.Join(other, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		spoil func(dir string)
		want  error
	}{
		"identity readable": {func(d string) { os.Chmod(filepath.Join(d, identityFile), 0o640) }, ErrExposed},
		"node readable":     {func(d string) { os.Chmod(filepath.Join(d, nodeFile), 0o604) }, ErrExposed},
		"empty":             {func(d string) { os.Truncate(filepath.Join(d, identityFile), 0) }, ErrDamaged},
		"huge":              {func(d string) { os.Truncate(filepath.Join(d, nodeFile), maxFile+1) }, nil},
		"other node":        {func(d string) { copyOf(d, nodeFile) }, ErrDamaged},
		"other identity":    {func(d string) { copyOf(d, identityFile) }, ErrDamaged},
		"identity as node": {func(d string) {
			data, _ := os.ReadFile(filepath.Join(d, nodeFile))
			os.WriteFile(filepath.Join(d, identityFile), data, 0o600)
		}, ErrDamaged},
		"half": {func(d string) {
			data, _ := os.ReadFile(filepath.Join(d, identityFile))
			os.WriteFile(filepath.Join(d, identityFile), data[:len(data)/2], 0o600)
		}, ErrDamaged},
		"identity gone": {func(d string) { os.Remove(filepath.Join(d, identityFile)) }, ErrNone},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == ErrExposed && runtime.GOOS == "windows" {
				t.Skip("Windows has no mode bits")
			}
			dir := t.TempDir()
			if _, err := Create(dir, "bank", noon); err != nil {
				t.Fatal(err)
			}
			c.spoil(dir)
			_, err := Load(dir)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || fault.KindOf(err) != fault.Local {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, err := Create(dir, "bank", noon)
	if err != nil {
		t.Fatal(err)
	}
	before := id.TLSCertificate()
	later := noon.Add(80 * 24 * time.Hour)
	if err := id.Renew(later); err != nil {
		t.Fatal(err)
	}
	if id.PublicKey().Equal(before.Leaf.PublicKey) || id.TLSCertificate().Leaf.PublicKey.(ed25519.PublicKey).Equal(before.Leaf.PublicKey) {
		t.Error("the node key was kept")
	}
	back, err := Load(dir)
	if err != nil || !back.NotAfter().Equal(later.Add(NodeValidity)) || back.Fingerprint() != id.Fingerprint() {
		t.Errorf("after Renew: %v", err)
	}
	if _, err := VerifyPeer(back.TLSCertificate().Certificate, pinned(t, id), later.Add(50*24*time.Hour)); err != nil {
		t.Errorf("renewed certificate: %v", err)
	}
	// Without its node certificate an identity is still one.
	if err := os.Remove(filepath.Join(dir, nodeFile)); err != nil {
		t.Fatal(err)
	}
	back, err = Load(dir)
	if err != nil || !back.NotAfter().IsZero() || len(back.TLSCertificate().Certificate) != 0 {
		t.Fatalf("without node certificate: %v", err)
	}
	if err := back.Renew(later); err != nil || back.NotAfter().IsZero() {
		t.Errorf("Renew: %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{"a": true, "bank-01": true, strings.Repeat("x", 32): true, "": false, "Bank": false,
		"b_k": false, "../x": false, "bänk": false, "a b": false, strings.Repeat("x", 33): false} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := Ephemeral(name, noon); (err == nil) != ok {
			t.Errorf("Ephemeral(%q): %v", name, err)
		}
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	// SHA-256 of 32 zero bytes begins 66687aadf862bd776c8fc18b8e9f8e2008971485.
	if got, want := Fingerprint(make([]byte, 32)), "6668-7aad-f862-bd77-6c8f-c18b-8e9f-8e20-0897-1485"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if f := ephemeral(t, "bank", noon).Fingerprint(); !regexp.MustCompile(`^([0-9a-f]{4}-){9}[0-9a-f]{4}$`).MatchString(f) {
		t.Errorf("fingerprint %s", f)
	}
}

func TestSign(t *testing.T) {
	t.Parallel()
	id, other := ephemeral(t, "bank", noon), ephemeral(t, "bank", noon)
	msg := []byte("one million rows")
	sig := id.Sign("kontor consent v1", msg)
	if !Verify(id.PublicKey(), "kontor consent v1", msg, sig) {
		t.Fatal("a good signature is refused")
	}
	if Verify(id.PublicKey(), "kontor consent v2", msg, sig) || Verify(other.PublicKey(), "kontor consent v1", msg, sig) ||
		Verify(id.PublicKey(), "kontor consent v1", msg[1:], sig) || Verify(nil, "kontor consent v1", msg, sig) ||
		Verify(id.PublicKey(), "kontor consent v1", msg, sig[:63]) || Verify(id.PublicKey(), "kontor consent v1o", msg[1:], sig) {
		t.Error("a bad signature is taken")
	}
	if ed25519.Verify(id.PublicKey(), msg, sig) {
		t.Error("the message is signed bare")
	}
	// Known answer: the key whose seed is 32 zero bytes (RFC 8032 arithmetic, SHA-256 by another program).
	zero := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	if got, want := Fingerprint(zero), "139e-3940-e64b-5491-7220-88d9-a0d7-4162-8fc8-26e0"; got != want {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
}

func TestVerifyPeer(t *testing.T) {
	t.Parallel()
	id, stranger := ephemeral(t, "bank", noon), ephemeral(t, "bank", noon)
	chain, foreign := id.TLSCertificate().Certificate, stranger.TLSCertificate().Certificate
	peers := pinned(t, id)
	// A leaf made by a node key: whoever steals a node must not be able to make more.
	underNode := &Identity{name: "bank", key: id.TLSCertificate().PrivateKey.(ed25519.PrivateKey), cert: id.TLSCertificate().Leaf}
	sub, err := underNode.issue(noon)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		chain [][]byte
		now   time.Time
		want  error
		says  string
	}{
		"good":              {chain, noon, nil, ""},
		"last day":          {chain, noon.Add(NodeValidity), nil, ""},
		"slow clock":        {chain, noon.Add(-backdate), nil, ""},
		"expired":           {chain, noon.Add(NodeValidity + time.Second), ErrExpired, "expired on 2026-05-30 12:00 UTC"},
		"not yet":           {chain, noon.Add(-backdate - 2*time.Hour), ErrNotYet, "wrong by 2h"},
		"clock 1 h behind":  {chain, noon.Add(-time.Hour), nil, ""},
		"clock 2 h behind":  {chain, noon.Add(-2 * time.Hour), nil, ""}, // an hour, and the hour of summer time
		"clock 1 h ahead":   {chain, noon.Add(NodeValidity - RenewLeft + time.Hour), nil, ""},
		"unknown":           {foreign, noon, ErrUnknown, stranger.Fingerprint()},
		"foreign leaf":      {[][]byte{foreign[0], chain[1]}, noon, ErrMalformed, "not signed"},
		"foreign identity":  {[][]byte{chain[0], foreign[1]}, noon, ErrUnknown, stranger.Fingerprint()},
		"leaf under leaf":   {[][]byte{sub.Certificate[0], chain[0]}, noon, ErrUnknown, ""},
		"sub under pinned":  {[][]byte{sub.Certificate[0], chain[1]}, noon, ErrMalformed, "not signed"},
		"none":              {nil, noon, ErrMalformed, ""},
		"leaf only":         {chain[:1], noon, ErrMalformed, ""},
		"identity as leaf":  {[][]byte{chain[1], chain[1]}, noon, ErrMalformed, ""},
		"three":             {append(append([][]byte{}, chain...), chain[1]), noon, ErrMalformed, ""},
		"garbage leaf":      {[][]byte{{1, 2, 3}, chain[1]}, noon, ErrMalformed, ""},
		"garbage identity":  {[][]byte{chain[0], {}}, noon, ErrMalformed, ""},
		"oversize identity": {[][]byte{chain[0], make([]byte, maxCertificate+1)}, noon, ErrMalformed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := VerifyPeer(c.chain, peers, c.now)
			if c.want == nil {
				if err != nil || p.Name != "bank" {
					t.Fatalf("got %v, %v", p, err)
				}
				return
			}
			var ce *CertificateError
			if !errors.Is(err, c.want) || !errors.As(err, &ce) || fault.KindOf(err) != fault.Trust || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v saying %q", err, c.want, c.says)
			}
			var f *fault.Error
			if errors.As(err, &f); f.Cure == "" {
				t.Error("no cure")
			}
		})
	}
}

func TestVerifyPeerKinds(t *testing.T) {
	t.Parallel()
	// Certificates of another key type must not pass for an Ed25519 identity.
	id := ephemeral(t, "bank", noon)
	leaf := id.TLSCertificate().Leaf
	forged := *leaf
	forged.SignatureAlgorithm = x509.ECDSAWithSHA256
	if signedBy(&forged, id.PublicKey()) {
		t.Error("another signature algorithm is taken")
	}
	if !signedBy(leaf, id.PublicKey()) {
		t.Error("a good signature is refused")
	}
	other, _, _ := ed25519.GenerateKey(rand.Reader)
	if signedBy(leaf, other) || signedBy(leaf, nil) {
		t.Error("another key is taken")
	}
}
