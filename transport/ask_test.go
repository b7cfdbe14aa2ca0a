package transport

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	peerv1 "kontor/api/peer/v1"
	"kontor/internal/fault"
)

// answering makes telecom answer with f.
func answering(f func(ctx context.Context, peer, method string, body []byte) ([]byte, error)) func(a, b *Options) {
	return func(_, b *Options) { b.OnAsk = f }
}

func echo(_ context.Context, peer, method string, body []byte) ([]byte, error) {
	return append([]byte(peer+" "+method+" "), body...), nil
}

func TestAsk(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, answering(echo))
	ctx := deadline(t)
	for _, size := range []int{0, 1, maxChunk, maxChunk + 1, MaxAsk - len("bank job.begin ")} {
		body := random(size, 1)
		reply, err := bank.Ask(ctx, "telecom", telecom.Addr(), "job.begin", body)
		if err != nil || !bytes.Equal(reply, append([]byte("bank job.begin "), body...)) {
			t.Errorf("%d bytes: got %d, %v", size, len(reply), err)
		}
	}
	_, err := bank.Ask(ctx, "telecom", telecom.Addr(), "x", make([]byte, MaxAsk+1))
	wantFault(t, err, fault.Internal, "telecom", "is longer than 4194304 bytes")
	// The answer is too long: a defect over there, which is not our affair.
	_, err = bank.Ask(ctx, "telecom", telecom.Addr(), "job.begin", make([]byte, MaxAsk))
	wantFault(t, err, fault.Peer, "telecom", "it met a defect of its own")
	// Who takes no questions says so; who is not known is asked nothing.
	_, err = telecom.Ask(ctx, "bank", bank.Addr(), "job.begin", nil)
	wantFault(t, err, fault.Version, "bank", "does not know a call")
	_, err = bank.Ask(ctx, "shop", telecom.Addr(), "job.begin", nil)
	wantFault(t, err, fault.Trust, "shop", "does not know the party")
	telecom.mu.Lock()
	defer telecom.mu.Unlock()
	if len(telecom.asks) != 0 {
		t.Errorf("questions left over: %v", telecom.asks)
	}
}

// An error of the handler arrives as what it is only where it is meant to.
func TestAskErrors(t *testing.T) {
	t.Parallel()
	secret := errors.New("secret path /home/bank")
	refused := make(refusals, 10)
	bank, telecom := twoNodes(t, func(_, b *Options) {
		b.OnRefused = refused.hook()
		b.OnAsk = func(_ context.Context, _, method string, _ []byte) ([]byte, error) {
			f := &fault.Error{Kind: fault.Consent, Step: "align", What: "the policy denies \x1b[31mcolumn age" + strings.Repeat("x", 1000), Cure: "ask for less", Err: secret}
			switch method {
			case "told":
				return nil, Tell(f)
			case "plain":
				return nil, f
			case "trust":
				f.Kind = fault.Trust
				return nil, Tell(f)
			case "raw":
				return nil, secret
			}
			panic("secret defect")
		}
	})
	for method, want := range map[string]struct {
		kind, remote fault.Kind
		told         bool
		says         string
	}{
		"told":  {fault.Consent, fault.Consent, true, "party telecom, step align: the policy denies ?[31mcolumn agexxx"},
		"plain": {fault.Peer, fault.Consent, false, "it did not consent to this job in step align"},
		"trust": {fault.Peer, fault.Trust, false, "it does not trust a certificate in step align"},
		"raw":   {fault.Peer, fault.Internal, false, "it met a defect of its own"},
		"panic": {fault.Peer, fault.Internal, false, "it met a defect of its own"},
	} {
		_, err := bank.Ask(deadline(t), "telecom", telecom.Addr(), method, nil)
		wantFault(t, err, want.kind, "telecom", want.says)
		var r *Remote
		if !errors.As(err, &r) || r.Kind != want.remote || r.Told != want.told || len(r.Text) > maxTold || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %+v, %v", method, r, err)
		}
		if method == "told" && !strings.HasSuffix(err.Error(), "; ask for less") {
			t.Errorf("no cure in %v", err)
		}
	}
	refused.want(t, fault.Internal, "bank", "answering its question panic met a defect: panic: secret defect")
}

// A peer that is gone, or never was there, is noticed soon and not waited for.
func TestAskUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	began := make(chan struct{}, 1)
	ended := make(chan struct{}, 1)
	bank, telecom := twoNodes(t, func(a, b *Options) {
		quick(a, b)
		b.OnAsk = func(ctx context.Context, _, method string, _ []byte) ([]byte, error) {
			if method == "fast" {
				return nil, nil
			}
			began <- struct{}{}
			<-ctx.Done()
			ended <- struct{}{}
			return nil, ctx.Err()
		}
	})
	_, err = bank.Ask(deadline(t), "telecom", gone, "slow", nil)
	wantFault(t, err, fault.Peer, "telecom", "connection refused")
	// While it is answered: the wire is cut, falls silent, the asker goes.
	for how, says := range map[string]string{"cut": "it went away", "stall": "silent for", "leave": "stopped while waiting", "late": "in the time given"} {
		p := newProxy(t, telecom.Addr()).start()
		ctx, cancel := context.WithCancel(deadline(t))
		kind := fault.Peer
		if how == "late" {
			ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
		}
		defer cancel()
		go func() {
			<-began
			switch how {
			case "cut":
				p.cut()
			case "stall":
				p.stall()
			case "leave":
				cancel()
			}
		}()
		if how == "leave" {
			kind = fault.Cancelled
		}
		_, err = bank.Ask(ctx, "telecom", p.addr(), "slow", nil)
		wantFault(t, err, kind, "telecom", says)
		if errors.As(err, new(*Remote)) {
			t.Errorf("%s: the peer has said nothing, but there is %v", how, err)
		}
		select {
		case <-ended:
		case <-deadline(t).Done():
			t.Fatalf("%s: the handler goes on", how)
		}
	}
	// A connection that a firewall forgot while it was idle is replaced.
	p := newProxy(t, telecom.Addr()).start()
	for range 2 {
		if _, err := bank.Ask(deadline(t), "telecom", p.addr(), "fast", nil); err != nil {
			t.Error(err)
		}
		p.stall()
	}
}

// An answer may take longer than silence is allowed to last.
func TestAskLongPoll(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, func(a, b *Options) {
		quick(a, b)
		b.OnAsk = func(ctx context.Context, _, _ string, body []byte) ([]byte, error) {
			t := time.NewTimer(3 * b.Silence) // what is waited for comes then
			defer t.Stop()
			select {
			case <-t.C:
				return body, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	})
	if r, err := bank.Ask(deadline(t), "telecom", telecom.Addr(), "wait", []byte("x")); err != nil || string(r) != "x" {
		t.Errorf("got %q, %v", r, err)
	}
}

func TestAsksAreBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var running, most atomic.Int64
	bank, telecom := twoNodes(t, answering(func(ctx context.Context, _, _ string, _ []byte) ([]byte, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, nil
	}))
	ctx := deadline(t)
	var wg sync.WaitGroup
	for range maxAsks {
		wg.Go(func() {
			if _, err := bank.Ask(ctx, "telecom", telecom.Addr(), "wait", nil); err != nil {
				t.Error(err)
			}
		})
	}
	for running.Load() < maxAsks && ctx.Err() == nil {
		runtime.Gosched()
	}
	_, err := bank.Ask(ctx, "telecom", telecom.Addr(), "wait", nil)
	wantFault(t, err, fault.Peer, "telecom", "busy with other questions")
	if !errors.Is(err, ErrBusy) {
		t.Errorf("%v is not ErrBusy", err)
	}
	close(release)
	wg.Wait()
	if _, err := bank.Ask(ctx, "telecom", telecom.Addr(), "wait", nil); err != nil {
		t.Error(err)
	}
	if most.Load() > maxAsks {
		t.Errorf("%d questions at once", most.Load())
	}
}

// What breaks the protocol gets no further than the first packet, and a question
// that is too long is not read to its end.
func TestAskViolations(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	bank, telecom := twoNodes(t, answering(func(context.Context, string, string, []byte) ([]byte, error) {
		asked.Add(1)
		return nil, nil
	}))
	client := rawClient(t, bank, telecom)
	question := func(g *peerv1.Greeting, method string) *peerv1.Packet {
		return &peerv1.Packet{Body: &peerv1.Packet_Question{Question: &peerv1.Question{Method: method, Greeting: g}}}
	}
	id := sessionID(1)
	for name, p := range map[string]*peerv1.Packet{
		"chunk":       {Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Last: true}}},
		"empty":       {},
		"session":     {Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Greeting: bank.greeting}}},
		"tunnel":      {Body: &peerv1.Packet_Through{Through: &peerv1.Through{Way: 1, Greeting: bank.greeting}}},
		"long method": question(bank.greeting, strings.Repeat("x", maxMethod+1)),
		"no greeting": question(nil, "x"),
		"version":     question(&peerv1.Greeting{Name: "bank", WireMin: 9, WireMax: 9}, "x"),
	} {
		st, err := client.Ask(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		st.Send(p)
		if _, err = st.Recv(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	st, err := client.Ask(deadline(t), grpc.MaxCallSendMsgSize(1<<30))
	if err != nil {
		t.Fatal(err)
	}
	st.Send(question(bank.greeting, "x"))
	for range MaxAsk/maxChunk + 1 {
		st.Send(&peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: make([]byte, maxChunk)}}})
	}
	var abort *peerv1.Abort
	for abort == nil {
		p, err := st.Recv()
		if err != nil {
			t.Fatal(err)
		}
		abort = p.GetAbort()
	}
	if abort.Kind != fault.Protocol.String() || abort.Told || asked.Load() != 0 {
		t.Errorf("told %v; %d questions reached the handler", abort, asked.Load())
	}
}

// A node of wire protocol 1 is not asked, and told nothing wrong.
func TestAskOldPeer(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, func(_, b *Options) {
		b.OnAsk = echo
		b.Version = VersionInfo{Software: "0.1.0", WireMin: 1, WireMax: 1}
	})
	_, err := bank.Ask(deadline(t), "telecom", telecom.Addr(), "x", nil)
	wantFault(t, err, fault.Version, "telecom", "it runs Kontor 0.1.0 (wire protocol 1), which takes no questions")
	c, d := connect(t, bank, telecom, telecom.Addr(), 1)
	c.Close()
	d.Close()
	if r, err := bank.Probe(deadline(t), "telecom", telecom.Addr()); err != nil || r.Wire != 1 || r.Bandwidth != 0 || r.CertNotAfter.IsZero() {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestStrangerAsksNothing(t *testing.T) {
	t.Parallel()
	a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
	bank := listen(t, Options{Identity: a, Peers: know(t, b)})
	telecom := listen(t, Options{Identity: b, Peers: know(t), OnAsk: func(context.Context, string, string, []byte) ([]byte, error) {
		t.Error("a stranger was answered")
		return nil, nil
	}})
	_, err := bank.Ask(deadline(t), "telecom", telecom.Addr(), "x", nil)
	wantFault(t, err, fault.Trust, "telecom", "does not know this institution")
}

// FuzzQuestion feeds the callee of an Ask with packets of any content.
func FuzzQuestion(f *testing.F) {
	bank := newIdentity(f, "bank")
	peers := know(f, bank)
	encode := func(ps ...*peerv1.Packet) []byte {
		var b []byte
		for _, p := range ps {
			e, err := proto.Marshal(p)
			if err != nil {
				f.Fatal(err)
			}
			b = append(append(b, byte(len(e)), byte(len(e)>>8)), e...)
		}
		return b
	}
	q := &peerv1.Packet{Body: &peerv1.Packet_Question{Question: &peerv1.Question{Method: "x", Greeting: VersionInfo{WireMin: 1, WireMax: 2}.greeting("bank")}}}
	body := &peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: []byte("body"), Last: true}}}
	end := &peerv1.Packet{Body: &peerv1.Packet_Close{Close: &peerv1.Close{}}}
	f.Add(encode(q, body, end))
	f.Add(encode(q, body, body))
	f.Add(encode(q, q))
	f.Add(encode(body))
	f.Add(encode(q, &peerv1.Packet{Body: &peerv1.Packet_Through{Through: &peerv1.Through{Way: 1}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var packets []*peerv1.Packet
		for len(data) >= 2 {
			n := min(int(data[0])|int(data[1])<<8, len(data)-2)
			p := &peerv1.Packet{}
			if proto.Unmarshal(data[2:2+n], p) == nil {
				packets = append(packets, p)
			}
			data = data[2+n:]
		}
		asked := 0
		n, err := Listen(Options{Identity: bank, Peers: peers, OnAsk: func(_ context.Context, _, method string, body []byte) ([]byte, error) {
			if asked++; len(method) > maxMethod || len(body) > MaxAsk {
				t.Errorf("a method of %d bytes, a body of %d", len(method), len(body))
			}
			return body, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		ctx, cancel := context.WithCancel(n.ctx)
		defer cancel()
		c := n.newConn("bank", newWire(near, nil), &fakeStream{ctx, packets})
		c.asks = true
		c.answerQuestion()
		if asked > 1 || len(n.asks) != 0 {
			t.Errorf("asked %d times, %v under way", asked, n.asks)
		}
	})
}

// FuzzRemote: nothing that a peer says of its error gets to a terminal as it is.
func FuzzRemote(f *testing.F) {
	f.Add([]byte("\x0a\x07consent\x12\x04text\x18\x01\x22\x04cure\x2a\x05align"))
	f.Add([]byte("\x0a\x02??\x12\x03\x1b[m"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := &peerv1.Abort{}
		if proto.Unmarshal(data, a) != nil {
			return
		}
		err := remoteError("bank", a)
		var r *Remote
		if !errors.As(err, &r) || len(err.Error()) > 2*maxTold+200 {
			t.Fatalf("%v", err)
		}
		for _, c := range []byte(err.Error()) {
			if c < ' ' || c > '~' {
				t.Fatalf("%q", err)
			}
		}
		if !a.Told && fault.KindOf(err) != fault.Peer {
			t.Fatalf("kind %v", fault.KindOf(err))
		}
	})
}
