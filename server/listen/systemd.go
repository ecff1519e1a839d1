package listen

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// maxName bounds the name of a socket of systemd, as it does itself: FDNAME_MAX in its fd-util.h.
const maxName = 255

// parseSystemd reads the name of a socket, or nothing.
func parseSystemd(rest string) (Addr, error) {
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }
	if len(rest) > maxName || strings.ContainsFunc(rest, bad) {
		return Addr{}, fmt.Errorf("bad name %q: want that of a socket of systemd (FileDescriptorName=), or none for all", rest)
	}
	return Addr{Network: "systemd", Path: rest}, nil
}

// ListenAll listens on several addresses, see [Parse]; of them systemd! may give any number of listeners. When one fails it closes the others.
// The sockets that systemd has passed are all to be taken.
func ListenAll(addrs []string, o Options) ([]*Listener, error) {
	var ls []*Listener
	var passed activated
	err := func() error {
		for _, addr := range addrs {
			a, err := Parse(addr)
			if err != nil {
				return err
			}
			if a.Network == "systemd" {
				more, err := passed.take(a, o)
				ls = append(ls, more...)
				if err != nil {
					return explain("listen on", a, err)
				}
				continue
			}
			l, err := Listen(addr, o)
			if err != nil {
				return err
			}
			ls = append(ls, l)
		}
		if len(passed.files) > 0 {
			return fmt.Errorf("systemd has passed a socket called %q, which no address takes: systemd! takes all", passed.files[0].Name())
		}
		return nil
	}()
	if err != nil {
		for _, l := range ls {
			l.Close()
		}
		for _, f := range passed.files {
			f.Close()
		}
		return nil, err
	}
	return ls, nil
}

// The environment of socket activation; see sd_listen_fds(3).
const (
	envFDs   = "LISTEN_FDS"
	envPID   = "LISTEN_PID"
	envNames = "LISTEN_FDNAMES"
)

// maxActivated bounds how many sockets may be passed.
const maxActivated = 1024

// An activated has the sockets that systemd has passed to this process.
type activated struct {
	asked bool
	files []*os.File // not taken so far; each has the name that systemd calls it
}

// ask takes the sockets out of the environment, which does not know of them any more then.
func (s *activated) ask() error {
	if s.asked {
		return nil
	}
	s.asked = true
	count, pid := os.Getenv(envFDs), os.Getenv(envPID)
	defer func() {
		for _, name := range []string{envFDs, envPID, envNames} {
			os.Unsetenv(name)
		}
	}()
	if count == "" {
		return errors.New("systemd has passed no socket: start the server by a .socket unit (LISTEN_FDS is not set)")
	}
	if n, err := strconv.ParseUint(count, 10, 16); err != nil || n == 0 || n > maxActivated {
		return fmt.Errorf("systemd has passed no number of sockets but %s=%q: want 1 to %d", envFDs, count, maxActivated)
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("systemd has passed its sockets to another process: %s is %q, and this is %d", envPID, pid, os.Getpid())
	}
	s.files = activation.Files(true)
	return nil
}

// take makes listeners of the sockets called a.Path, or of all that are left.
func (s *activated) take(a Addr, o Options) ([]*Listener, error) {
	if err := s.ask(); err != nil {
		return nil, err
	}
	var ls []*Listener
	var left []*os.File
	var failed error
	for _, f := range s.files {
		if failed != nil || a.Path != "" && f.Name() != a.Path {
			left = append(left, f)
			continue
		}
		l, err := adoptActivated(f, o)
		if err != nil {
			failed = err
			continue
		}
		ls = append(ls, l)
	}
	s.files = left
	switch {
	case failed != nil:
		return ls, failed
	case len(ls) == 0 && a.Path != "":
		return nil, fmt.Errorf("systemd has passed no other socket called %q", a.Path)
	case len(ls) == 0:
		return nil, errors.New("no socket of systemd is left for it")
	}
	return ls, nil
}

// adoptActivated makes a listener of one socket, whose file is its own from then on.
func adoptActivated(f *os.File, o Options) (*Listener, error) {
	fd := int(f.Fd())
	e := end{fd, fmt.Sprintf("the socket called %q, descriptor %d,", f.Name(), fd)}
	k, err := e.kind()
	if err == nil && k == pipe {
		err = fmt.Errorf("%s is a pipe: want a socket", e.name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return adopt(Addr{Network: "systemd", Path: f.Name()}, k, []*os.File{f}, o)
}
