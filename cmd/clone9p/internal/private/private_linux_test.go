package private

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// The test runs its own program again in three roles, as itself and, where it is root, as an ordinary user as well.
const role = "CLONE9P_PRIVATE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch r, arg, _ := strings.Cut(os.Getenv(role), " "); r {
	case "":
		os.Exit(m.Run())
	case "serve":
		serveRole()
	case "enter":
		enterRole(arg)
	case "ignore":
		if err := json.NewEncoder(os.Stdout).Encode(look()); err != nil {
			os.Exit(9)
		}
		os.Exit(7)
	}
}

// A view is what a process in some namespace sees.
type view struct {
	PID, UID     int
	Netns        string
	Admin        bool // it may administer its network
	Up           bool // lo is up
	Note, File   string
	Inside       bool
	BlockedIsNil bool // no signal is blocked
}

func look() view {
	v := view{PID: os.Getpid(), UID: os.Getuid(), Admin: MayAdminister() == nil}
	v.Netns, _ = os.Readlink("/proc/self/ns/net")
	b, _ := os.ReadFile("/proc/self/status")
	v.BlockedIsNil = strings.Contains(string(b), "SigBlk:\t0000000000000000\n")
	return v
}

// serveRole enters a private network namespace, shows what it sees there, and ends with status 5 after its standard input.
func serveRole() {
	var note string
	files, inside, err := Inherited(&note)
	if err != nil {
		fmt.Println(err)
		os.Exit(9)
	}
	if !inside {
		f, err := os.Open("/proc/version")
		if err == nil {
			var st int
			var started bool
			if st, started, err = Enter([]*os.File{f}, "a note", nil); started {
				os.Exit(st)
			}
		}
		fmt.Println(err)
		os.Exit(9)
	}
	err = LoopbackUp()
	v := look()
	v.Up, v.Inside, v.Note = err == nil, inside, note
	if len(files) == 1 {
		b, _ := io.ReadAll(files[0])
		v.File = string(b)
	}
	json.NewEncoder(os.Stdout).Encode(v)
	io.Copy(io.Discard, os.Stdin)
	os.Exit(5)
}

// enterRole runs a third in the namespace of the process pid.
func enterRole(pid string) {
	var n int
	fmt.Sscan(pid, &n)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"=ignore")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := Start(cmd, n); err != nil {
		fmt.Println(err)
		os.Exit(9)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		fmt.Println(err)
		os.Exit(9)
	}
	os.Exit(Status(cmd.ProcessState))
}

// again is this program in a role. Whoever uid is can run it: by a descriptor, since its directory is open to nobody else.
func again(t *testing.T, r string, uid int) *exec.Cmd {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { self.Close() })
	cmd := exec.Command("/proc/self/fd/3")
	cmd.Args[0] = os.Args[0]
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = append(os.Environ(), role+"="+r)
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	if uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return cmd
}

func TestPrivate(t *testing.T) {
	uids := []int{os.Getuid()}
	if os.Getuid() == 0 {
		uids = append(uids, 54321)
	}
	for _, uid := range uids {
		t.Run(fmt.Sprintf("uid %d", uid), func(t *testing.T) { testPrivate(t, uid) })
	}
}

// start starts a server and returns it with what it sees.
func start(t *testing.T, uid int) (cmd *exec.Cmd, in io.WriteCloser, out *bufio.Reader, v view) {
	t.Helper()
	cmd = again(t, "serve", uid)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	out = bufio.NewReader(pipe)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("the server said %q, %v", line, err)
	}
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		if strings.HasPrefix(line, ErrRefused.Error()) {
			if os.Getenv("CI") != "" {
				t.Fatalf("this kernel refuses: %s", line)
			}
			t.Skipf("this kernel refuses: %s", line)
		}
		t.Fatalf("the server said %q", line)
	}
	return cmd, in, out, v
}

func testPrivate(t *testing.T, uid int) {
	cmd, in, _, v := start(t, uid)
	mine, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if v.Netns == mine || !v.Admin || !v.Up || !v.Inside || v.UID != uid || v.Note != "a note" || !strings.HasPrefix(v.File, "Linux") {
		t.Errorf("inside it is %+v", v)
	}
	if samePID := v.PID == cmd.Process.Pid; samePID != (uid == 0) {
		t.Errorf("process %d became %d", cmd.Process.Pid, v.PID)
	}

	// Its user can run a command in there, with the right to administer that network.
	enter := again(t, fmt.Sprintf("enter %d", v.PID), uid)
	out, err := enter.Output()
	var in2 view
	if json.Unmarshal(out, &in2) != nil || in2.Netns != v.Netns || !in2.Admin || in2.UID != uid || !in2.BlockedIsNil {
		t.Errorf("a command inside saw %s", out)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("it ended with %v, want status 7", err)
	}
	// Another ordinary user cannot.
	if os.Getuid() == 0 {
		enter := again(t, fmt.Sprintf("enter %d", v.PID), 54322)
		if out, err := enter.Output(); err == nil || !strings.Contains(string(out), "only its own user and root can") {
			t.Errorf("somebody else: %s, %v", out, err)
		}
	}

	in.Close()
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("the server ended with %v, want status 5", err)
	}
}

// A signal reaches the second run, and what ends it ends the first with the status that a shell gives.
func TestSignalIsPassedOn(t *testing.T) {
	uid := os.Getuid()
	if uid == 0 {
		uid = 54321
	}
	cmd, _, _, _ := start(t, uid)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 128+int(syscall.SIGTERM) {
		t.Errorf("ended with %v, want status 143", err)
	}
}

// When the first run is killed outright the second goes too: its standard output ends.
func TestSecondRunDiesWithTheFirst(t *testing.T) {
	uid := os.Getuid()
	if uid == 0 {
		uid = 54321
	}
	cmd, _, out, v := start(t, uid)
	if v.PID == cmd.Process.Pid {
		t.Fatal("there is no second process")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.ReadString('\n'); err != io.EOF {
		t.Errorf("read %v, want the end", err)
	}
}

func TestInheritedRefusesNonsense(t *testing.T) {
	for _, s := range []string{"", "nonsense", `{"Fds":[1],"Note":"\"\""}`, `{"Fds":[],"Note":7}`} {
		t.Setenv(env, s)
		var note string
		if _, _, err := Inherited(&note); err == nil || !strings.Contains(err.Error(), env) {
			t.Errorf("%q: %v", s, err)
		}
		if _, ok := os.LookupEnv(env); ok {
			t.Errorf("%q: still in the environment", s)
		}
	}
	var note string
	if _, inside, err := Inherited(&note); inside || err != nil {
		t.Errorf("without it: %v, %v", inside, err)
	}
}
