package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/p9"
)

// A stdio is a command's standard input and output, as one connection.
type stdio struct {
	io.Reader
	io.WriteCloser
}

// A client of its own reaches the server through the command's standard input and output; the end of one is the end of the other.
func TestRelay(t *testing.T) {
	addr := "unix!" + filepath.Join(t.TempDir(), "s")
	fs, err := clonefs.New(clonefs.Config{}, boxes())
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen.Listen(addr, listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv := server.New(fs, server.Config{})
	go srv.Serve(l) // ends with Shutdown
	t.Cleanup(func() { srv.Shutdown(t.Context()) })

	fromClient, toRelay := io.Pipe()
	fromRelay, toClient := io.Pipe()
	ended := make(chan int, 1)
	go func() { ended <- run([]string{"relay", addr}, fromClient, toClient, os.Stderr) }()
	c, err := p9.NewClient(stdio{fromRelay, toRelay})
	if err != nil {
		t.Fatal(err)
	}
	root, err := c.Attach("/")
	if err != nil {
		t.Fatal(err)
	}
	_, f, err := root.Walk([]string{"box", "clone"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Open(p9.ReadWrite); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 10)
	if n, err := f.ReadAt(p, 0); string(p[:n]) != "0\n" || err != nil {
		t.Errorf("read %q, %v", p[:n], err)
	}
	// The end of the input ends the session, and so the conversation, and so the relay.
	toRelay.Close()
	if st := <-ended; st != 0 {
		t.Errorf("exit status %d", st)
	}
	for end := time.Now().Add(time.Minute); fs.Stats()[0].Convs != 0; time.Sleep(time.Millisecond) { // the server closes the connection first
		if time.Now().After(end) {
			t.Fatal("a conversation is left")
		}
	}

	// The server's end ends it too, though its input goes on.
	fromClient, toRelay = io.Pipe()
	go func() { ended <- run([]string{"relay", "--addr", addr}, fromClient, io.Discard, os.Stderr) }()
	if _, err := toRelay.Write([]byte("no 9P at all, and longer than a header")); err != nil {
		t.Fatal(err)
	}
	if st := <-ended; st != 0 {
		t.Errorf("exit status %d", st)
	}
	toRelay.Close()
}
