package private

import (
	"os"
	"syscall"
)

// Status returns how a process ended, as a shell counts: its exit status, or 128 and the number of the signal that killed it.
func Status(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}
