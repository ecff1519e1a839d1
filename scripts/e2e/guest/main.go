//go:build linux

// Guest is the first program of a guest of the end-to-end tests, and every other one it needs.
//
// As process 1 it readies the machine and then carries out the cases the host asks for, each in a process of its
// own, so that a case that hangs can be told from a guest that hangs. Its other faces are those processes (guest case),
// the readers that cases start and kill (guest reader), and one that carries out cases on the host itself, over FUSE (guest here).
package main

import (
	"fmt"
	"os"
)

func main() {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "here":
		hereMain()
	case os.Getpid() == 1:
		initMain()
	case len(os.Args) > 1 && os.Args[1] == "case":
		caseMain(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "reader":
		readerMain(os.Args[2:])
	default:
		fmt.Fprintln(os.Stderr, "guest: process 1 of a test machine; of no use elsewhere")
		os.Exit(2)
	}
}
