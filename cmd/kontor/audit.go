package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"kontor/api/rest"
	"kontor/internal/fault"
)

func (a *app) auditCmd() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "The node's signed account of everything that was done"}
	c.AddCommand(a.listAuditCmd(), a.exportAuditCmd(), a.verifyAuditCmd())
	return c
}

func (a *app) listAuditCmd() *cobra.Command {
	var after int64
	var limit int
	c := a.nodeCmd("ls", "List entries, oldest first", cobra.NoArgs, func(ctx context.Context, n *conn, _ []string) error {
		page, err := n.Audit(ctx, after, limit)
		if err != nil {
			return err
		}
		return a.show(page, func(w io.Writer) {
			rows := [][]string{}
			for _, e := range page.Entries {
				rows = append(rows, []string{strconv.FormatInt(e.Seq, 10), when(e.Time), e.Actor, e.Action, e.Object, cut(string(e.Detail), 120)})
			}
			grid(w, rows...)
			if page.Next > 0 {
				fmt.Fprintf(w, "there are more: --after %d\n", page.Next)
			}
		})
	})
	c.Flags().Int64Var(&after, "after", 0, "only entries after this number")
	c.Flags().IntVar(&limit, "limit", 100, "so many at most, up to 1000")
	return c
}

func (a *app) exportAuditCmd() *cobra.Command {
	var out string
	var from, to int64
	c := a.nodeCmd("export", "Write the account as JSON lines, to be kept and verified elsewhere", cobra.NoArgs, func(ctx context.Context, n *conn, _ []string) error {
		return a.save(out, func(w io.Writer) error { return n.ExportAudit(ctx, w, from, to) })
	})
	c.Flags().StringVar(&out, "out", "-", "file to write; - is standard output")
	c.Flags().Int64Var(&from, "from", 0, "first entry (default: the first there is)")
	c.Flags().Int64Var(&to, "to", 0, "last entry (default: the last there is)")
	return c
}

func (a *app) verifyAuditCmd() *cobra.Command {
	var key string
	var witnesses []string
	var t target
	c := &cobra.Command{
		Use: "verify [FILE]", Short: "Check every hash and signature: of the node's account, or of an exported one", Args: cobra.MaximumNArgs(1),
		Long: `Check every hash and signature of the account: an edit, a gap or another order is found, and so is an end that was
cut off before a state that a peer has signed. Without FILE the node checks its own. With FILE an exported account is
checked here, without a node, against the key that --key names as you know it from elsewhere; with exports of partners as
--witness, even a history that the node itself has written anew shows.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				r, err := verifyExport(args[0], key, witnesses)
				if err != nil {
					return err
				}
				return a.verdict(r)
			}
			if key != "" || len(witnesses) > 0 {
				return fault.New(fault.Usage, "--key and --witness are for an exported account", "name its file")
			}
			n, err := a.connect(cmd.Context(), t)
			if err != nil {
				return err
			}
			r, err := n.VerifyAudit(cmd.Context())
			if err = closing(n.close, err); err != nil {
				return err
			}
			return a.verdict(r)
		},
	}
	t.flags(c)
	c.Flags().StringVar(&key, "key", "", "with FILE: fingerprint or words of the key of the node whose account it is")
	c.Flags().StringArrayVar(&witnesses, "witness", nil, "with FILE: an export of a partner's account, which holds signed states of this one; may be given again")
	return c
}

func (a *app) verdict(r *rest.AuditReport) error {
	err := a.show(r, func(w io.Writer) {
		for _, p := range r.Problems {
			fmt.Fprintf(w, "entry %d: %s\n", p.Seq, line(p.What))
		}
		for _, t := range r.Witnesses {
			fmt.Fprintf(w, "%s has signed the state up to entry %d, on %s\n", t.Peer, t.Seq, when(t.Time))
		}
		if r.OK {
			fmt.Fprintf(w, "%d entries hold together; the last has the hash %s\n", r.Entries, r.Head)
		}
	})
	if err != nil || r.OK {
		return err
	}
	a.told = a.json
	first := ""
	if len(r.Problems) > 0 {
		first = fmt.Sprintf(", the first at entry %d", r.Problems[0].Seq)
	}
	return fault.New(fault.Trust, fmt.Sprintf("the account does not hold together: %d problems%s", len(r.Problems), first), "compare it with an earlier export and with the states that peers have signed")
}

// save lets write fill a file, which appears whole or not at all, or standard
// output.
func (a *app) save(path string, write func(io.Writer) error) error {
	if path == "-" {
		return write(a.out)
	}
	if err := saveFile(path, false, write); err != nil {
		return err
	}
	return a.show(map[string]string{"saved": path}, func(w io.Writer) { fmt.Fprintln(w, path) })
}
