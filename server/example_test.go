package server_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/p9"
)

// A tree of devices, served on a connection, and a client that makes a conversation by opening clone.
func Example() {
	tree, err := clonefs.New(clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{Name: "mem"}))
	if err != nil {
		log.Fatal(err)
	}
	srv := server.New(tree, server.Config{})
	defer srv.Shutdown(context.Background())
	defer tree.Close(context.Background())

	// A listener would do: go srv.Serve(listener).
	ours, theirs := net.Pipe()
	go srv.ServeConn(theirs, server.Peer{Addr: "a pipe", Any: true})

	client, err := p9.NewClient(ours)
	if err != nil {
		log.Fatal(err)
	}
	root, err := client.Attach("/mem?records=off")
	if err != nil {
		log.Fatal(err)
	}
	_, ctl, err := root.Walk([]string{"clone"})
	if err != nil {
		log.Fatal(err)
	}
	if _, _, err := ctl.Open(p9.ReadWrite); err != nil {
		log.Fatal(err)
	}
	b := make([]byte, 16)
	n, err := ctl.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		log.Fatal(err)
	}
	fmt.Printf("conversation %s", b[:n])
	// Output: conversation 0
}
