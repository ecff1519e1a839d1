package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"strings"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// A conversation with a device: clone is opened and tells the number of the new directory, ctl is written, and data is read, with a context
// that ends before there is more.
func Example() {
	tree, err := clonefs.New(clonefs.Config{}, newEcho())
	if err != nil {
		log.Fatal(err)
	}
	ours, theirs := net.Pipe() // in earnest, a connection of listen.Dial or net.Dial
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
	n, err := ctl.ReadContext(ctx, buf, 0)
	if err != nil {
		log.Fatal(err)
	}
	dir := strings.TrimSpace(string(buf[:n]))
	fmt.Println("conversation", dir)

	data, err := root.OpenFile(ctx, dir+"/data", p9.ReadOnly)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := ctl.WriteContext(ctx, []byte("say hello"), 0); err != nil {
		log.Fatal(err)
	}
	n, err = data.ReadContext(ctx, buf, 0)
	fmt.Printf("%s, %v\n", buf[:n], err)

	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = data.ReadContext(short, buf, 0)
	fmt.Println(err, errors.Is(err, context.DeadlineExceeded))

	// The server's sentence, and where there are numbers the number.
	_, err = ctl.WriteContext(ctx, []byte("shout"), 0)
	fmt.Println(err, errors.Is(err, linux.EINVAL))
	_, err = root.Walk(ctx, "7/data")
	fmt.Println(err, errors.Is(err, linux.ENOENT))

	// Output:
	// conversation 0
	// hello, <nil>
	// interrupted true
	// unknown control message: shout true
	// 7: file does not exist true
}
