package pty

import (
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/clone9p/clone9p/clonefs"
	"golang.org/x/sys/unix"
)

// A command is what exec started: the leader of a session whose controlling terminal is the slave. The session has the leader's number. Linux gives
// that number to nobody else while the leader is not reaped, so it is left a zombie as long as anything of its session runs and may have to be killed:
//
//	running --> done: it has ended --> over: nothing of its session is left, or the conversation has ended --> reaped
type command struct {
	name string
	pid  int // and the session's number
	cmd  *exec.Cmd

	done   chan struct{} // closed when it has ended; then:
	end    string        // exit CODE or killed SIGNAL
	reaped chan struct{} // closed at the end

	release chan struct{} // closed when nobody will ask for its session any more
	once    sync.Once     // closes release

	mu   sync.Mutex // guards over
	over bool       // its number may be another's now
}

// watch follows a command that was started.
func watch(name string, cmd *exec.Cmd) *command {
	c := &command{
		name: name, pid: cmd.Process.Pid, cmd: cmd,
		done: make(chan struct{}), reaped: make(chan struct{}), release: make(chan struct{}),
	}
	go c.wait() // ends with the command, which ends at the latest with the conversation, if it is the owner's to kill
	return c
}

func (c *command) wait() {
	defer close(c.reaped)
	c.end = awaitEnd(c.pid)
	close(c.done)
	if c.leaves() {
		<-c.release
	}
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	_ = c.cmd.Wait() // how it ended is known
}

func (c *command) running() bool { return !closed(c.done) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// leaves reports whether anything of the session runs, or might.
func (c *command) leaves() bool {
	_, found := signalAll(c.has, clonefs.User{}, 0)
	return found
}

// has reports whether a process is of the command's session.
func (c *command) has(s procStat) bool {
	if s.session != c.pid {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.over
}

// forgotten reports whether nothing is left of a command that has ended; its number is given back then.
func (c *command) forgotten() bool {
	if c.running() || c.leaves() {
		return false
	}
	c.let()
	return true
}

// let gives the command's number back as soon as it has ended.
func (c *command) let() { c.once.Do(func() { close(c.release) }) }

// awaitEnd waits until a child has ended and returns how; it stays to be reaped.
func awaitEnd(pid int) string {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return "exit 255" // somebody else has reaped it, and knows
		}
	}
	// The fields of a siginfo that SIGCHLD has, sigaction(2); the kernel aligns them as it does pointers.
	child := (*struct {
		signo, errno, code int32
		fields             struct {
			_        [0]uintptr
			pid, uid int32
			status   int32
		}
	})(unsafe.Pointer(&info))
	const exited = 1 // CLD_EXITED; the others are killed, with and without a core
	if child.code == exited {
		return "exit " + strconv.Itoa(int(child.fields.status))
	}
	return "killed " + unix.SignalName(syscall.Signal(child.fields.status))
}

const (
	hangupTime = 250 * time.Millisecond // that commands have to end after SIGHUP
	killTime   = time.Second            // and after SIGKILL: one that has become somebody whom the owner may not kill ends when it likes
)

// killAll waits a little for commands to end by themselves, now that their terminal is gone, and then kills what there is of their sessions, as far
// as owner might.
func killAll(commands []*command, owner clonefs.User) {
	theirs := func(s procStat) bool {
		for _, c := range commands {
			if c.has(s) {
				return true
			}
		}
		return false
	}
	if len(commands) == 0 {
		return
	}
	for end := time.Now().Add(hangupTime); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, found := signalAll(theirs, owner, 0); !found {
			break
		}
	}
	// What is killed may have forked meanwhile: until nobody is left to kill.
	for range 100 {
		if sent, _ := signalAll(theirs, owner, unix.SIGKILL); sent == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for _, c := range commands {
		c.let()
	}
	late := time.After(killTime)
	for _, c := range commands {
		select {
		case <-c.reaped:
		case <-late:
			return // the others, too, are reaped when they end
		}
	}
}
