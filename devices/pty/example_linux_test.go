package pty_test

import (
	"fmt"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/pty"
)

// What the device's help says comes from its tables.
func ExampleNew() {
	c := pty.DefaultConfig()
	c.Exec = []string{pty.AnyLocal}
	device, err := pty.New(c)
	if err != nil {
		fmt.Println(err)
		return
	}
	info, err := clonefs.Describe(device)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %s\n", info.Name, info.Doc)
	for _, f := range info.Files {
		fmt.Println(f.Name)
	}
	// Output:
	// pty: a terminal an open
	// ctl
	// status
	// data
	// rx
	// tx
	// winsize
	// slave
}
