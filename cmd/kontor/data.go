package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kontor/api/rest"
	"kontor/internal/fault"
)

func (a *app) dataCmd() *cobra.Command {
	c := &cobra.Command{Use: "data", Short: "The node's catalogue of datasets"}
	c.AddCommand(a.addDataCmd(),
		a.nodeCmd("ls", "List the datasets", cobra.NoArgs, a.listData),
		a.nodeCmd("describe NAME", "Show a dataset with types, missing rates and ranges of its columns", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
			d, err := n.Dataset(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(d, func(w io.Writer) { describeData(w, d) })
		}),
		a.publishCmd(),
		a.nodeCmd("rm NAME", "Take a dataset from the catalogue; its source stays as it is", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
			if err := n.RemoveDataset(ctx, args[0]); err != nil {
				return err
			}
			return a.show(map[string]string{"removed": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is no longer in the catalogue; its source was not touched\n", args[0])
			})
		}))
	return c
}

func (a *app) addDataCmd() *cobra.Command {
	var r rest.AddData
	var types []string
	c := a.nodeCmd("add NAME [PATH]", "Read a source once and register it under a name", cobra.RangeArgs(1, 2), func(ctx context.Context, n *conn, args []string) error {
		r.Name = args[0]
		if err := addSource(&r, n.near, args[1:]); err != nil {
			return err
		}
		var err error
		if r.Options.Types, err = splitAll("type", types); err != nil {
			return err
		}
		d, err := n.AddDataset(ctx, r)
		if err != nil {
			return err
		}
		return a.show(d, func(w io.Writer) {
			fmt.Fprintf(w, "%s: %d rows, %d columns\n", d.Name, d.Rows, len(d.Columns))
			fmt.Fprintf(w, "Next: write a rule for it into policy.yaml; until then no peer may use it\n")
		})
	})
	c.Long = `Read a source once and register it under a name: a CSV or Parquet file, a folder of Parquet files, or a query of a
PostgreSQL or MySQL database. The rows stay where they are. Jobs name the dataset, and fail if it has changed in between.

  kontor data add customers loans.csv --id customer_id --label default
  kontor data add accounts --dsn 'postgres://kontor:${DB_PASSWORD}@db.example/bank' --query 'SELECT * FROM accounts'

${NAME} in a DSN is taken from the environment of the node's process, so that the password stands nowhere.`
	f := c.Flags()
	f.StringVar(&r.DSN, "dsn", "", "address of a database instead of PATH; ${NAME} takes a value from the node's environment")
	f.StringVar(&r.Query, "query", "", "the query whose rows are the dataset, or @FILE with it")
	f.StringVar(&r.Kind, "kind", "", "csv, parquet, folder, postgres or mysql (default: as PATH or the DSN says)")
	f.StringVar(&r.Options.ID, "id", "", "column that identifies rows across parties")
	f.StringVar(&r.Options.Label, "label", "", "column that holds the label, if any")
	f.StringArrayVar(&r.Options.Missing, "missing", nil, "a text that stands for no value; may be given again")
	f.StringArrayVar(&types, "type", nil, "COLUMN=TYPE where the inferred type is wrong: int, float, string, bool or time; may be given again")
	f.BoolVar(&r.Replace, "replace", false, "replace a dataset of the same name")
	return c
}

// addSource fills in where the rows come from. A path is meant as the user sees
// it; the node may have started in another folder.
func addSource(r *rest.AddData, near bool, path []string) error {
	switch {
	case len(path) == 1 && (r.DSN != "" || r.Query != ""):
		return fault.New(fault.Usage, "both a path and a database are named", "give PATH, or --dsn with --query")
	case len(path) == 0 && (r.DSN == "" || r.Query == ""):
		return fault.New(fault.Usage, "no source is named", "give PATH, or --dsn with --query")
	}
	if len(path) == 1 {
		r.Path = path[0]
		if filepath.IsAbs(r.Path) {
			return nil
		}
		if !near {
			return fault.New(fault.Usage, fmt.Sprintf("the node cannot know from where %q counts", r.Path), "give the full path of the file on the node's machine")
		}
		abs, err := filepath.Abs(r.Path)
		if err != nil {
			return fault.Wrap(fault.Local, err, "the working folder is not known", "give the full path of the file")
		}
		r.Path = abs
		return nil
	}
	file, isFile := strings.CutPrefix(r.Query, "@")
	if !isFile {
		return nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return fault.Wrap(fault.Usage, err, "the query cannot be read", "name an existing file after @")
	}
	r.Query = string(b)
	return nil
}

func (a *app) listData(ctx context.Context, n *conn, _ []string) error {
	ds, err := n.Datasets(ctx)
	if err != nil {
		return err
	}
	return a.show(ds, func(w io.Writer) {
		if len(ds.Datasets) == 0 {
			fmt.Fprintln(w, "The catalogue is empty; kontor data add NAME PATH")
			return
		}
		rows := [][]string{{"name", "kind", "rows", "added", "published to"}}
		for _, d := range ds.Datasets {
			rows = append(rows, []string{d.Name, d.Kind, strconv.FormatInt(d.Rows, 10), when(d.Added), orNone(strings.Join(d.Published, ", "), "nobody")})
		}
		grid(w, rows...)
		for _, d := range ds.Datasets {
			if d.Problem != "" {
				fmt.Fprintf(w, "%s cannot be used: %s\n", d.Name, line(d.Problem))
			}
		}
	})
}

func describeData(w io.Writer, d *rest.Dataset) {
	source := orNone(d.Path, d.DSN)
	fmt.Fprintf(w, "%s: %d rows\n", d.Name, d.Rows)
	pairs(w, "  source:", d.Kind+" "+source, "  query:", d.Query, "  id column:", d.Options.ID, "  label column:", d.Options.Label, "  added:", when(d.Added),
		"  fingerprint:", d.Fingerprint, "  published to:", orNone(strings.Join(d.Published, ", "), "nobody"), "  PROBLEM:", d.Problem)
	rows := [][]string{{"column", "type", "missing", "distinct", "least", "greatest", "mean"}}
	for _, c := range d.Columns {
		mean, distinct := "", ""
		if c.Mean != nil {
			mean = fmt.Sprintf("%.6g", *c.Mean)
		}
		if c.Distinct > 0 {
			distinct = strconv.FormatInt(c.Distinct, 10)
		}
		rows = append(rows, []string{c.Name, c.Type, strconv.FormatInt(c.Missing, 10), distinct, c.Min, c.Max, mean})
	}
	grid(w, rows...)
}

func (a *app) publishCmd() *cobra.Command {
	var nobody bool
	c := a.nodeCmd("publish NAME [PEER...]", "Let peers see names, types and rounded sizes of a dataset", cobra.MinimumNArgs(1), func(ctx context.Context, n *conn, args []string) error {
		peers := args[1:]
		if nobody == (len(peers) > 0) {
			return fault.New(fault.Usage, "who may see it is not clear", "name the peers, or withdraw it with --nobody")
		}
		d, err := n.Publish(ctx, args[0], peers)
		if err != nil {
			return err
		}
		return a.show(d, func(w io.Writer) {
			fmt.Fprintf(w, "the metadata of %s can be seen by %s\n", d.Name, orNone(strings.Join(d.Published, ", "), "nobody"))
		})
	})
	c.Long = `Let peers see a dataset's name, its columns with their types and rounded missing rates, and its size rounded to two
digits. No row and no value is shown. The peers named are all that may see it: others that could before cannot any more.
To be seen is not to be used: that is decided in policy.yaml.`
	c.Flags().BoolVar(&nobody, "nobody", false, "withdraw it from everybody")
	return c
}
