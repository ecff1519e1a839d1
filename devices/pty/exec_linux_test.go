package pty

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// The whole way of a command: its output, its end, the end of the file; then another one.
func TestExec(t *testing.T) {
	tt := terminal(t, me)
	for _, c := range []struct{ ctl, output, end string }{
		{"exec echo hello", "hello\r\n", "exit 0"},
		{"exec sh -c 'exit 7'", "", "exit 7"},
		{"exec sh -c 'kill -TERM $$'", "", "killed SIGTERM"},
		{"exec sh -c 'tty; test -t 0 && echo $HOME'", strings.TrimSpace(tt.text("slave")) + "\r\n" + home(t) + "\r\n", "exit 0"},
	} {
		rx := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)
		tt.say(c.ctl)
		if got := toEnd(t, rx); got != c.output {
			t.Errorf("%s prints %q, want %q", c.ctl, got, c.output)
		}
		waitUntil(t, c.end, func() bool { return strings.Contains(tt.text("status"), "\n"+c.end+"\n") })
		if s := tt.text("status"); !strings.Contains(s, " ended owner ") {
			t.Errorf("status:\n%s", s)
		}
		rx.Close()
	}
	// Who comes late gets what the kernel kept, and the end.
	tt.say("exec echo late")
	waitUntil(t, "its end", func() bool { return strings.Contains(tt.text("status"), "\nexit 0\n") })
	if got := toEnd(t, tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)); got != "late\r\n" {
		t.Errorf("late: %q", got)
	}
}

// home is where whoever runs the tests is at home.
func home(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "getent passwd $(id -u) | cut -d: -f6").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// A command is the owner: uid, gid, groups, and nothing of the server's.
func TestExecIsTheOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("runs commands as others, which root may")
	}
	t.Setenv("SECRET_OF_THE_SERVER", "1")
	tt := terminal(t, other)
	rx := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)
	tt.say("exec sh -c 'id -u; id -g; id -G; pwd; env | sort; ls -1 /proc/self/fd; cat /proc/self/status'")
	got := strings.ReplaceAll(toEnd(t, rx), "\r\n", "\n")
	if want := "61001\n61002\n61002 61003\n/\n"; !strings.HasPrefix(got, want) {
		t.Errorf("it says\n%s\nwant it to begin with\n%s", got, want)
	}
	if strings.Contains(got, "SECRET") || !strings.Contains(got, "\nUSER=other\n") || !strings.Contains(got, "\nPATH=/usr/local/bin:/usr/bin:/bin\n") {
		t.Errorf("the environment:\n%s", got)
	}
	if !strings.Contains(got, "\n0\n1\n2\n3\n") || strings.Contains(got, "\n4\n") {
		t.Errorf("descriptors:\n%s", got)
	}
	if !strings.Contains(got, "CapEff:\t0000000000000000") {
		t.Errorf("capabilities:\n%s", got)
	}
}

// Who may run commands.
func TestMayExec(t *testing.T) {
	unix, tls := "unix:pid=7", "tls:127.0.0.1:9"
	for _, c := range []struct {
		exec []string
		u    clonefs.User
		want string // part of the error; "" for none
	}{
		{nil, clonefs.User{UID: 1, Name: "a", Addr: unix, Proven: true}, "to nobody"},
		{[]string{"any-local"}, clonefs.User{UID: 1, Name: "a", Addr: unix, Proven: true}, ""},
		{[]string{"any-local"}, clonefs.User{UID: 1, Name: "a", Addr: tls, Proven: true}, "does not allow it to a"},
		{[]string{"any-local"}, clonefs.User{UID: 1, Name: "a", Addr: "tcp:127.0.0.1:9"}, "not proven over tcp"},
		{[]string{"a"}, clonefs.User{UID: 1, Name: "a", Addr: "tcp:127.0.0.1:9"}, "not proven over tcp"},
		{[]string{"b,a"}, clonefs.User{UID: 1, Name: "a", Addr: tls, Proven: true}, ""},
		{[]string{"b", "1"}, clonefs.User{UID: 1, Name: "a", Addr: unix, Proven: true}, ""},
		{[]string{"b"}, clonefs.User{UID: 1, Name: "a", Addr: unix, Proven: true}, "does not allow it to a"},
		{[]string{"any-local", "nobody"}, clonefs.User{UID: p9ext.NobodyUID, Name: "nobody", Addr: unix, Proven: true}, "not proven"},
	} {
		err := (&Config{Exec: c.exec}).mayExec(c.u)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, %s of %s: %v, want %q", c.exec, c.u.Name, c.u.Addr, err, c.want)
		}
	}
}

func TestExecRefuses(t *testing.T) {
	tt := terminal(t, me)
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	plain, script := filepath.Join(dir, "plain"), filepath.Join(dir, "script")
	os.WriteFile(plain, []byte("no program"), 0o644)
	os.WriteFile(script, []byte("\x00\x01\x02"), 0o755)
	for _, c := range []struct {
		line  string
		errno linux.Errno
		text  string
	}{
		{"exec", linux.EINVAL, "bad control message: exec wants CMD [ARGS...]"},
		{"exec ''", linux.EINVAL, "bad control message: exec wants CMD [ARGS...]: the command has no name"},
		{"exec /", linux.EISDIR, `cannot run "/": it is a directory`},
		{"exec no-such-command", linux.ENOENT, `cannot run "no-such-command": there is no such command`},
		{"exec /no/such/command", linux.ENOENT, `cannot run "/no/such/command": there is no such command`},
		{"exec " + plain, linux.EACCES, ""},
		{"exec " + script, linux.ENOEXEC, ""},
		{"exec echo " + strings.Repeat("x", 1<<20), linux.EMSGSIZE, ""},
	} {
		clonetest.CheckError(t, fmt.Sprintf("%.40s", c.line), tt.ctl.Say(c.line), c.errno, c.text)
	}
	tt.say("exec cat")
	clonetest.CheckError(t, "a second one", tt.ctl.Say("exec echo"), linux.EBUSY, "")
	rx, tx := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly), tt.c.MustOpen(tt.dir+"/tx", p9.WriteOnly)
	write(t, tx, "usable\n")
	until(t, rx, "usable\r\nusable\r\n")
	tt.say("eof")
	if got := toEnd(t, rx); got != "" {
		t.Errorf("then %q", got)
	}
}

func TestSignal(t *testing.T) {
	tt := terminal(t, me)
	clonetest.CheckError(t, "signal", tt.ctl.Say("signal TERM"), linux.ESRCH, "cannot send SIGTERM: no process has this terminal as its own")
	for _, bad := range []string{"NONE", "SIG", "0", "99", "-1", "''"} {
		if err := tt.ctl.Say("signal " + bad); !errors.Is(err, linux.EINVAL) || !strings.HasPrefix(err.Error(), "bad control message: signal wants NAME: ") {
			t.Errorf("signal %s: %v", bad, err)
		}
	}
	for _, c := range []struct{ signal, end string }{
		{"INT", "killed SIGINT"}, {"sigterm", "killed SIGTERM"}, {"9", "killed SIGKILL"}, {"HUP", "killed SIGHUP"},
	} {
		rx := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)
		tt.say("exec sh -c 'echo ready; exec sleep 1000'")
		until(t, rx, "ready")
		tt.say("signal " + c.signal)
		toEnd(t, rx)
		waitUntil(t, c.end, func() bool { return strings.Contains(tt.text("status"), "\n"+c.end+"\n") })
		rx.Close()
	}
}

// A signal of the owner's does not reach whom he may not kill.
func TestSignalIsTheOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("runs processes of two users, which root may")
	}
	victim := exec.Command("sleep", "1000")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		victim.Process.Kill()
		victim.Wait()
	}()
	want := func(s procStat) bool { return s.pid == victim.Process.Pid }
	if sent, found := signalAll(want, other, unix.SIGTERM); sent != 0 || !found {
		t.Errorf("a process of root's got %d signals of another's (found %v)", sent, found)
	}
	if sent, _ := signalAll(want, clonefs.User{UID: 0}, 0); sent != 1 {
		t.Errorf("root's own process is out of root's reach")
	}
}

// The end of a conversation ends all that runs in it, what ignores SIGHUP and what is in the background too, and no descriptor or zombie stays.
func TestCloseKills(t *testing.T) {
	files := openFiles(t)
	tt := terminal(t, me)
	rx := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)
	tt.say(`exec sh -c 'set -m; trap "" HUP TERM; sleep 1000 & sh -c "trap \"\" HUP; sleep 1000 & wait" & echo pids $$ $!; while :; do sleep 1; done'`)
	line := until(t, rx, "\r\n")
	var leader, background int
	if _, err := fmt.Sscanf(line, "pids %d %d", &leader, &background); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if err := tt.ctl.Say("hangup"); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, rx); !errors.Is(err, linux.EIO) {
		t.Errorf("the reader hears %v", err)
	}
	waitUntil(t, "the end of the session", func() bool {
		_, found := signalAll(func(s procStat) bool { return s.session == leader }, me, 0)
		return !found
	})
	waitUntil(t, "the number's end", func() bool { return len(tt.c.Convs("pty")) == 0 })
	waitUntil(t, "the leader to be reaped", func() bool { return syscall.Kill(leader, 0) == syscall.ESRCH })
	rx.Close()
	tt.ctl.Close()
	waitUntil(t, "descriptors", func() bool { return openFiles(t) <= files })
}

// What an earlier command left in the background ends with the conversation too, and what such commands left nothing of is not kept as a zombie.
func TestCloseKillsWhatEarlierCommandsLeft(t *testing.T) {
	tt := terminal(t, me)
	const leaves = `exec sh -c 'trap "" HUP; sleep 1000 </dev/null >/dev/null 2>&1 & echo pid $!'`
	var left []int
	for range 2 {
		rx := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)
		tt.say(leaves)
		var pid int
		if got := toEnd(t, rx); !strings.HasPrefix(got, "pid ") {
			t.Fatalf("it says %q", got)
		} else if _, err := fmt.Sscanf(got, "pid %d", &pid); err != nil {
			t.Fatal(err)
		}
		left = append(left, pid)
		waitUntil(t, "its end", func() bool { return strings.Contains(tt.text("status"), "\nexit 0\n") })
		rx.Close()
	}
	tt.say("exec true")
	var last int
	waitUntil(t, "its end", func() bool {
		s := tt.text("status")
		_, rest, _ := strings.Cut(s, "\npid ")
		_, err := fmt.Sscan(rest, &last)
		return err == nil && strings.Contains(s, "\nexit 0\n")
	})
	waitUntil(t, "the last one to be reaped", func() bool { return syscall.Kill(last, 0) == syscall.ESRCH })
	for _, pid := range left {
		if _, ok := readStat(pid); !ok {
			t.Errorf("process %d in the background has ended with its command", pid)
		}
	}
	tt.ctl.Close()
	for _, pid := range left {
		waitUntil(t, "the end of what is in the background", func() bool { _, ok := readStat(pid); return !ok })
	}
}

// A command that begins as soon as the one before has ended has an end of its own, however far the pump is with the former's.
func TestCommandsInARow(t *testing.T) {
	tt := terminal(t, me)
	ended := func() bool { return strings.Contains(tt.text("status"), " ended ") }
	tx := tt.c.MustOpen(tt.dir+"/tx", p9.WriteOnly)
	for range 50 {
		before := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)
		tt.say("exec true")
		waitUntil(t, "its end", ended)
		tt.say("exec cat")
		rx := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)
		write(t, tx, "x\n")
		if got := until(t, rx, "x\r\nx\r\n"); got != "x\r\nx\r\n" {
			t.Fatalf("read %q", got)
		}
		tt.say("eof")
		if got := toEnd(t, rx); got != "" {
			t.Fatalf("then read %q", got)
		}
		toEnd(t, before)
		waitUntil(t, "its end", ended)
		before.Close()
		rx.Close()
	}
}

// SIGHUP is what a program gets first, with time to say goodbye.
func TestCloseHangsUp(t *testing.T) {
	tt := terminal(t, me)
	rx := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)
	at := filepath.Join(t.TempDir(), "said")
	tt.say("exec sh -c 'trap \"echo goodbye >" + at + "; exit\" HUP; echo ready; while :; do sleep 0.01; done'")
	until(t, rx, "ready")
	rx.Close()
	if err := tt.ctl.Close(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "goodbye", func() bool {
		b, err := os.ReadFile(at)
		return err == nil && string(b) == "goodbye\n"
	})
}

// Twenty terminals at once, each by itself.
func TestMany(t *testing.T) {
	first := terminal(t, me)
	terms := []*term{first}
	for range 19 {
		terms = append(terms, openTerm(t, first.c))
	}
	for i, tt := range terms {
		tt.say("exec sh -c 'echo terminal " + strconv.Itoa(i) + "'")
	}
	for i, tt := range terms {
		if got, want := toEnd(t, tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)), fmt.Sprintf("terminal %d\r\n", i); got != want {
			t.Errorf("terminal %d says %q", i, got)
		}
	}
}
