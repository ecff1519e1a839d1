package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The servers that are compared.
const ours = "ours"

var errNotInstalled = errors.New("not installed")

// A process is a running server.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer     // its end is the end of a server of ours
	ended  chan struct{} // closed when the process has ended
	stderr bytes.Buffer  // may be read after that
	socket string
	aname  string // what to attach to
}

// start starts the server called name, with its files in the directory dir, and waits until it accepts connections.
func start(name, dir string) (*process, error) {
	p := &process{name: name, socket: filepath.Join(dir, name+".sock"), ended: make(chan struct{})}
	if name == "diod" {
		if err := p.diod(dir); err != nil {
			return nil, err
		}
	} else {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		p.cmd = exec.Command(self, "serve", name, p.socket)
	}
	p.cmd.Stderr = &p.stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		p.cmd.Wait()
		close(p.ended)
	}()
	if err := p.wait(); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s does not serve: %w\n%s", name, err, &p.stderr)
	}
	return p, nil
}

// diod prepares diod, which serves a directory with the same paths as our tree.
func (p *process) diod(dir string) error {
	path, err := exec.LookPath("diod")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/diod"); err != nil {
			return errNotInstalled
		}
	}
	p.aname = filepath.Join(dir, "export")
	for file, content := range map[string][]byte{"data": content, "text": []byte("hello\n")} {
		at := filepath.Join(p.aname, "mem", "0", file)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, content, 0o644); err != nil {
			return err
		}
	}
	p.cmd = exec.Command(path, "-f", "-n", "-N", "-c", "/dev/null", "-L", "stderr", "-e", p.aname, "-l", p.socket)
	return nil
}

// wait waits until the server accepts connections. Nothing tells when a foreign one does: it is tried.
func (p *process) wait() error {
	var err error
	for range 500 {
		var c net.Conn
		if c, err = net.Dial("unix", p.socket); err == nil {
			return c.Close()
		}
		select {
		case <-p.ended:
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
	return err
}

// stop ends the server.
func (p *process) stop() {
	p.stdin.Close()
	p.cmd.Process.Kill()
	<-p.ended
	os.Remove(p.socket) // the next one of its name listens there
}

// ticksPerSecond is USER_HZ, in which Linux tells CPU times, on all of Go's architectures.
const ticksPerSecond = 100

// cpu returns the CPU time that the server has used, user's and system's, see proc_pid_stat(5).
func (p *process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	const utime, stime = 14 - 3, 15 - 3 // fields are counted from 1, and two stand before rest
	if len(f) <= stime {
		return 0, errors.New("/proc/PID/stat has too few fields")
	}
	u, err1 := strconv.ParseInt(f[utime], 10, 64)
	s, err2 := strconv.ParseInt(f[stime], 10, 64)
	return time.Duration(u+s) * time.Second / ticksPerSecond, errors.Join(err1, err2)
}
