package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"kontor/api/rest"
	"kontor/identity"
	"kontor/internal/fault"
)

func (a *app) peerCmd() *cobra.Command {
	c := &cobra.Command{Use: "peer", Short: "Exchange invitations with other institutions, look at peers"}
	c.AddCommand(a.inviteCmd(), a.acceptCmd(),
		a.nodeCmd("ls", "List the institutions that this node trusts, and how they are reached", cobra.NoArgs, a.peers),
		a.nodeCmd("data NAME", "List what a peer lets this node know of its datasets", cobra.ExactArgs(1), a.peerData),
		a.nodeCmd("rm NAME", "No longer trust an institution", cobra.ExactArgs(1), a.removePeer))
	return c
}

func (a *app) inviteCmd() *cobra.Command {
	var address string
	c := a.nodeCmd("invite", "Print an invitation to hand to a peer", cobra.NoArgs, func(ctx context.Context, n *conn, _ []string) error {
		inv, err := n.Invite(ctx, rest.InviteRequest{Address: address})
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(inv)
		}
		if _, err := fmt.Fprintln(a.out, inv.Invitation); err != nil {
			return fault.Wrap(fault.Local, err, "the invitation cannot be written", "check where standard output goes")
		}
		fmt.Fprintln(a.err, "Hand over the line above, by mail say. The peer will call you; read out these words to it:")
		fmt.Fprintf(a.err, "  words:       %s\n  fingerprint: %s\n", inv.Words, inv.Fingerprint)
		return nil
	})
	c.Long = `Print an invitation to hand to a peer. It holds no secret. What makes it genuine is the call in which the peer
hears the words of this node's fingerprint from somebody it knows.`
	c.Flags().StringVar(&address, "address", "", "where the peer reaches this node, HOST:PORT (default: advertise in kontor.yaml)")
	return c
}

func (a *app) acceptCmd() *cobra.Command {
	var fingerprint, address string
	c := a.nodeCmd("accept INVITATION", "Trust the institution that an invitation names", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		text, err := readInvitation(args[0])
		if err != nil {
			return err
		}
		inv, err := identity.ParseInvitation(text)
		if err != nil {
			return err
		}
		if fingerprint == "" {
			if fingerprint, err = a.askWords(inv); err != nil {
				return err
			}
		}
		p, err := n.Accept(ctx, rest.AcceptRequest{Invitation: text, Fingerprint: fingerprint, Address: address})
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) {
			at := ""
			if p.Address != "" {
				at = " at " + p.Address
			}
			fmt.Fprintf(w, "%s%s is trusted now\n", p.Name, at)
		})
	})
	c.Long = `Trust the institution that an invitation names; INVITATION is its text or a file with it.

An invitation alone proves nothing: who could change the mail that brought it could change all of it. Call somebody
whom you know at the other institution and have the words of its fingerprint read out. On a terminal you are asked for
them; in a script give them, or the fingerprint in hexadecimal, with --fingerprint.`
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "the words or the fingerprint that the peer has told you")
	c.Flags().StringVar(&address, "address", "", "address to use instead of the one in the invitation, HOST:PORT")
	return c
}

// readInvitation returns an invitation's text, from a file where arg names one.
func readInvitation(arg string) (string, error) {
	if strings.HasPrefix(strings.TrimSpace(arg), "kontor-invite") {
		return arg, nil
	}
	f, err := os.Open(arg)
	if err != nil {
		return "", fault.Wrap(fault.Trust, err, "that is neither an invitation nor a file with one", "give the text that kontor peer invite has printed, or the path of a file that holds it")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", fault.Wrap(fault.Trust, err, "the file with the invitation cannot be read", "give the text that kontor peer invite has printed, or the path of a file that holds it")
	}
	return string(b), nil
}

// attempts is how often a person may mistype twelve words.
const attempts = 3

// askWords has a person type what the peer reads out. The invitation's own words
// are not shown: whoever copied them would have compared nothing.
func (a *app) askWords(inv *identity.Invitation) (string, error) {
	if f, ok := a.in.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return "", fault.New(fault.Usage, "an invitation alone does not prove who sent it",
			"ask "+inv.Name+" by phone to read out the words of its fingerprint, and give them with --fingerprint")
	}
	return promptWords(a.in, a.err, inv)
}

func promptWords(in io.Reader, out io.Writer, inv *identity.Invitation) (string, error) {
	fmt.Fprintf(out, "This invitation says that it comes from %s. Call somebody whom you know there and have the words of\nits fingerprint read out. Then type them here, or the fingerprint:\n", inv.Name)
	lines := bufio.NewScanner(in)
	for range attempts {
		fmt.Fprint(out, "> ")
		if !lines.Scan() {
			return "", fault.New(fault.Cancelled, "nothing was typed", "accept the invitation again")
		}
		if text := lines.Text(); identity.MatchFingerprint(text, inv.Key) {
			return text, nil
		}
		fmt.Fprintln(out, "Those are not the words of this invitation. Have them read out again.")
	}
	return "", fault.New(fault.Trust, "the words are not those of the invitation of "+inv.Name, "do not trust it; ask "+inv.Name+" for a new invitation, and call again")
}

func (a *app) peers(ctx context.Context, n *conn, _ []string) error {
	ps, err := n.Peers(ctx)
	if err != nil {
		return err
	}
	return a.show(ps, func(w io.Writer) {
		for _, p := range ps.Peers {
			grid(w, []string{p.Name, orNone(p.Address, "(dials only)"), peerState(p)})
			pairs(w, "    words:", p.Words, "    fingerprint:", p.Fingerprint)
			if p.Error != "" {
				pairs(w, "    not reached:", p.Error)
			}
		}
	})
}

func peerState(p rest.Peer) string {
	var s []string
	if p.Route != "" && p.Route != "none" {
		s = append(s, p.Route)
	}
	if !p.Seen.IsZero() {
		s = append(s, "seen "+when(p.Seen))
	}
	if p.Version != "" {
		s = append(s, "Kontor "+p.Version)
	}
	return strings.Join(s, ", ")
}

func (a *app) peerData(ctx context.Context, n *conn, args []string) error {
	d, err := n.PeerData(ctx, args[0])
	if err != nil {
		return err
	}
	return a.show(d, func(w io.Writer) {
		if len(d.Datasets) == 0 {
			fmt.Fprintf(w, "%s has published nothing to this node\n", d.Peer)
		}
		for _, s := range d.Datasets {
			fmt.Fprintf(w, "%s: about %d rows\n", line(s.Name), s.Rows)
			var rows [][]string
			for _, c := range s.Columns {
				rows = append(rows, []string{"  " + c.Name, c.Type, fmt.Sprintf("%.0f %% missing", 100*c.MissingRate)})
			}
			grid(w, rows...)
		}
	})
}

func (a *app) removePeer(ctx context.Context, n *conn, args []string) error {
	if err := n.RemovePeer(ctx, args[0]); err != nil {
		return err
	}
	return a.show(map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is no longer trusted\n", args[0]) })
}
