// Command generate writes the data of the credit example into a folder.
//
//	go run ./examples/credit/generate -dir data -seed 1
package main

import (
	"flag"
	"fmt"
	"os"

	"kontor/examples/credit"
)

func main() {
	dir := flag.String("dir", ".", "folder to write bank.csv and telecom.csv into")
	seed := flag.Uint64("seed", 0, "which population to draw")
	customers := flag.Int("customers", 0, "people in the population (0 means 40,000)")
	flag.Parse()
	if err := credit.WriteCSV(*dir, credit.Config{Seed: *seed, Customers: *customers}); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
