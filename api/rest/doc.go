// Package rest is a node's HTTP API for its own users: the types of requests
// and answers, the server that checks tokens and roles before anything happens,
// and the client that the command line and tests use. It holds no logic of a
// node: everything reaches one through [Service]. It is not for traffic between
// institutions, which goes through package transport. The contract is the
// OpenAPI 3.1 document served at /openapi.json; docs/api.md is its guide.
package rest
