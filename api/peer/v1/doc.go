// Package peerv1 is the protocol between nodes, generated from peer.proto:
// messages and the gRPC service, no behaviour. Package transport speaks it;
// nothing else should use it. The rules are in docs/formats/wire.md.
package peerv1

//go:generate protoc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative peer.proto
