package listen

import (
	"context"
	"io"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A command's standard input and output are a connection, whose end is the command's.
func TestDialCommand(t *testing.T) {
	for _, tt := range []struct{ name, command string }{
		{"ends with its input", "echo $$; exec cat"},
		{"ends when it is told", "echo $$; head -c 5; exec sleep 1000"},
		{"has to be killed", "trap '' TERM; echo $$; head -c 5; exec sleep 1000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Dial(context.Background(), "exec!"+tt.command)
			if err != nil {
				t.Fatal(err)
			}
			var line []byte
			for p := make([]byte, 1); p[0] != '\n'; line = append(line, p[0]) {
				if _, err := io.ReadFull(c, p); err != nil {
					t.Fatal(err)
				}
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(line)))
			if err != nil {
				t.Fatal(err)
			}
			talk(t, c, c)
			if _, err := ServerPID(c); err == nil {
				t.Error("ServerPID of a command: no error")
			}
			c.Close()
			if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
				t.Errorf("process %d after Close: %v", pid, err)
			}
			c.Close() // a second time does nothing
		})
	}
}

// The half that is closed ends the command's input; its last words come.
func TestCommandCloseWrite(t *testing.T) {
	c, err := Dial(context.Background(), "exec!cat >/dev/null; echo bye")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "bye\n" {
		t.Errorf("read %q, %v", b, err)
	}
}

// Dialling does not outlive its context, and each address is for one side.
func TestDialOtherForms(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Dial(ctx, "exec!cat"); err == nil || err.Error() != "cannot connect to exec!cat: context canceled" {
		t.Errorf("cancelled: %v", err)
	}
	for _, addr := range []string{"stdio!", "fd!3"} {
		if _, err := Dial(context.Background(), addr); err == nil || !strings.HasSuffix(err.Error(), "it is an address for servers") {
			t.Errorf("Dial(%q): %v", addr, err)
		}
	}
	if _, err := Listen("exec!cat", Options{}); err == nil || !strings.HasSuffix(err.Error(), "it is an address for clients") {
		t.Errorf("Listen: %v", err)
	}
}
