//go:build linux

package main

import (
	"bufio"
	"os"
	"syscall"
	"time"
)

// lines reads what a process prints, line by line.
type lines struct {
	t *T
	w *os.File
	c chan string // closed when the last process that has the writing end is gone
}

// writer returns the file that the process prints to. The case's own copy of it lives as long as the case.
func (l *lines) writer() *os.File {
	if l.w != nil {
		return l.w
	}
	r, w, err := os.Pipe()
	l.t.must(err)
	l.w, l.c = w, make(chan string, 1000)
	l.t.Cleanup(func() { w.Close() })
	go func() { // ends with the pipe's writing ends, ours among them
		defer r.Close()
		defer close(l.c)
		for s := bufio.NewScanner(r); s.Scan(); {
			l.c <- s.Text()
		}
	}()
	return w
}

// next waits for the next line.
func (l *lines) next() string {
	select {
	case s := <-l.c:
		return s
	case <-time.After(soon):
		l.t.Fatalf("the process prints nothing for %v", soon)
	}
	panic("unreached")
}

// credential is an ordinary user of the guest.
func credential(uid int) *syscall.Credential {
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
}
