//go:build e2e && linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A server is the program under test, serving on a port of the loopback interface, with its interfaces in a network namespace of its own.
type server struct {
	port     int
	identity string
	dir      string // of the files that it exports
	log      *tail

	cmd     *exec.Cmd
	netns   *os.File      // its network namespace
	exited  chan struct{} // closed when it has ended
	waitErr error         // how, when it has
}

// startServer starts a server and returns when it accepts connections and is in its namespace. identity is what it makes of peers: nobody or trust.
func startServer(identity string) (_ *server, err error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "e2e-files-")
	if err != nil {
		return nil, err
	}
	s := &server{port: port, identity: identity, dir: dir, log: newTail("server " + identity), exited: make(chan struct{})}
	s.cmd = exec.Command(built.server, append([]string{"serve", "--listen", fmt.Sprintf("tcp!127.0.0.1!%d", port), "--listen", "unix!" + s.socket(),
		"--net", "private", "--tcp-identity", identity, "--log-format", "json", "--log-level", "debug"}, deviceFlags(dir)...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := startChild(s.cmd); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	go func() { // ends with the server
		s.waitErr = s.cmd.Wait()
		close(s.exited)
	}()
	defer func() {
		if err != nil {
			_ = s.cmd.Process.Kill()
			<-s.exited
			os.RemoveAll(dir)
			os.Remove(s.socket())
			err = fmt.Errorf("%v: %w\nits log:\n%s", s.cmd, err, s.log.since(0, 40))
		}
	}()
	// It listens first and then enters its namespace: only both together are a start.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := s.ready()
		if err == nil {
			return s, nil
		}
		if !s.alive() {
			return nil, fmt.Errorf("has ended: %v", s.waitErr)
		}
		if time.Now().After(end) {
			return nil, err
		}
	}
}

// deviceFlags are the flags that the devices of a server get, whose files are below dir.
func deviceFlags(dir string) []string {
	return []string{"--dmover-root", dir, "--audio-root", dir, "--audio-sink", "wav mix.wav"}
}

// ready reports whether the server accepts connections and is in its namespace, of which s then has a descriptor.
func (s *server) ready() error {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		return fmt.Errorf("accepts no connections: %w", err)
	}
	c.Close()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", s.cmd.Process.Pid))
	if err != nil {
		return err
	}
	if same, err := sameNamespace(ns); err != nil || same {
		ns.Close()
		return fmt.Errorf("is in this machine's own network namespace, want a private one (%v)", err)
	}
	s.netns = ns
	return nil
}

// freePort returns a tcp port of the loopback interface that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// alive reports whether the server is running.
func (s *server) alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// stop has the server end by itself, which it must within two seconds and with status 0.
func (s *server) stop() error {
	defer s.clean()
	if !s.alive() {
		return nil // whoever found it so has said so
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		if s.waitErr != nil {
			return fmt.Errorf("the server, after SIGTERM: %w\nits log:\n%s", s.waitErr, s.log.since(0, 20))
		}
		return nil
	case <-time.After(4 * time.Second): // two, and two for a busy machine
		s.kill()
		return fmt.Errorf("the server has not ended 4 s after SIGTERM\nits log:\n%s", s.log.since(0, 20))
	}
}

// clean removes what a server that has ended leaves here.
func (s *server) clean() {
	s.netns.Close()
	os.RemoveAll(s.dir)
	os.Remove(s.socket()) // which a server that was killed has left
}

// socket is the path at which it listens besides.
func (s *server) socket() string { return s.dir + ".sock" }

// kill ends the server as kill -9 does.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// ifaces lists the interfaces in the server's namespace that are conversations.
func (s *server) ifaces() (list []net.Interface, err error) {
	err = s.inNetns(func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			if strings.HasPrefix(i.Name, "ethfoo") {
				list = append(list, i)
			}
		}
		return err
	})
	return list, err
}

// inNetns runs f in the server's network namespace: sockets that it opens and processes that it starts belong there.
func (s *server) inNetns(f func() error) error {
	result := make(chan error, 1)
	go func() {
		// The thread cannot come back where the namespace we are from belongs to another user's; so it ends, locked, with this goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(int(s.netns.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("entering the server's network namespace: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}

// ownNamespace is the network namespace in which the test began. Later the process' first thread may have been in inNetns, and /proc/self/ns is that thread's.
var ownNamespace = func() (st unix.Stat_t) {
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		panic(err)
	}
	return st
}()

// sameNamespace reports whether f is the network namespace we are in.
func sameNamespace(f *os.File) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, err
	}
	return st.Ino == ownNamespace.Ino && st.Dev == ownNamespace.Dev, nil
}
