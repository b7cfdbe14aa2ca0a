package transport

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	peerv1 "kontor/api/peer/v1"
	"kontor/internal/fault"
)

// What a peer sends against the protocol ends its session and names it.
func TestProtocolViolations(t *testing.T) {
	t.Parallel()
	chunkOf := func(n int, last bool) *peerv1.Packet {
		return &peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: make([]byte, n), Last: last}}}
	}
	end := &peerv1.Packet{Body: &peerv1.Packet_Close{Close: &peerv1.Close{}}}
	for name, c := range map[string]struct {
		packets []*peerv1.Packet
		says    string
	}{
		"chunk too large":  {[]*peerv1.Packet{chunkOf(maxChunk+1, true)}, "at most 262144 are allowed"},
		"packet too large": {[]*peerv1.Packet{chunkOf(maxPacket, true)}, "not allowed on the wire"},
		"tiny piece":       {[]*peerv1.Packet{chunkOf(minChunk-1, false)}, "at least 16384 are due"},
		"empty piece":      {[]*peerv1.Packet{chunkOf(maxChunk, false), chunkOf(0, false)}, "at least 16384 are due"},
		"empty packet":     {[]*peerv1.Packet{{}}, "not due"},
		"opened":           {[]*peerv1.Packet{{Body: &peerv1.Packet_Opened{Opened: &peerv1.Opened{}}}}, "answered a call"},
		"second open":      {[]*peerv1.Packet{{Body: &peerv1.Packet_Open{Open: &peerv1.Open{}}}}, "not due"},
		"half a message":   {[]*peerv1.Packet{chunkOf(maxChunk, false), end}, "ended the session early"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bank, telecom := twoNodes(t, nil)
			client := rawClient(t, bank, telecom)
			ctx := deadline(t)
			st, err := client.Exchange(ctx, grpc.MaxCallSendMsgSize(1<<30))
			if err != nil {
				t.Fatal(err)
			}
			id := sessionID(1)
			st.Send(&peerv1.Packet{Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Greeting: bank.greeting}}})
			if p, err := st.Recv(); err != nil || p.GetOpened() == nil {
				t.Fatalf("got %v, %v", p, err)
			}
			d, err := telecom.Accept(ctx, "bank", id)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range c.packets {
				st.Send(p)
			}
			_, err = d.Recv(ctx, 1<<20)
			kind := fault.Protocol
			if name == "half a message" {
				kind = fault.Peer
			}
			wantFault(t, err, kind, "bank", c.says)
			d.Abort(err)
			for err = nil; err == nil; {
				var p *peerv1.Packet
				if p, err = st.Recv(); p.GetAbort() != nil && p.GetAbort().GetKind() != kind.String() {
					t.Errorf("the peer was told %v", p)
				}
			}
		})
	}
}

func TestOpenViolations(t *testing.T) {
	t.Parallel()
	told := make(refusals, 10)
	bank, telecom := twoNodes(t, func(_, b *Options) { b.OnRefused = told.hook() })
	client := rawClient(t, bank, telecom)
	id := sessionID(1)
	for name, p := range map[string]*peerv1.Packet{
		"chunk first": {Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Last: true}}},
		"empty":       {},
		"short id":    {Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:31], Greeting: bank.greeting}}},
		"long label":  {Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Step: strings.Repeat("x", maxLabel+1), Greeting: bank.greeting}}},
	} {
		st, err := client.Exchange(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		st.Send(p)
		_, err = st.Recv()
		wantFault(t, bank.ended("telecom", err).err, fault.Protocol, "telecom", "the first packet opens no session")
		told.want(t, fault.Protocol, "bank", "opens no session")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	// A stream on which nothing ever comes is not held for ever.
	a, b := twoNodes(t, quick)
	st, err := rawClient(t, a, b).Exchange(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.ended("telecom", second(st.Recv())).err; fault.KindOf(err) != fault.Peer {
		t.Errorf("got %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// The format must not change within a version.
func TestWireKnownAnswer(t *testing.T) {
	t.Parallel()
	id := sessionID(1)
	for want, p := range map[string]*peerv1.Packet{
		"1a070a036162631001":     {Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: []byte("abc"), Last: true}}},
		"1200":                   {Body: &peerv1.Packet_Opened{Opened: &peerv1.Opened{}}},
		"2200":                   {Body: &peerv1.Packet_Heartbeat{Heartbeat: &peerv1.Heartbeat{}}},
		"3200":                   {Body: &peerv1.Packet_Close{Close: &peerv1.Close{}}},
		"2a090a0464617461120178": {Body: &peerv1.Packet_Abort{Abort: &peerv1.Abort{Kind: "data", Text: "x"}}},
		"0a390a20" + "73657373696f6e2031" + strings.Repeat("00", 23) + "1205616c69676e" + "1a0e" + "0a0462616e6b" + "1801" + "2001" + "2a02612f": {
			Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Step: "align",
				Greeting: &peerv1.Greeting{Name: "bank", WireMin: 1, WireMax: 1, Capabilities: []string{"a/"}}}}},
		"3a" + "10" + "0a056a6f622e78" + "1207" + "0a01611801" + "2002": {
			Body: &peerv1.Packet_Question{Question: &peerv1.Question{Method: "job.x", Greeting: &peerv1.Greeting{Name: "a", WireMin: 1, WireMax: 2}}}},
		"42" + "24" + "0802" + "1220" + hex.EncodeToString(id[:]): {
			Body: &peerv1.Packet_Through{Through: &peerv1.Through{Way: peerv1.Through_WAY_RELAY, Peer: id[:]}}},
		"2a" + "0b" + "0a0464617461" + "1801" + "220163": {
			Body: &peerv1.Packet_Abort{Abort: &peerv1.Abort{Kind: "data", Told: true, Cure: "c"}}},
	} {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		if got := hex.EncodeToString(b); err != nil || got != want {
			t.Errorf("got  %s\nwant %s, %v", got, want, err)
		}
	}
}

// fakeStream gives out packets and takes any.
type fakeStream struct {
	ctx     context.Context
	packets []*peerv1.Packet
}

func (s *fakeStream) Send(*peerv1.Packet) error { return nil }
func (s *fakeStream) Context() context.Context  { return s.ctx }
func (s *fakeStream) Recv() (*peerv1.Packet, error) {
	if len(s.packets) == 0 {
		return nil, io.EOF
	}
	p := s.packets[0]
	s.packets = s.packets[1:]
	return p, nil
}

func TestNothingAfterClose(t *testing.T) {
	t.Parallel()
	id := newIdentity(t, "bank")
	n, err := Listen(Options{Identity: id, Peers: know(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	ctx, cancel := context.WithCancel(deadline(t))
	c := n.newConn("telecom", newWire(near, nil), &fakeStream{ctx, []*peerv1.Packet{
		{Body: &peerv1.Packet_Opened{Opened: &peerv1.Opened{}}}, {Body: &peerv1.Packet_Close{Close: &peerv1.Close{}}},
		{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Last: true}}},
	}})
	c.cancel = cancel
	n.wg.Add(2)
	go c.write(nil)
	c.read()
	wantFault(t, c.Err(), fault.Protocol, "telecom", "after it had closed")
	c.Close()
}

// FuzzPackets feeds a session with packets of any content, at either end.
func FuzzPackets(f *testing.F) {
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
	id := sessionID(1)
	bank := newIdentity(f, "bank")
	greeting := VersionInfo{WireMin: 1, WireMax: 1}.greeting("bank")
	open := &peerv1.Packet{Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Step: "align", Greeting: greeting}}}
	word := &peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: []byte("word"), Last: true}}}
	half := &peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: make([]byte, minChunk)}}}
	end := &peerv1.Packet{Body: &peerv1.Packet_Close{Close: &peerv1.Close{}}}
	abort := &peerv1.Packet{Body: &peerv1.Packet_Abort{Abort: &peerv1.Abort{Kind: "data", Text: "\x1b[31m"}}}
	beat := &peerv1.Packet{Body: &peerv1.Packet_Heartbeat{Heartbeat: &peerv1.Heartbeat{}}}
	f.Add(encode(open, word, beat, end), true)
	f.Add(encode(open, half, word, abort), true)
	f.Add(encode(open, open), true)
	f.Add(encode(word), true)
	f.Add(encode(&peerv1.Packet{Body: &peerv1.Packet_Opened{Opened: &peerv1.Opened{}}}, word, end, word), false)
	f.Add(encode(half, beat, abort), false)
	peers := know(f, bank)
	f.Fuzz(func(t *testing.T, data []byte, callee bool) {
		var packets []*peerv1.Packet
		for len(data) >= 2 {
			n := min(int(data[0])|int(data[1])<<8, len(data)-2)
			p := &peerv1.Packet{}
			if proto.Unmarshal(data[2:2+n], p) == nil {
				packets = append(packets, p)
			}
			data = data[2+n:]
		}
		n, err := Listen(Options{Identity: bank, Peers: peers})
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
		if callee {
			n.wg.Add(1)
			c.answer()
			if len(n.early["bank"]) == 0 {
				return // it opened no session
			}
		} else {
			c.cancel = cancel
			n.conns[c] = struct{}{}
			n.wg.Add(2)
			go c.write(nil)
			c.read()
		}
		var total int
		for {
			m, err := c.Recv(ctx, 100_000)
			if err != nil {
				break
			}
			if total += len(m); len(m) > 100_000 || total > 1<<26 {
				t.Fatal("more than allowed")
			}
		}
		if c.in.bytes > queueBytes || c.in.bytes < 0 {
			t.Errorf("%d bytes in the queue", c.in.bytes)
		}
		c.Close()
	})
}

// FuzzAssembler checks messages put together against their plain concatenation.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte{1, 0, 0xff, 3}, 100_000)
	f.Add([]byte{0xfe, 0xfe, 1}, 1<<20)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, plan []byte, limit int) {
		limit = max(0, min(limit, 1<<20))
		var a assembler
		var want []byte
		for i, p := range plan {
			// The lowest bit says "last", the rest how long.
			c := chunk{bytes.Repeat([]byte{byte(i)}, int(p>>1)*2200), p&1 == 1}
			msg, complete, err := a.add(c, limit)
			if err != nil {
				if len(want)+len(c.data) <= limit && c.check() == nil {
					t.Fatalf("refused without reason: %v", err)
				}
				return
			}
			want = append(want, c.data...)
			if len(want) > limit || c.check() != nil || complete != c.last || a.size > limit {
				t.Fatal("taken without reason")
			}
			if complete {
				if msg == nil || !bytes.Equal(msg, want) {
					t.Fatal("not what was put in")
				}
				want = want[:0]
			}
		}
	})
}
