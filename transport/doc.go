// Package transport carries sessions between the nodes of institutions: gRPC
// over mutually authenticated TLS 1.3, and a twin within the process for tests.
//
// A [Node] listens for peers and dials them. A [Conn] is one session with one
// peer: messages of any size in order, in both directions, until one side closes
// or aborts. It satisfies session.Conn. What a session means is not known here.
//
// Beside sessions there are questions: [Node.Ask] puts one to a peer, whose
// [Options.OnAsk] answers it.
//
// A node without an open port dials out ([Options.DialOut]) to a peer that has
// one. That peer reaches it through the connection that it keeps, and if it is a
// relay ([Options.Relay]), so do others that dial out to it. TLS always runs
// between the two nodes that talk, never to a relay in between.
//
// # Trust
//
// Both sides show a node certificate under the identity that was pinned for them
// (package identity); nothing else is believed. The caller checks the callee's
// chain during the TLS handshake and sends nothing to anybody else. The callee
// lets any certificate through the handshake, in which TLS proves that the caller
// holds its key, and checks it against the pinned peers before any handler runs.
// The reason is what people see: a refusal in the handshake reaches the other
// side as the alert "bad certificate", whereas a gRPC status says in words that
// the certificate expired yesterday. A caller that is refused can do nothing but
// read that status, and its connection is cut soon after.
//
// # Time
//
// There is no limit on how long anything may take, only on silence: a peer of
// which nothing at all arrives for [Options.Silence] is given up. Bytes of any
// kind count as life, so a slow link never times out while they flow. A node
// sends a heartbeat on every session that has nothing else to send, however long
// its owner computes; while a session's sender is held up by flow control it
// sends none, but then the peer is not waiting for any either: it holds more of
// that session's data than it has taken.
//
// A connection is used for half a day, then for what runs on it only: the
// certificates shown on it are checked at every call and would expire some day.
// Sessions neither end with that nor notice.
//
// # Bounds
//
// Messages travel in chunks of at most 256 KiB. A session holds at most 16 MiB
// that its owner has not received, plus a flow-control window of 8 MiB; then the
// sender blocks. Sessions that arrive before their owner asks for them wait, at
// most 256 a peer with half a megabyte each beside the window.
//
// The protocol is specified in docs/formats/wire.md.
package transport
