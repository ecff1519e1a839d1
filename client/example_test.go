package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/p9"
)

// A conversation with a device: clone is opened and read, the new directory's data is read until it takes too long.
func Example() {
	tree, err := clonefs.New(clonefs.Config{}, newEcho())
	if err != nil {
		log.Fatal(err)
	}
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- server.New(tree, server.Config{}).ServeConn(theirs, server.Nobody("pipe")) }()

	ctx := context.Background()
	conn, err := client.New(ctx, ours, client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { conn.Close(); <-served }()
	root, err := conn.Attach(ctx, client.Attach{Name: "/echo?records=off"})
	if err != nil {
		log.Fatal(err)
	}
	ctl, err := root.OpenFile(ctx, "clone", p9.ReadWrite)
	if err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 100)
	n, _ := ctl.Read(buf)
	fmt.Printf("conversation %s", buf[:n])

	data, err := root.OpenFile(ctx, "0/data", p9.ReadOnly)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(ctl, "say hello")
	n, _ = data.Read(buf)
	fmt.Printf("%s\n", buf[:n])

	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = data.ReadContext(short, buf, 0)
	fmt.Println(err, errors.Is(err, context.DeadlineExceeded))

	_, err = fmt.Fprint(ctl, "shout")
	fmt.Println(err)

	// Output:
	// conversation 0
	// hello
	// interrupted true
	// unknown control message: shout
}
