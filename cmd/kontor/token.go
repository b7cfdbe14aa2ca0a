package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"kontor/api/rest"
	"kontor/internal/fault"
)

func (a *app) tokenCmd() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Tokens of the node's API and their roles"}
	c.AddCommand(a.createTokenCmd(),
		a.nodeCmd("ls", "List the tokens, without their secrets", cobra.NoArgs, a.tokens),
		a.nodeCmd("revoke ID", "Make a token invalid at once", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
			if err := n.RevokeToken(ctx, args[0]); err != nil {
				return err
			}
			return a.show(map[string]string{"revoked": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "token %s is invalid now\n", args[0]) })
		}))
	return c
}

func (a *app) createTokenCmd() *cobra.Command {
	var role, expires string
	c := a.nodeCmd("create NAME", "Make a token for a person or a program; its secret is shown once", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		end, err := expiry(expires, time.Now())
		if err != nil {
			return err
		}
		t, err := n.CreateToken(ctx, rest.TokenRequest{Name: args[0], Role: rest.Role(role), Expires: end})
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(t)
		}
		fmt.Fprintf(a.err, "token %s of %s with the role %s, until %s; the secret is shown this once:\n", t.Token.ID, clean(line(t.Token.Name)), t.Token.Role, orNone(when(t.Token.Expires), "it is revoked"))
		_, err = fmt.Fprintln(a.out, t.Secret)
		return err
	})
	c.Long = `Make a token for a person or a program. Its name stands in the audit log beside what it does.

  admin      everything
  scientist  jobs and models, looking at data
  approver   approving and rejecting jobs, reading the policy
  auditor    reading everything, the audit log`
	c.Flags().StringVar(&role, "role", "", "admin, scientist, approver or auditor")
	c.Flags().StringVar(&expires, "expires", "", "when it ends: a span such as 720h, or a day such as 2030-01-31 (default: when it is revoked)")
	c.MarkFlagRequired("role")
	return c
}

// expiry reads when a token ends: after a span, or with the end of a day.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if span, err := time.ParseDuration(text); err == nil && span > 0 {
		return now.Add(span), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		end, err := time.ParseInLocation(layout, text, time.Local)
		if layout == time.DateOnly {
			end = end.AddDate(0, 0, 1)
		}
		if err == nil && end.After(now) {
			return end, nil
		}
	}
	return time.Time{}, fault.New(fault.Usage, fmt.Sprintf("--expires %q is no time to come", text), "give a span such as 720h, or a day such as 2030-01-31")
}

func (a *app) tokens(ctx context.Context, n *conn, _ []string) error {
	ts, err := n.Tokens(ctx)
	if err != nil {
		return err
	}
	return a.show(ts, func(w io.Writer) {
		rows := [][]string{{"id", "name", "role", "created", "expires", "used"}}
		for _, t := range ts.Tokens {
			rows = append(rows, []string{t.ID, t.Name, string(t.Role), when(t.Created), orNone(when(t.Expires), "never"), orNone(when(t.Used), "never")})
		}
		grid(w, rows...)
	})
}
