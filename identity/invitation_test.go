package identity

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kontor/internal/fault"
)

func invite(t testing.TB, id *Identity, address string) string {
	t.Helper()
	line, err := id.Invite(address, noon)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func TestInvitation(t *testing.T) {
	t.Parallel()
	id := ephemeral(t, "telecom", noon)
	for _, address := range []string{"node.telecom.example:9443", "[2001:db8::1]:443", ""} {
		line := invite(t, id, address)
		if strings.ContainsAny(line, " \n") || !strings.HasPrefix(line, "kontor-invite-v1:") {
			t.Errorf("line %q", line)
		}
		inv, err := ParseInvitation(line)
		if err != nil {
			t.Fatal(err)
		}
		if inv.Name != "telecom" || inv.Address != address || inv.Fingerprint() != id.Fingerprint() || !inv.Created.Equal(noon) {
			t.Errorf("got %+v", inv)
		}
	}
	line := invite(t, id, "a:1")
	if _, err := ParseInvitation("  " + line[:60] + "\r\n " + line[60:] + "\n"); err != nil {
		t.Errorf("wrapped by a mail program: %v", err)
	}
	for _, address := range []string{"nohost", "a:0", "a:99999", ":80", "a b:80", "a:http", strings.Repeat("a", 260) + ":80"} {
		if _, err := id.Invite(address, noon); err == nil {
			t.Errorf("address %q is taken", address)
		}
	}
}

// The format must not change: an invitation lives in mails and tickets.
func TestInvitationKnownAnswer(t *testing.T) {
	t.Parallel()
	id := &Identity{name: "bank", key: ed25519.NewKeyFromSeed(make([]byte, 32))}
	const want = "kontor-invite-v1:BGJhbmsRYmFuay5leGFtcGxlOjk0NDM7aie8zrakLWKjqNAqbw1zZTIVdx3iQ6Y6wEihi1naKQAAAABppCpA" +
		"ji7WgMRzEvvGPsTLPCT01W3x4NbZsh2U7R_jDtUASivu5NJuHU5MRqL2Zhz21MDXuVbzCth2Vt1D-Uyfk5M9DA"
	if got := invite(t, id, "bank.example:9443"); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func TestParseInvitationRefuses(t *testing.T) {
	t.Parallel()
	id := ephemeral(t, "telecom", noon)
	line := invite(t, id, "a:1")
	bad := map[string]string{
		"empty": "", "prefix": "kontor-invite-v2:" + line[len(invitePrefix):], "cut": line[:len(line)-4], "longer": line + "AAAA",
		"padded": line + "=", "huge": line + strings.Repeat(" ", maxInvite), "no body": invitePrefix,
	}
	for name, text := range bad {
		if _, err := ParseInvitation(text); !errors.Is(err, ErrInvitation) || fault.KindOf(err) != fault.Trust {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Every single changed character is noticed.
	for i := range line {
		c := byte('A')
		if line[i] == c {
			c = 'B'
		}
		if _, err := ParseInvitation(line[:i] + string(c) + line[i+1:]); err == nil {
			t.Errorf("character %d changed, not noticed", i)
		}
	}
}

func FuzzParseInvitation(f *testing.F) {
	id := &Identity{name: "bank", key: ed25519.NewKeyFromSeed(make([]byte, 32))}
	for _, a := range []string{"", "bank.example:9443"} {
		line, err := id.Invite(a, noon)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
		f.Add(line[:40])
	}
	f.Add("kontor-invite-v1:")
	f.Fuzz(func(t *testing.T, text string) {
		inv, err := ParseInvitation(text)
		if err != nil {
			return
		}
		if CheckName(inv.Name) != nil || len(inv.Key) != ed25519.PublicKeySize || inv.Address != "" && CheckAddress(inv.Address) != nil {
			t.Errorf("unfit parts: %+v", inv)
		}
	})
}

func TestPeers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, ps := range map[string]*Peers{"memory": MemoryPeers(), "disk": OpenPeers(dir)} {
		t.Run(name, func(t *testing.T) {
			a, b := ephemeral(t, "telecom", noon), ephemeral(t, "shop", noon)
			if l, err := ps.List(); err != nil || len(l) != 0 {
				t.Fatalf("to begin with: %v, %v", l, err)
			}
			if _, err := ps.Get("telecom"); !errors.Is(err, ErrUnknown) || fault.KindOf(err) != fault.Trust {
				t.Errorf("Get of nobody: %v", err)
			}
			if err := ps.Remove("telecom"); !errors.Is(err, ErrUnknown) {
				t.Errorf("Remove of nobody: %v", err)
			}
			inv := &Invitation{Name: "telecom", Address: "t.example:1", Key: a.PublicKey()}
			for _, i := range []*Invitation{inv, {Name: "shop", Key: b.PublicKey()}, inv} {
				if err := ps.Add(i, noon); err != nil {
					t.Fatal(err)
				}
			}
			if err := ps.Add(&Invitation{Name: "telecom", Address: "t.example:2", Key: a.PublicKey()}, noon.Add(time.Hour)); err != nil {
				t.Errorf("a new address: %v", err)
			}
			p, err := ps.Get("telecom")
			if err != nil || p.Address != "t.example:2" || p.Fingerprint() != a.Fingerprint() || !p.Added.Equal(noon) {
				t.Errorf("Get: %+v, %v", p, err)
			}
			if p, err := ps.ByKey(b.PublicKey()); err != nil || p.Name != "shop" {
				t.Errorf("ByKey: %+v, %v", p, err)
			}
			for _, i := range []*Invitation{{Name: "telecom", Key: b.PublicKey()}, {Name: "other", Key: a.PublicKey()}} {
				if err := ps.Add(i, noon); !errors.Is(err, ErrConflict) || fault.KindOf(err) != fault.Trust {
					t.Errorf("conflict: %v", err)
				}
			}
			for _, i := range []*Invitation{{Name: "../x", Key: a.PublicKey()}, {Name: "y", Key: a.PublicKey()[:31]}, {Name: "y", Address: "?", Key: make([]byte, 32)}} {
				if err := ps.Add(i, noon); err == nil {
					t.Errorf("%+v is taken", i)
				}
			}
			if l, err := ps.List(); err != nil || len(l) != 2 || l[0].Name != "shop" || l[1].Name != "telecom" {
				t.Errorf("List: %v, %v", l, err)
			}
			if err := ps.Remove("telecom"); err != nil {
				t.Error(err)
			}
			if _, err := ps.ByKey(a.PublicKey()); !errors.Is(err, ErrUnknown) {
				t.Errorf("ByKey after Remove: %v", err)
			}
		})
	}
	// Another process sees what is on disk.
	if _, err := OpenPeers(dir).Get("shop"); err != nil {
		t.Error(err)
	}
}

func TestPeerFileDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ps := OpenPeers(dir)
	id := ephemeral(t, "shop", noon)
	if err := ps.Add(&Invitation{Name: "shop", Key: id.PublicKey()}, noon); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "peers", "shop.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fp := id.Fingerprint()
	flip := "0"
	if fp[0] == '0' {
		flip = "1"
	}
	for name, text := range map[string]string{
		"cut": string(good[:20]), "name": strings.Replace(string(good), `"shop"`, `"bank"`, 1), "fingerprint": strings.Replace(string(good), fp, flip+fp[1:], 1),
		"version": strings.Replace(string(good), `"version": 1`, `"version": 2`, 1), "more": string(good) + "{}",
		"unknown field": strings.Replace(string(good), `"version"`, `"x":1,"version"`, 1),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ps.List(); fault.KindOf(err) != fault.Local || err == nil || !strings.Contains(err.Error(), "shop") {
			t.Errorf("%s: %v", name, err)
		}
	}
	os.WriteFile(path, good, 0o600)
	os.WriteFile(filepath.Join(dir, "peers", ".new-1"), nil, 0o600)
	if l, err := ps.List(); err != nil || len(l) != 1 {
		t.Errorf("List: %v, %v", l, err)
	}
}

func FuzzParsePeer(f *testing.F) {
	f.Add([]byte(`{"version":1,"fingerprint":"6668-7aad-f862-bd77-6c8f-c18b-8e9f-8e20-0897-1485","name":"shop","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","added":"2026-03-01T12:00:00Z"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePeer("shop", data)
		if err == nil && (p.Name != "shop" || len(p.Key) != ed25519.PublicKeySize) {
			t.Errorf("unfit: %+v", p)
		}
	})
}
