package pty

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/clone9p/clone9p/clonefs"
	"golang.org/x/sys/unix"
)

// A procStat is what is to be known of a process here.
type procStat struct{ pid, group, session int }

// readStat reads /proc/PID/stat, proc_pid_stat(5).
func readStat(pid int) (s procStat, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, false
	}
	text := string(b)
	i := strings.LastIndexByte(text, ')') // the program's name may hold anything
	if i < 0 {
		return s, false
	}
	f := strings.Fields(text[i+1:])
	if len(f) < 4 || f[0] == "Z" || f[0] == "X" {
		return s, false
	}
	s.pid = pid
	s.group, _ = strconv.Atoi(f[2])
	s.session, _ = strconv.Atoi(f[3])
	return s, true
}

// signalAll sends a signal to the processes that want chooses, as far as owner might send it to them himself (kill(2)). It returns to how many
// it went and whether there was one that was chosen. A process is held by a descriptor while it is looked at, so that no other gets what was meant for it.
func signalAll(want func(procStat) bool, owner clonefs.User, sig syscall.Signal) (sent int, found bool) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, false
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, ok := readStat(pid); !ok || !want(s) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if s, ok := readStat(pid); ok && want(s) { // still
			found = true
			if mayKill(owner, pid) && unix.PidfdSendSignal(fd, sig, nil, 0) == nil {
				sent++
			}
		}
		unix.Close(fd)
	}
	return sent, found
}

// mayKill reports whether the process is one to which owner might send signals: its real or saved uid is his.
func mayKill(owner clonefs.User, pid int) bool {
	if owner.UID == 0 {
		return true
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), "\nUid:")
	f := strings.Fields(rest)
	if len(f) < 3 {
		return false
	}
	uid := strconv.FormatUint(uint64(owner.UID), 10)
	return f[0] == uid || f[2] == uid // real, effective, saved
}
