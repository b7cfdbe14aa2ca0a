package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Template returns c as a file with comments for the person who will edit it.
// [Parse] reads it back as c.
func Template(c *Config) []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`# The node of this institution. Changes count after a restart: kontor up.
# kontor doctor checks them. Reference: docs/config.md. Who may use which data
# is not decided here but in policy.yaml.

# As in the identity, where it cannot be changed.
name: %s

# Where peers connect. 127.0.0.1 lets nobody in from outside. Once you know whom
# you work with: 0.0.0.0:7700 (all interfaces) or the address of one interface,
# and let your firewall pass that one port. Only peers that were accepted get
# further than the handshake. Port 0: any free port. "": take no connections.
listen: %s

# How peers reach that address from outside; goes into invitations. "": as given
# to kontor peer invite.
advertise: %s

# The HTTP API, for the command line, the Python SDK and your own programs. An
# address other than this machine's needs a certificate: tls_cert and tls_key,
# PEM files, relative to this folder.
api:
  listen: %s
  tls_cert: %s
  tls_key: %s
`, quote(c.Name), quote(c.Listen), quote(c.Advertise), quote(c.API.Listen), quote(c.API.TLSCert), quote(c.API.TLSKey))
	line(`# For a node that nobody can connect to: peers to which it keeps a connection
# open, so that they, and others through one that relays, reach it all the same.
#   - {peer: telecom, address: "telecom.example:7700"}
# Without address: the one of the peer's invitation.`)
	if len(c.DialOut) == 0 {
		line("dial_out: []")
	} else {
		line("dial_out:")
	}
	for _, d := range c.DialOut {
		line("  - {peer: %s, address: %s}", quote(d.Peer), quote(d.Address))
	}
	line(`
# Pass connections on between two peers that both can only dial out. This node
# sees how much they send, never what.
relay: %t

jobs:
  # How many run at once; others wait by priority.
  parallel: %d
  # How long a job waits for a peer that is away before it fails.
  patience: %s
  # What one job may take at most; a job can ask for less. 0: no limit.
  cores: %d
  memory: %s
  disk: %s
  # Of the disk, this much stays free: below it no job starts.
  reserve: %s

log:
  # %s
  level: %s
  # %s
  format: %s`, c.Relay, c.Jobs.Parallel, FormatDuration(c.Jobs.Patience), c.Jobs.Cores, FormatSize(c.Jobs.Memory), FormatSize(c.Jobs.Disk),
		FormatSize(c.Jobs.Reserve), strings.Join(Levels, ", "), c.Log.Level, strings.Join(Formats, ", "), c.Log.Format)
	return []byte(b.String())
}

// quote writes a text so that YAML takes it for one, whatever it holds: Go's
// escapes of printable ASCII mean the same in YAML.
func quote(s string) string { return strconv.QuoteToASCII(s) }
