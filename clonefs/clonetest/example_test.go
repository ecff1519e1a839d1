package clonetest_test

import (
	"fmt"
	"log"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/hugelgupf/p9/p9"
)

// A device in memory serves where a test needs some device: its records come from the test.
func ExampleMem() {
	mem := clonetest.Mem(clonetest.MemOptions{Name: "loop"})
	tree, err := clonefs.New(clonefs.Config{}, mem)
	if err != nil {
		log.Fatal(err)
	}
	root, err := tree.Attach()
	if err != nil {
		log.Fatal(err)
	}
	open := func(flags p9.OpenFlags, names ...string) p9.File {
		_, f, err := root.Walk(names)
		if err == nil {
			_, _, err = f.Open(flags)
		}
		if err != nil {
			log.Fatal(err)
		}
		return f
	}
	ctl := open(p9.ReadWrite, "loop", "clone")
	rx := open(p9.ReadOnly, "loop", "0", "rx")
	mem.Conv(0).Push([]byte("a record"))

	buf := make([]byte, 100)
	n, err := rx.ReadAt(buf, 0)
	fmt.Printf("%s %v\n", buf[:n], err)
	rx.Close()
	ctl.Close()
	fmt.Println(mem.Clones(), mem.Closes(), mem.Live())
	// Output:
	// a record <nil>
	// 1 1 0
}
