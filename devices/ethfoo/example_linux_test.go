package ethfoo_test

import (
	"fmt"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/ethfoo"
)

// What the device's help says comes from its tables, so this needs no privilege.
func ExampleNew() {
	device, err := ethfoo.New(ethfoo.DefaultConfig())
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
	for _, m := range info.Messages[:3] {
		fmt.Printf("%s %s: %s\n", m.Word, m.Args, m.Help)
	}
	// Output:
	// ethfoo: a virtual Ethernet interface an open
	// up : let the link carry frames
	// down : let it carry none: a read waits, a write fails
	// add ADDR/LEN: add an IPv4 or IPv6 address
}
