// Figures measures the server against others, in one run on one machine: the canned echo, which answers with bytes of the right size and knows
// nothing, p9.Server and diod. scripts/bench builds and runs it; README.md says how to read what it prints.
//
//	figures [-rounds N] [-time D] [NAME...]
//
// Without names all figures are measured. It exits with 0 when everything could be measured, met or missed; with -strict only when nothing was missed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

const framesDoc = "frames a second through ethfoo, one or a batch a message, against the TAP's descriptor; a clone beside 1 to 1000"

// The role of the process in the namespace: figures frames ROUNDS TIME.
const framesRole = "frames"

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 3 && args[0] == "serve" {
		if err := serve(args[1], args[2]); err != nil {
			fmt.Fprintln(stderr, "figures:", err)
			return 1
		}
		return 0
	}
	if len(args) == 3 && args[0] == framesRole {
		if err := framesInside(args[1], args[2]); err != nil {
			fmt.Fprintln(stderr, "figures:", err)
			return 1
		}
		return 0
	}
	fl := flag.NewFlagSet("bench", flag.ContinueOnError)
	fl.SetOutput(stderr)
	rounds := fl.Int("rounds", 5, "rounds of each server; medians are printed")
	length := fl.Duration("time", 500*time.Millisecond, "length of a round")
	strict := fl.Bool("strict", false, "exit with 1 when an aim is missed")
	fl.Usage = func() {
		fmt.Fprintln(stderr, "usage: bench [-rounds N] [-time D] [-strict] [NAME...]")
		fl.PrintDefaults()
		fmt.Fprintln(stderr, "figures:")
		for _, f := range figures {
			fmt.Fprintf(stderr, "  %-15s %s\n", f.name, f.doc)
		}
		fmt.Fprintf(stderr, "  %-15s %s\n", "allocs", allocsDoc)
		fmt.Fprintf(stderr, "  %-15s %s\n", "syscalls", syscallsDoc)
		fmt.Fprintf(stderr, "  %-15s %s\n", "frames", framesDoc)
	}
	if err := fl.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	names := fl.Args()
	for _, n := range names {
		known := n == "allocs" || n == "syscalls" || n == "frames" || slices.ContainsFunc(figures, func(f figure) bool { return f.name == n })
		if !known || *rounds < 1 || *length <= 0 {
			fl.Usage()
			return 2
		}
	}
	b := &bench{out: stdout, rounds: *rounds, time: *length, skipped: make(map[string]bool)}
	if err := b.all(names); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	if *strict && b.missed > 0 {
		return 1
	}
	return 0
}

// all measures the figures of these names, or all there are.
func (b *bench) all(names []string) (err error) {
	if b.dir, err = os.MkdirTemp("", "figures"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	wanted := func(name string) bool { return len(names) == 0 || slices.Contains(names, name) }
	fmt.Fprintf(b.out, "%-21s %12s  %-5s %12s  %7s  %-8s\n", "figure", "ours", "other", "the other's", "ratio", "aim")
	for i := range figures {
		if f := &figures[i]; wanted(f.name) {
			if err := b.run(f); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	if wanted("allocs") {
		if err := b.allocs(); err != nil {
			return fmt.Errorf("allocs: %w", err)
		}
	}
	if wanted("syscalls") {
		if err := b.syscalls(); err != nil {
			return fmt.Errorf("syscalls: %w", err)
		}
	}
	if wanted("frames") {
		if err := b.frames(); err != nil {
			return fmt.Errorf("frames: %w", err)
		}
	}
	fmt.Fprintf(b.out, "%s\n", strings.TrimSpace(fmt.Sprintf("%d missed", b.missed)))
	return nil
}
