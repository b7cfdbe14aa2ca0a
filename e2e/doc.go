// Package e2e holds the tests that run whole institutions: every node is a
// process of its own with its own folder, reached as users and peers reach it.
// They kill nodes, cut the lines between them and fill their disks. There is
// nothing here to import.
package e2e
