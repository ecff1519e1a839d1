package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	ninep "github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/server"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// The environment by which systemd says that it wants to be told; see sd_notify(3) and sd_watchdog_enabled(3).
const (
	envNotify      = "NOTIFY_SOCKET"
	envWatchdog    = "WATCHDOG_USEC"
	envWatchdogPID = "WATCHDOG_PID"
)

// A supervisor is who has started the server and wants to know how it is: systemd. Its methods are safe for concurrent use, and do nothing where
// nobody wants to know.
//
// In a private network namespace the server may be a child of the process that systemd knows, whose word alone counts. Then what the child
// says goes to its parent, by a pair of sockets, and the parent says it to systemd.
type supervisor struct {
	conn  *net.UnixConn // to say things to; nil for nobody
	every time.Duration // how long it waits for a sign of life; 0 for ever
	log   zerolog.Logger
}

// newSupervisor looks into the environment, from which it takes what it finds: that is for this process and none that it starts. A supervisor that
// cannot be reached is one line in the log: a shell that somebody's service has started may have the name of a socket that is long gone.
func newSupervisor(log zerolog.Logger) *supervisor {
	socket, usec, pid := os.Getenv(envNotify), os.Getenv(envWatchdog), os.Getenv(envWatchdogPID)
	for _, name := range []string{envNotify, envWatchdog, envWatchdogPID} {
		os.Unsetenv(name)
	}
	s := &supervisor{log: log}
	if socket == "" {
		return s
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		log.Warn().Err(err).Str(envNotify, socket).Msg("cannot reach the supervisor; going on without")
		return s
	}
	s.conn = conn
	if usec != "" && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n, err := strconv.ParseInt(usec, 10, 64)
		if err != nil || n <= 0 || n > int64(time.Duration(1<<63-1)/time.Microsecond) {
			log.Warn().Str(envWatchdog, usec).Msg("no number of microseconds; going on without a watchdog")
			return s
		}
		s.every = time.Duration(n) * time.Microsecond
	}
	return s
}

// close ends the connection.
func (s *supervisor) close() {
	if s.conn != nil {
		s.conn.Close()
	}
}

// sayWithin bounds how long a supervisor that does not listen holds up the server.
const sayWithin = time.Second

// say tells the supervisor some lines at once.
func (s *supervisor) say(lines ...string) {
	if s.conn == nil {
		return
	}
	s.conn.SetWriteDeadline(time.Now().Add(sayWithin))
	if _, err := s.conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		s.log.Warn().Err(err).Strs("lines", lines).Msg("cannot tell the supervisor")
	}
}

// reloading says that the configuration is being read again; ready ends that.
func (s *supervisor) reloading() {
	s.say("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", monotonic()/time.Microsecond))
}

// ready says that the server serves, and a sentence.
func (s *supervisor) ready(sentence string) { s.say("READY=1", "STATUS="+sentence) }

// A supervision is what of a supervisor the second run of the server is told, beside the files of hand.
type supervision struct {
	PID   int // of the process that the supervisor knows; 0 for no supervisor, and no files
	Every time.Duration
}

// supervisionFiles is how many files hand returns when there is a supervisor.
const supervisionFiles = 2

// hand gives the supervisor to a second run of the server: the first file leads to it, the second to this process, which passes on what it hears
// until stop is called.
func (s *supervisor) hand() (files []*os.File, n supervision, stop func(), err error) {
	if s.conn == nil {
		return nil, supervision{}, func() {}, nil
	}
	direct, err := s.conn.File()
	if err != nil {
		return nil, supervision{}, nil, err
	}
	here, there, err := datagrams()
	if err != nil {
		direct.Close()
		return nil, supervision{}, nil, err
	}
	var passing sync.WaitGroup
	passing.Go(func() { // ends when here is closed
		buf := make([]byte, 4096)
		for {
			k, err := here.Read(buf)
			if err != nil {
				return
			}
			s.say(string(buf[:k]))
		}
	})
	stop = func() {
		here.Close()
		passing.Wait()
	}
	return []*os.File{direct, there}, supervision{PID: os.Getpid(), Every: s.every}, stop, nil
}

// inheritSupervisor is the supervisor in the second run. It closes the files.
func inheritSupervisor(files []*os.File, n supervision, log zerolog.Logger) (*supervisor, error) {
	s := &supervisor{log: log}
	if n.PID == 0 {
		return s, nil
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if len(files) != supervisionFiles {
		return nil, fmt.Errorf("%d files were handed over for the supervisor", len(files))
	}
	f := files[0]
	if n.PID != os.Getpid() {
		f = files[1]
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the supervisor: %w", err)
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("cannot reach the supervisor: what was handed over is no unix socket")
	}
	s.conn, s.every = conn, n.Every
	return s, nil
}

// datagrams makes a pair of sockets for messages. Its second end is for another process.
func datagrams() (here net.Conn, there *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	f := os.NewFile(uintptr(fds[0]), "supervisor")
	defer f.Close()
	there = os.NewFile(uintptr(fds[1]), "supervisor")
	if here, err = net.FileConn(f); err != nil {
		there.Close()
		return nil, nil, err
	}
	return here, there, nil
}

// firstCheck bounds how long the server may take to answer itself when it begins to serve.
const firstCheck = 30 * time.Second

// begin says that the server is ready, once it has answered itself, and begins to watch it. It returns a function that ends that.
func (s *supervisor) begin(ctx context.Context, check func(context.Context) error, sentence string) (end func()) {
	if s.conn == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { // ends with end
		first, done := context.WithTimeout(ctx, firstCheck)
		defer done()
		if err := check(first); err != nil {
			if ctx.Err() == nil {
				s.log.Error().Err(err).Msg("the server does not answer itself; its supervisor is not told that it is ready")
			}
			return
		}
		s.ready(sentence)
		s.watch(ctx, check)
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// watch gives the supervisor its signs of life until ctx ends: twice in the time that it waits, each after a check that went well. A check may take
// half the time between two. While one hangs nothing is said and none is begun.
func (s *supervisor) watch(ctx context.Context, check func(context.Context) error) {
	if s.conn == nil || s.every == 0 {
		return
	}
	pause := s.every / 2
	tick := time.NewTicker(pause)
	defer tick.Stop()
	done := make(chan error, 1)
	checking := false
	for {
		select {
		case <-tick.C:
			if !checking {
				checking = true
				go func() { // ends with its check, which ctx bounds; one that hangs is one at most
					ctx, cancel := context.WithTimeout(ctx, pause/2)
					defer cancel()
					done <- check(ctx)
				}()
			}
		case err := <-done:
			checking = false
			if err == nil {
				s.say("WATCHDOG=1")
			} else if ctx.Err() == nil {
				s.log.Error().Err(err).Msg("the server does not answer itself; its supervisor hears nothing")
			}
		case <-ctx.Done():
			return
		}
	}
}

// answers reports whether the server answers a client: it takes a connection of its own, agrees on a version, attaches, and looks at the root and at the
// directory of each device. A server that refuses the connection, being full, has answered.
func answers(ctx context.Context, srv *server.Server, devices []string) error {
	here, there := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- srv.ServeConn(there, server.Nobody("watchdog:")) }() // ends with here
	stop := context.AfterFunc(ctx, func() { here.Close() })
	defer stop()
	err := func() error {
		c, err := ninep.New(ctx, here, ninep.Options{Dialects: []ninep.Dialect{ninep.P9L}})
		if err != nil {
			return err
		}
		defer c.Close()
		root, err := c.Attach(ctx, ninep.Attach{})
		if err != nil {
			return err
		}
		for _, name := range append([]string{""}, devices...) {
			f, err := root.Walk(ctx, name)
			if err != nil {
				return err
			}
			if _, err := f.GetAttr(ctx); err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
		return nil
	}()
	here.Close()
	select {
	case e := <-ended:
		if errors.Is(e, server.ErrFull) {
			return nil
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("its session does not end: %w", context.Cause(ctx))
	}
}
