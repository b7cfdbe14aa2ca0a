package main

import (
	"context"
	"io"
	"net/http"
)

// nodeCalls are the functions of package node that the commands need besides the
// API: what happens before a node runs, and without one.
type nodeCalls struct {
	// create makes the folder of a node. Empty addresses stand for the defaults.
	create func(dir, name, listen, api string) (*madeHome, error)
	// up runs the node of a folder until ctx ends, calls ready when it can be
	// reached, and stops in good order.
	up func(ctx context.Context, o upOptions) error
	// running reports whether a process runs the node of this folder, and where its
	// API answers.
	running func(home string) (api string, ok bool)
	// offline opens the folder of a node that does not run: the same API in this
	// process, a token of the administrator for it, and how to close it.
	offline func(ctx context.Context, home string) (h http.Handler, token string, closeHome func() error, err error)
}

// madeHome is what kontor init has made.
type madeHome struct {
	Name        string `json:"name"`
	Home        string `json:"home"`
	Fingerprint string `json:"fingerprint"`
	Words       string `json:"words"`
}

type upOptions struct {
	Home      string
	Log       io.Writer
	LogFormat string // text or json; "" as the configuration says
	Ready     func(upAddresses)
}

// upAddresses says where a running node is reached; kontor up --json prints it.
type upAddresses struct {
	Name string `json:"name"`
	Peer string `json:"peer_address"`
	API  string `json:"api_address"`
}
