package listen

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// How long a command may take to end by itself when its input has ended, and then after SIGTERM, before it is killed.
const (
	commandEnds = 500 * time.Millisecond
	commandObey = 500 * time.Millisecond
)

// dialCommand starts a command and connects to its standard input and output. Its standard error is ours, and so is its terminal: ssh may ask for a
// password there. It has no process group of its own for that reason; what it starts and leaves behind is its own affair.
func dialCommand(ctx context.Context, a Addr) (*command, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Not CommandContext: the context is for the attempt alone.
	cmd := exec.Command("/bin/sh", "-c", a.Path)
	cmd.Stderr = os.Stderr
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		in.Close()
		return nil, err
	}
	cmd.Stdin, cmd.Stdout = theirIn, theirOut
	err = cmd.Start()
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("cannot run /bin/sh: %w", err)
	}
	c := &command{pipes: &pipes{at: a, r: out, w: in}, process: cmd.Process, ended: make(chan struct{})}
	go func() { // ends with the command, which Close kills
		defer close(c.ended)
		_ = cmd.Wait() // how it ended is its own affair: what matters is what it said
	}()
	return c, nil
}

// A command is a connection through the standard input and output of a process of its own. Its methods are safe for concurrent use.
type command struct {
	*pipes
	process *os.Process
	ended   chan struct{} // closed when the process was waited for
	stop    sync.Once
}

// Close ends the connection and the command: it is told by the end of its input, then by SIGTERM, and at last killed. It is gone when Close
// returns, at most a second later.
func (c *command) Close() error {
	err := c.pipes.Close()
	c.stop.Do(func() {
		if !c.gone(commandEnds) {
			_ = c.process.Signal(syscall.SIGTERM) // it may be gone meanwhile
			if !c.gone(commandObey) {
				_ = c.process.Kill()
			}
		}
	})
	<-c.ended
	return err
}

// gone waits for the command's end for some time.
func (c *command) gone(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.ended:
		return true
	case <-t.C:
		return false
	}
}
