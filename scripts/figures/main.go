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

// A group is figures of one kind that are measured in a way of their own.
type group struct {
	name    string
	doc     string
	measure func(*bench) error
}

// groups returns the groups in the order in which they are measured, after the figures.
func groups() []group {
	return []group{
		{"allocs", "allocations a Tgetattr and a Tread of 4 KiB, 32 deep", (*bench).allocs},
		{"syscalls", "system calls of the server a Tgetattr, one at a time (needs perf and the right to use it)", (*bench).syscalls},
		{"audio", "voices that a core mixes in real time against sox and PulseAudio, 1 to 1000 of them, and the way of a write to the mix", (*bench).audio},
		{"crowd", "100,000 blocked reads and a Tflush beside them, 100,000 conversations, clone+release against /dev/ptmx", (*bench).crowd},
		{"dmover", "dmover's requests over memory against the best loops, a file's copy against cp, many sessions at once", (*bench).dmover},
		{"frames", "frames a second through ethfoo, one or a batch a message, against the TAP's descriptor; a clone beside 1 to 1000", (*bench).frames},
		{"pty", "cat of 100 MB and the echo of a key through a terminal, against a local one", (*bench).pty},
	}
}

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
		for _, g := range groups() {
			fmt.Fprintf(stderr, "  %-15s %s\n", g.name, g.doc)
		}
	}
	if err := fl.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	names := fl.Args()
	for _, n := range names {
		known := slices.ContainsFunc(groups(), func(g group) bool { return g.name == n }) ||
			slices.ContainsFunc(figures, func(f figure) bool { return f.name == n })
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
	for _, g := range groups() {
		if wanted(g.name) {
			if err := g.measure(b); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
	}
	fmt.Fprintf(b.out, "%s\n", strings.TrimSpace(fmt.Sprintf("%d missed", b.missed)))
	return nil
}
