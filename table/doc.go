// Package table reads and writes columnar tables: CSV, Parquet, folders of Parquet
// and queries to PostgreSQL and MySQL, in batches of bounded size, with five types,
// missing values, and errors that say which line of which file is wrong and what
// to do about it.
//
// A [Table] is a set of equally long, named, typed columns held in memory.
// [Open] streams a file as tables of at most Options.BatchRows rows; [Read]
// gathers them into one; [Create] writes. [File] and [Query] are what a table can
// come from, and [Parts] splits one so that several can read it at once. Types are declared in
// [Options].Types or inferred from the first rows, see [Infer]. [IDs] turns a
// column into the identifiers that a join needs.
//
// A Table is immutable once made and safe for concurrent reading. Slices that
// its columns return may be shared with the table and must not be changed. A
// Reader or Writer belongs to one goroutine.
//
// Not for nested data (lists, maps, structs), or for tables to change in place; it computes nothing beyond selecting columns and rows. It
// knows nothing of parties, labels or jobs.
//
// What is accepted, cell by cell, is specified in docs/formats/data.md.
package table
