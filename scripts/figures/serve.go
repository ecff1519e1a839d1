package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/p9"
)

// serve is the program in its other roles: the server called name at the unix socket, until standard input ends. The load runs it as a process of its own.
func serve(name, socket string) error {
	go func() { // ends with the process, which it makes end with its parent, however that dies
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	switch name {
	case ours:
		srv, l, err := newOurs(socket)
		if err != nil {
			return err
		}
		return srv.Serve(l)
	case "audio":
		return newAudio(socket)
	case "pty":
		return newPty(socket)
	case "p9":
		fs, err := newTree()
		if err != nil {
			return err
		}
		l, err := net.Listen("unix", socket)
		if err != nil {
			return err
		}
		return p9.NewServer(fs).Serve(l)
	case "echo":
		l, err := net.Listen("unix", socket)
		if err != nil {
			return err
		}
		return serveEcho(l)
	}
	return fmt.Errorf("no server is called %q", name)
}

// newOurs is package server as cmd/clone9p uses it: the server, and the listener it is to serve.
func newOurs(socket string) (*server.Server, net.Listener, error) {
	fs, err := newTree()
	if err != nil {
		return nil, nil, err
	}
	l, err := listen.Listen("unix!"+socket, listen.Options{})
	if err != nil {
		return nil, nil, err
	}
	return server.New(fs, server.Config{}), l, nil
}
