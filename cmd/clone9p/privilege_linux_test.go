package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/clone9p/clone9p/cmd/clone9p/internal/privilege"
)

// A root's server has exactly the capabilities that its devices need as they are set: in effect, at hand and for what it executes.
func TestPrivileges(t *testing.T) {
	if !privilege.Droppable() {
		if os.Getenv("CI") != "" {
			t.Fatal("not root, or without the right to give capabilities up")
		}
		t.Skip("not root: there is nothing to give up")
	}
	held, err := privilege.Held()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		flags string
		keep  string
	}{
		{"--net host", "chown fowner net_admin"},
		{"--net private", "chown fowner net_admin"},
		{"--device ethfoo --net host", "net_admin"},
		{"--device ethfoo --net private", "net_admin"},
		{"--device ethfoo --net private --ethfoo-netns", "net_admin sys_admin sys_ptrace"},
		{"--device audio", ""},
		{"--device audio --audio-root /tmp", "dac_override"},
		{"--device audio --audio-pulse-server unix:/run/user/1000/pulse/native", "dac_override"},
		{"--device dmover", ""},
		{"--device dmover --dmover-root /tmp", "setuid setgid dac_override"},
		{"--device pty", "chown fowner"},
		{"--device pty --device dmover --dmover-root /tmp", "chown fowner setuid setgid dac_override"},
		{"--device pty --pty-exec any-local", "all"},
		{"--device dmover --keep-privileges", "all"},
		{"--net private --keep-privileges", "all"},
	} {
		t.Run(tt.flags, func(t *testing.T) {
			pid := serverProcess(t, strings.Fields(tt.flags)...)
			keep, err := privilege.Of(strings.Fields(tt.keep)...)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{
				"CapPrm": fmt.Sprintf("%016x", uint64(held&keep)), "CapEff": fmt.Sprintf("%016x", uint64(held&keep)), "CapBnd": fmt.Sprintf("%016x", uint64(held&keep)),
				"CapInh": strings.Repeat("0", 16), "CapAmb": strings.Repeat("0", 16), "NoNewPrivs": "1",
			}
			if keep == privilege.All { // as we are ourselves
				mine := statusOf(t, "/proc/self/status")
				for name := range want {
					want[name] = mine[name]
				}
			}
			threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
			if err != nil || len(threads) == 0 {
				t.Fatalf("the server's threads are %v, %v", threads, err)
			}
			seen := 0
			for _, thread := range threads {
				got := statusOf(t, thread)
				if got == nil { // it has ended
					continue
				}
				seen++
				for name, value := range want {
					if got[name] != value {
						t.Errorf("%s: %s is %s, want %s", thread, name, got[name], value)
					}
				}
			}
			if seen == 0 {
				t.Error("no thread was looked at")
			}
		})
	}
}

// statusOf reads a file of the form of /proc/PID/status, nil if that thread is gone.
func statusOf(t *testing.T, path string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}
