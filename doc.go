// Package kontor holds the laws of the repository as tests: every package is
// documented, imports follow the arrows of docs/architecture.md, nothing uses
// cgo, and the commands of the README work. It has no code of its own.
package kontor
