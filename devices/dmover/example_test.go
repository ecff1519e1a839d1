//go:build unix

package dmover_test

import (
	"fmt"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/dmover"
)

// What the device's help says comes from its tables.
func ExampleNew() {
	c := dmover.DefaultConfig()
	c.Roots = []string{"images=/srv/images"} // sessions bind images/PATH
	device, err := dmover.New(c)
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
	for _, m := range info.Messages[:2] {
		fmt.Printf("%s %s\n", m.Word, m.Args)
	}
	// Output:
	// dmover: a data-mover session an open
	// func NAME
	// bind BUF PATH create
}
