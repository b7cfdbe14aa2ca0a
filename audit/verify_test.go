package audit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"kontor/identity"
	"kontor/internal/fault"
	"kontor/store"
)

// change decodes a line, lets f change its members, and writes it again.
func change(t testing.TB, line string, f func(map[string]any)) string {
	t.Helper()
	v, err := parse([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	f(v.(map[string]any))
	return string(canonical(v))
}

// forge signs a changed entry anew, as only the owner of the key can.
func forge(t testing.TB, line string, id *identity.Identity, f func(map[string]any)) string {
	t.Helper()
	return change(t, line, func(m map[string]any) {
		f(m)
		delete(m, "hash")
		delete(m, "signature")
		sum := sha256.Sum256(canonical(m))
		m["hash"], m["signature"] = hex.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString(id.Sign(contextEntry, sum[:]))
	})
}

// TestEveryChangeIsFound does to an export of ten entries what can be done to one.
// Line 0 is the header, lines 1 to 10 the entries, line 11 the head.
func TestEveryChangeIsFound(t *testing.T) {
	t.Parallel()
	n, stranger := newNode(t, "bank"), newNode(t, "bank")
	n.write(t, events(1, 10)...)
	stranger.write(t, events(1, 10)...)
	good := strings.Split(strings.TrimSuffix(n.export(t), "\n"), "\n")
	foreign := strings.Split(n.export(t), "\n")
	object := func(m map[string]any) { m["object"] = "job 99" }
	for name, c := range map[string]struct {
		change func(l []string) []string
		kind   string // of the first problem
		seq    int64
		count  int // of problems
	}{
		"nothing": {func(l []string) []string { return l }, "", 0, 0},
		"formatted anew": {func(l []string) []string {
			var m map[string]any
			_ = json.Unmarshal([]byte(l[4]), &m)
			b, _ := json.Marshal(m)
			l[4] = " " + strings.ReplaceAll(string(b), ",\"", " , \"") + "\r"
			return l
		}, "", 0, 0},
		"an object edited": {func(l []string) []string { l[4] = change(t, l[4], object); return l }, Edited, 4, 1},
		"a detail edited": {func(l []string) []string {
			l[4] = change(t, l[4], func(m map[string]any) { m["detail"].(map[string]any)["n"] = int64(5) })
			return l
		}, Edited, 4, 1},
		"a time edited": {func(l []string) []string {
			l[4] = strings.Replace(l[4], "12:00:04.000000", "12:00:04.000001", 1)
			return l
		}, Edited, 4, 1},
		"edited with its hash": {func(l []string) []string {
			l[4] = change(t, forge(t, l[4], stranger.id, object), func(m map[string]any) {})
			return l
		}, Unsigned, 4, 2}, // the next entry does not follow
		"a signature altered": {func(l []string) []string {
			l[4] = change(t, l[4], func(m map[string]any) {
				b, _ := base64.StdEncoding.DecodeString(m["signature"].(string))
				b[0] ^= 1
				m["signature"] = base64.StdEncoding.EncodeToString(b)
			})
			return l
		}, Unsigned, 4, 1},
		"a signature of another entry": {func(l []string) []string {
			l[4] = change(t, l[4], func(m map[string]any) {
				m["signature"] = l[5][strings.Index(l[5], `"signature":"`)+13 : len(l[5])-2]
			})
			return l
		}, Unsigned, 4, 1},
		"forged by the owner": {func(l []string) []string { l[4] = forge(t, l[4], n.id, object); return l }, Chain, 5, 1},
		"the last one forged": {func(l []string) []string { l[10] = forge(t, l[10], n.id, object); return l }, Chain, 10, 1},
		"of another node": {func(l []string) []string {
			l[4] = forge(t, l[4], n.id, func(m map[string]any) { m["node"] = "shop" })
			return l
		}, Foreign, 4, 2},
		"one removed":       {func(l []string) []string { return slices.Delete(l, 4, 5) }, Gap, 5, 1},
		"three removed":     {func(l []string) []string { return slices.Delete(l, 4, 7) }, Gap, 7, 1},
		"the first removed": {func(l []string) []string { return slices.Delete(l, 1, 2) }, Gap, 2, 1},
		"one removed, renumbered": {func(l []string) []string {
			l = slices.Delete(l, 4, 5)
			for i := 4; i <= 9; i++ {
				l[i] = forge(t, l[i], n.id, func(m map[string]any) { m["seq"] = int64(i) })
			}
			return l
		}, Chain, 4, 7}, // each of the six, and the head
		"two swapped":         {func(l []string) []string { l[4], l[5] = l[5], l[4]; return l }, Gap, 5, 2},
		"one twice":           {func(l []string) []string { return slices.Insert(l, 5, l[4]) }, Order, 4, 1},
		"one again later":     {func(l []string) []string { return slices.Insert(l, 9, l[2]) }, Order, 2, 1},
		"the end cut off":     {func(l []string) []string { return l[:8] }, Cut, 0, 1},
		"the head removed":    {func(l []string) []string { return l[:11] }, Cut, 0, 1},
		"the last removed":    {func(l []string) []string { return slices.Delete(l, 10, 11) }, Cut, 10, 1},
		"the head altered":    {func(l []string) []string { l[11] = strings.Replace(l[11], `"seq":10`, `"seq":9`, 1); return l }, Unsigned, 9, 1},
		"something after it":  {func(l []string) []string { return append(l, l[3]) }, Malformed, 0, 1},
		"a line of garbage":   {func(l []string) []string { l[4] = "garbage"; return l }, Malformed, 0, 1},
		"a garbage line more": {func(l []string) []string { return slices.Insert(l, 4, "{}") }, Malformed, 0, 1},
		"a line too long":     {func(l []string) []string { l[4] = strings.Repeat(" ", maxLine) + l[4]; return l }, Malformed, 0, 1},
		"an unknown member": {func(l []string) []string {
			l[4] = change(t, l[4], func(m map[string]any) { m["more"] = "x" })
			return l
		}, Malformed, 0, 1},
		"a member twice": {func(l []string) []string { l[4] = `{"object":"job 99",` + l[4][1:]; return l }, Malformed, 0, 1},
		"a fraction":     {func(l []string) []string { l[4] = strings.Replace(l[4], `"n":4`, `"n":4.0`, 1); return l }, Malformed, 0, 1},
		"a huge number": {func(l []string) []string {
			l[4] = forge(t, l[4], n.id, func(m map[string]any) { m["seq"] = int64(maxSeq) })
			return l
		}, Gap, maxSeq, 8},
		"a later beginning": {func(l []string) []string {
			l[0] = strings.Replace(l[0], `"from":1`, `"from":2`, 1)
			return slices.Delete(l, 1, 2)
		}, Chain, 2, 1},
		"another key in it": {func(l []string) []string {
			l[0] = strings.Replace(l[0], base64.StdEncoding.EncodeToString(n.id.PublicKey()), base64.StdEncoding.EncodeToString(stranger.id.PublicKey()), 1)
			return l
		}, Unsigned, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := verify(t, strings.Join(c.change(slices.Clone(good)), "\n"), n)
			if len(r.Problems) != c.count || c.count > 0 && (r.Problems[0].Kind != c.kind || r.Problems[0].Seq != c.seq) {
				t.Errorf("%+v, want %d, the first %s at %d", r.Problems, c.count, c.kind, c.seq)
			}
			if (r.Err() == nil) != (c.count == 0) || r.Err() != nil && fault.KindOf(r.Err()) != fault.Trust {
				t.Errorf("%v", r.Err())
			}
		})
	}
	r, err := Verify(strings.NewReader(strings.Join(foreign, "\n")), stranger.id.PublicKey())
	if err != nil || len(r.Problems) != 12 || r.Problems[1].Kind != Unsigned {
		t.Errorf("the wrong key: %+v, %v", r, err)
	}
}

func TestWhatIsNoExport(t *testing.T) {
	t.Parallel()
	n := newNode(t, "bank")
	n.write(t, events(1, 2)...)
	good := n.export(t)
	for name, c := range map[string]struct {
		text string
		kind fault.Kind
	}{
		"empty":            {"", fault.Data},
		"text":             {"no export\n", fault.Data},
		"no header":        {good[strings.Index(good, "\n")+1:], fault.Data},
		"a later format":   {strings.Replace(good, Format, "kontor-audit-v2", 1), fault.Version},
		"a bad name":       {strings.Replace(good, `"node":"bank"`, `"node":"B nk"`, 1), fault.Data},
		"a from too large": {strings.Replace(good, `"from":1`, `"from":9223372036854775807`, 1), fault.Data},
		"a negative from":  {strings.Replace(good, `"from":1`, `"from":-1`, 1), fault.Data},
	} {
		if _, err := Verify(strings.NewReader(c.text), n.id.PublicKey()); fault.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	header, _, _ := strings.Cut(good, "\n")
	if name, key, err := Key([]byte(header)); err != nil || name != "bank" || !key.Equal(n.id.PublicKey()) {
		t.Errorf("%s, %v", name, err)
	}
	if _, _, err := Key([]byte("{}")); fault.KindOf(err) != fault.Data {
		t.Errorf("%v", err)
	}
}

// TestTamperingWithTheDatabase changes what the node keeps, as somebody with access to its disk can.
func TestTamperingWithTheDatabase(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for statement, kind := range map[string]string{
		"UPDATE audit SET entry = replace(entry, 'alice', 'mallory') WHERE seq = 3": Edited,
		"UPDATE audit SET entry = 'x' || char(10) || 'y' WHERE seq = 3":             Malformed,
		"UPDATE audit SET entry = substr(entry, 1, 40) WHERE seq = 3":               Malformed,
		"DELETE FROM audit WHERE seq = 3":                                           Gap,
		"UPDATE audit SET seq = -seq WHERE seq = 3":                                 Chain,
		"UPDATE audit SET seq = 100 WHERE seq = 3":                                  Gap,
		"UPDATE audit SET signature = x'00' WHERE seq = 3":                          Unsigned,
	} {
		n := newNode(t, "bank")
		n.write(t, events(1, 5)...)
		if err := n.db.Write(ctx, func(tx *store.Tx) error { _, err := tx.Exec(ctx, statement); return err }); err != nil {
			t.Fatal(err)
		}
		r, err := n.Log.Verify(ctx)
		if err != nil || r.OK() || r.Problems[0].Kind != kind {
			t.Errorf("%s: %+v, %v", statement, r, err)
		}
	}
	// The columns beside the entry are for looking up only: what is shown is what is signed.
	n := newNode(t, "bank")
	n.write(t, events(1, 1)...)
	if err := n.db.Write(ctx, func(tx *store.Tx) error { _, err := tx.Exec(ctx, "UPDATE audit SET actor = 'mallory'"); return err }); err != nil {
		t.Fatal(err)
	}
	if e, err := n.Entries(ctx, Filter{}); err != nil || e[0].Actor != "alice" {
		t.Errorf("%+v, %v", e, err)
	}
}

// exchange has two nodes witness each other, as at a job's end.
func exchange(t testing.TB, a, b node) {
	t.Helper()
	ctx := context.Background()
	ha, hb := a.head(t), b.head(t)
	ra, err := b.Countersign(a.id.Name(), a.id.PublicKey(), ha)
	if err != nil {
		t.Fatal(err)
	}
	rb, err := a.Countersign(b.id.Name(), b.id.PublicKey(), hb)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		n, peer node
		head    Head
		receipt Receipt
	}{{a, b, hb, ra}, {b, a, ha, rb}} {
		if err := w.n.db.Write(ctx, func(tx *store.Tx) error {
			return w.n.Witness(ctx, tx, w.peer.id.Name(), w.peer.id.PublicKey(), w.head, &w.receipt)
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestANodeCannotRewriteWhatPeersHaveSeen is what witnesses are for: the bank makes a
// new history and signs all of it with its own key.
func TestANodeCannotRewriteWhatPeersHaveSeen(t *testing.T) {
	t.Parallel()
	bank, shop := newNode(t, "bank"), newNode(t, "shop")
	bank.write(t, events(1, 5)...)
	shop.write(t, events(1, 2)...)
	exchange(t, bank, shop)
	bank.write(t, events(6, 9)...)
	exchange(t, shop, bank)
	heads, report, err := Heads(strings.NewReader(shop.export(t)), shop.id.PublicKey(), "bank")
	if err != nil || !report.OK() || len(heads) != 2 || heads[0].Seq != 5 || heads[1].Seq != 10 {
		t.Fatalf("%+v, %+v, %v", heads, report, err)
	}
	r := verify(t, bank.export(t), bank, heads...)
	if !r.OK() || r.Heads != 2 || len(r.Testimonies) != 2 || r.Testimonies[0].Seen != 5 || r.Testimonies[1].Seen != 10 || r.Testimonies[0].Fingerprint != shop.id.Fingerprint() {
		t.Fatalf("the true history: %+v", r)
	}
	tamper := func(events []Event) *Report {
		again := reopen(t, bank.id)
		again.write(t, events...)
		alone := verify(t, again.export(t), bank)
		if !alone.OK() {
			t.Errorf("alone the new history is good: %+v", alone.Problems)
		}
		return verify(t, again.export(t), bank, heads...)
	}
	changed := events(1, 12)
	changed[2].Actor = "bob"
	if r := tamper(changed); len(r.Problems) != 2 || r.Problems[0].Kind != Rewritten || r.Problems[0].Seq != 5 {
		t.Errorf("an entry changed: %+v", r.Problems)
	}
	if r := tamper(events(1, 7)); len(r.Problems) != 1 || r.Problems[0].Kind != Cut || r.Heads != 1 {
		t.Errorf("the end cut off: %+v", r.Problems)
	}
	if r := tamper(nil); len(r.Problems) != 2 || r.Problems[0].Kind != Cut {
		t.Errorf("a new log: %+v", r.Problems)
	}
	// Receipts that stay in a history that was written anew betray it without the peer.
	lines := strings.Split(bank.export(t), "\n")
	prev := ""
	for i := 1; i <= 11; i++ {
		lines[i] = forge(t, lines[i], bank.id, func(m map[string]any) {
			if i == 3 {
				m["actor"] = "bob"
			}
			if prev != "" {
				m["prev"] = prev
			}
		})
		_ = change(t, lines[i], func(m map[string]any) { prev = m["hash"].(string) })
	}
	head := Head{Node: "bank", Seq: 11, Hash: prev, Time: noon}
	head.Signature = bank.id.Sign(contextHead, head.text())
	lines[12] = string(canonical(map[string]any{"head": head.members()}))
	if r := verify(t, strings.Join(lines, "\n"), bank); len(r.Problems) != 2 || r.Problems[0].Kind != Rewritten {
		t.Errorf("receipts in a new history: %+v", r.Problems)
	}
}

func TestFalseEvidenceSaysNothing(t *testing.T) {
	t.Parallel()
	bank, shop := newNode(t, "bank"), newNode(t, "shop")
	bank.write(t, events(1, 5)...)
	forged := bank.head(t)
	forged.Hash = strings.Repeat("ab", 32)
	elses := shop.head(t)
	r := verify(t, bank.export(t), bank, forged, elses)
	if !r.OK() || r.Heads != 0 || len(r.Notes) != 2 {
		t.Errorf("%+v", r)
	}
	late := bank.head(t)
	late.Seq = 9
	if late.Verify(bank.id.PublicKey()) {
		t.Error("a head holds with another number")
	}
	b, err := json.Marshal(bank.head(t))
	if err != nil {
		t.Fatal(err)
	}
	if h, err := ReadHead(b); err != nil || !h.Verify(bank.id.PublicKey()) {
		t.Errorf("%+v, %v", h, err)
	}
	receipt, err := shop.Countersign("bank", bank.id.PublicKey(), bank.head(t))
	if err != nil {
		t.Fatal(err)
	}
	if b, err = json.Marshal(receipt); err != nil {
		t.Fatal(err)
	}
	if h, err := ReadHead(b); err != nil || !h.Verify(bank.id.PublicKey()) {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := ReadHead([]byte("x")); fault.KindOf(err) != fault.Data {
		t.Errorf("%v", err)
	}
}

func TestWitnessChecksWhatItIsGiven(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	bank, shop, third := newNode(t, "bank"), newNode(t, "shop"), newNode(t, "third")
	for _, n := range []node{bank, shop, third} {
		n.write(t, events(1, 3)...)
	}
	witness := func(head Head, r *Receipt) error {
		return bank.db.Write(ctx, func(tx *store.Tx) error {
			return bank.Witness(ctx, tx, "shop", shop.id.PublicKey(), head, r)
		})
	}
	receipt := func(by node, head Head) *Receipt {
		r := &Receipt{Head: head, By: by.id.Name()}
		r.Signature = by.id.Sign(contextReceipt, r.text())
		return r
	}
	never := bank.head(t)
	never.Hash = strings.Repeat("ab", 32)
	never.Signature = bank.id.Sign(contextHead, never.text())
	future := bank.head(t)
	future.Seq = 100
	future.Signature = bank.id.Sign(contextHead, future.text())
	posing := *receipt(third, bank.head(t))
	posing.By = "shop"
	unsigned := bank.head(t)
	unsigned.Signature = nil
	for name, c := range map[string]struct {
		head    Head
		receipt *Receipt
		kind    fault.Kind
	}{
		"another's head":                 {third.head(t), nil, fault.Protocol},
		"no signature":                   {Head{Node: "shop", Hash: never.Hash}, nil, fault.Protocol},
		"a receipt for another":          {shop.head(t), receipt(shop, third.head(t)), fault.Protocol},
		"a receipt by another":           {shop.head(t), receipt(third, bank.head(t)), fault.Protocol},
		"a receipt in another's name":    {shop.head(t), &posing, fault.Protocol},
		"a receipt for an unsigned head": {shop.head(t), receipt(shop, unsigned), fault.Protocol},
		"a history that we do not have":  {shop.head(t), receipt(shop, never), fault.Trust},
		"an entry that we do not have":   {shop.head(t), receipt(shop, future), fault.Trust},
	} {
		if err := witness(c.head, c.receipt); fault.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := bank.head(t).Seq; got != 3 {
		t.Errorf("refused heads left %d entries", got-3)
	}
	if err := witness(shop.head(t), nil); err != nil {
		t.Fatal(err)
	}
	if err := witness(shop.head(t), receipt(shop, bank.head(t))); err != nil {
		t.Fatalf("the same again, with a receipt: %v", err)
	}
	if _, err := shop.Countersign("bank", third.id.PublicKey(), bank.head(t)); fault.KindOf(err) != fault.Protocol {
		t.Errorf("a head under another key was countersigned: %v", err)
	}
	// The shop comes back with another third entry.
	again := reopen(t, shop.id)
	again.write(t, append(events(1, 2), events(7, 7)...)...)
	if err := witness(again.head(t), nil); fault.KindOf(err) != fault.Trust || !strings.Contains(err.Error(), "rewritten") {
		t.Errorf("a peer with a new history: %v", err)
	}
	if r, err := bank.Log.Verify(ctx); err != nil || !r.OK() || len(r.Testimonies) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestATestimonyThatDoesNotHoldIsFound(t *testing.T) {
	t.Parallel()
	bank, shop := newNode(t, "bank"), newNode(t, "shop")
	bank.write(t, events(1, 3)...)
	exchange(t, bank, shop)
	lines := strings.Split(bank.export(t), "\n")
	detail := func(m map[string]any) map[string]any { return m["detail"].(map[string]any) }
	for name, f := range map[string]func(map[string]any){
		"another head":      func(m map[string]any) { detail(m)["head"].(map[string]any)["seq"] = int64(7) },
		"another peer":      func(m map[string]any) { detail(m)["peer"] = "third" },
		"another key":       func(m map[string]any) { detail(m)["identity"] = base64.StdEncoding.EncodeToString(bank.id.PublicKey()) },
		"a short key":       func(m map[string]any) { detail(m)["identity"] = "AAAA" },
		"no head":           func(m map[string]any) { delete(detail(m), "head") },
		"an empty receipt":  func(m map[string]any) { detail(m)["receipt"] = "" },
		"a receipt altered": func(m map[string]any) { detail(m)["receipt"].(map[string]any)["by"] = "third" },
	} {
		l := slices.Clone(lines)
		l[4] = forge(t, l[4], bank.id, f)
		r := verify(t, strings.Join(l, "\n"), bank)
		if len(r.Problems) == 0 || r.Problems[0].Kind != Unsigned || r.Problems[0].Seq != 4 {
			t.Errorf("%s: %+v", name, r.Problems)
		}
	}
}
