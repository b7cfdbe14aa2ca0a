package main

import (
	"context"

	"kontor/node"
)

// joined returns the functions of package node.
func joined() nodeCalls {
	return nodeCalls{create: createHome, up: up, running: node.Running, offline: node.Offline}
}

func createHome(dir, name, listen, api string) (*madeHome, error) {
	h, err := node.CreateHome(dir, name, listen, api)
	if err != nil {
		return nil, err
	}
	return &madeHome{Name: name, Home: dir, Fingerprint: h.Identity.Fingerprint(), Words: h.Identity.Words()}, nil
}

func up(ctx context.Context, o upOptions) error {
	return node.Up(ctx, node.InstitutionOptions{Home: o.Home, Log: o.Log, LogFormat: o.LogFormat}, func(a node.Addresses) {
		o.Ready(upAddresses{Name: a.Name, Peer: a.Peer, API: a.API})
	})
}
