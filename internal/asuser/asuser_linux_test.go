package asuser

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

var (
	alice = Identity{UID: 61001, GID: 61001, Groups: []uint32{61010, 61011}}
	bob   = Identity{UID: 61002, GID: 61002}
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("acting as somebody else needs root")
	}
}

// A tree for the tests, which everybody may enter.
func open755(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t *testing.T, name string, mode os.FileMode, uid, gid int) string {
	t.Helper()
	if err := os.WriteFile(name, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chown(name, uid, gid), os.Chmod(name, mode)); err != nil {
		t.Fatal(err)
	}
	return name
}

// What the kernel says to each of alice's and bob's attempts.
func TestKernelJudgesByTheUsersRights(t *testing.T) {
	needRoot(t)
	dir := open755(t)
	shut := filepath.Join(dir, "shut")
	if err := os.Mkdir(shut, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(shut, "inside"), 0o666, 0, 0)
	if err := errors.Join(os.Chown(shut, 61001, 61001), os.Chmod(shut, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what  string
		file  string
		flags int
		alice error
		bob   error
	}{
		{"a file that is alice's alone", write(t, filepath.Join(dir, "own"), 0o600, 61001, 61001), os.O_RDWR, nil, unix.EACCES},
		{"root's file", write(t, filepath.Join(dir, "root"), 0o600, 0, 0), os.O_RDONLY, unix.EACCES, unix.EACCES},
		{"a file of the group root", write(t, filepath.Join(dir, "rootgroup"), 0o660, 0, 0), os.O_RDONLY, unix.EACCES, unix.EACCES},
		{"a file that all may read", write(t, filepath.Join(dir, "read"), 0o644, 0, 0), os.O_RDONLY, nil, nil},
		{"the same for writing", filepath.Join(dir, "read"), os.O_WRONLY, unix.EACCES, unix.EACCES},
		{"a file of a group of alice's", write(t, filepath.Join(dir, "group"), 0o060, 0, 61011), os.O_RDWR, nil, unix.EACCES},
		{"a file of bob's primary group", write(t, filepath.Join(dir, "primary"), 0o060, 0, 61002), os.O_RDWR, unix.EACCES, nil},
		{"a file in a directory that only alice may search", filepath.Join(shut, "inside"), os.O_RDWR, nil, unix.EACCES},
		{"a new file in root's directory", filepath.Join(dir, "new"), os.O_CREATE | os.O_RDWR, unix.EACCES, unix.EACCES},
	} {
		for _, who := range []struct {
			id   Identity
			want error
		}{{alice, tt.alice}, {bob, tt.bob}} {
			err := Do(who.id, func() error {
				f, err := os.OpenFile(tt.file, tt.flags, 0o600)
				if err == nil {
					err = f.Close()
				}
				return err
			})
			if !errors.Is(err, who.want) || who.want == nil && err != nil {
				t.Errorf("%s: user %d got %v, want %v", tt.what, who.id.UID, err, who.want)
			}
		}
		if f, err := os.OpenFile(tt.file, tt.flags&^os.O_CREATE, 0); err != nil && tt.flags&os.O_CREATE == 0 {
			t.Errorf("%s: root got %v", tt.what, err)
		} else if err == nil {
			f.Close()
		}
	}
}

// What a user makes is the user's.
func TestNewFilesBelongToTheUser(t *testing.T) {
	needRoot(t)
	dir := open755(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "new")
	if err := Do(alice, func() error { return os.WriteFile(name, nil, 0o600) }); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	if st.Uid != alice.UID || st.Gid != alice.GID {
		t.Errorf("the file belongs to %d:%d", st.Uid, st.Gid)
	}
}

// statuses returns what /proc says of the identity of each thread of the process.
func statuses(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile("/proc/self/task/" + e.Name() + "/status")
		if err != nil {
			continue // it has just ended
		}
		all[e.Name()] = identityOf(string(b))
	}
	return all
}

// identityOf picks the lines that make up an identity.
func identityOf(status string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(status, "\n") {
		for _, field := range []string{"Uid:", "Gid:", "Groups:", "CapEff:", "CapPrm:"} {
			if strings.HasPrefix(line, field) {
				b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
			}
		}
	}
	return b.String()
}

// mine is the identity of the calling thread.
func mine() (string, error) {
	b, err := os.ReadFile("/proc/thread-self/status")
	return identityOf(string(b)), err
}

// Within f the thread is the user's with regard to files, still the server's in all else, and can do nothing special; and it is not the main thread.
func TestThreadHasTheIdentity(t *testing.T) {
	needRoot(t)
	err := Do(alice, func() error {
		if unix.Gettid() == os.Getpid() {
			t.Error("f runs on the main thread")
		}
		got, err := mine()
		for _, want := range []string{"Uid: 0 0 0 61001\n", "Gid: 0 0 0 61001\n", "Groups: 61010 61011\n", "CapEff: 0000000000000000\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// While many act as many, no thread but theirs is anybody else, none of them is the main thread, and afterwards none is.
func TestNoThreadKeepsAnIdentity(t *testing.T) {
	needRoot(t)
	server, err := mine()
	if err != nil {
		t.Fatal(err)
	}
	const calls = 60
	var inside, all sync.WaitGroup
	inside.Add(calls)
	leave := make(chan struct{})
	var mu sync.Mutex
	threads := make(map[string]bool)
	for n := range calls {
		all.Go(func() {
			id := Identity{UID: 61100 + uint32(n), GID: 61100}
			err := Do(id, func() error {
				mu.Lock()
				threads[fmt.Sprint(unix.Gettid())] = true
				mu.Unlock()
				inside.Done()
				<-leave
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	inside.Wait()
	if threads[fmt.Sprint(os.Getpid())] {
		t.Error("one of them is the main thread")
	}
	for tid, got := range statuses(t) {
		if (got == server) == threads[tid] {
			t.Errorf("thread %s, acting: %v, is\n%s", tid, threads[tid], got)
		}
	}
	close(leave)
	all.Wait()
	for tid, got := range statuses(t) {
		if got != server {
			t.Errorf("afterwards thread %s is\n%s", tid, got)
		}
	}
	// And the threads go away.
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left := 0
		for tid := range statuses(t) {
			if threads[tid] {
				left++
			}
		}
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d threads are still there", left, calls)
		}
	}
}

// A process whose goroutines run on few threads meets its main thread soon: Do must not use it.
func TestMainThreadIsLeftAlone(t *testing.T) {
	needRoot(t)
	const child = "ASUSER_TEST_CHILD"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMainThreadIsLeftAlone$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1", "GOMAXPROCS=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "main thread was met") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	met := false
	for deadline := time.Now().Add(patience); !met && time.Now().Before(deadline); {
		// The goroutine of a thread starts where this one yields: on its own thread, which is the main one at times.
		met = unix.Gettid() == os.Getpid()
		err := Do(alice, func() error {
			if unix.Gettid() == os.Getpid() {
				return errors.New("f runs on the main thread")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
		forget()
	}
	if met {
		t.Log("main thread was met")
	}
}

// forget has the next Do start a thread of its own.
func forget() {
	idle.mu.Lock()
	defer idle.mu.Unlock()
	idle.threads = nil
}

// The error is f's own, and the thread is used again.
func TestErrorsAndReuse(t *testing.T) {
	needRoot(t)
	mistake := errors.New("mistake")
	for n := range 100 {
		id := []Identity{alice, bob}[n%2]
		var got string
		err := Do(id, func() (err error) {
			got, err = mine()
			return errors.Join(err, mistake)
		})
		if !errors.Is(err, mistake) {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("Uid: 0 0 0 %d\n", id.UID); !strings.Contains(got, want) {
			t.Fatalf("call %d: no %q in\n%s", n, want, got)
		}
	}
}

// A function that ends its goroutine ends the thread, not the caller.
func TestGoexit(t *testing.T) {
	needRoot(t)
	if err := Do(alice, func() error { runtime.Goexit(); return nil }); !errors.Is(err, errEnded) {
		t.Errorf("got %v", err)
	}
}

// Numbers that the kernel takes for "leave it" are refused.
func TestNoSuchUser(t *testing.T) {
	needRoot(t)
	for _, id := range []Identity{{UID: none, GID: 1}, {UID: 1, GID: none}} {
		if err := Do(id, func() error { t.Error("it ran"); return nil }); !errors.Is(err, linux.EINVAL) {
			t.Errorf("%+v: %v", id, err)
		}
	}
}

// The server's own user needs nothing, whatever the groups: f runs where its caller does.
func TestOwnUser(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := 0
	if err := Do(Identity{UID: uint32(os.Geteuid()), GID: 12345}, func() error { tid = unix.Gettid(); return nil }); err != nil || tid != unix.Gettid() {
		t.Errorf("thread %d, %v", tid, err)
	}
}

// A server that is not root can act for itself alone, and says so.
func TestWithoutRoot(t *testing.T) {
	const child = "ASUSER_TEST_CHILD"
	if os.Getenv(child) != "" {
		for range 3 {
			err := Do(bob, func() error { t.Error("it ran as bob"); return nil })
			if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "cannot act for user 61002") {
				t.Errorf("got %v", err)
			}
		}
		if err := Can(Identity{UID: 61001}); err != nil {
			t.Error(err)
		}
		return
	}
	needRoot(t)
	// The test binary lies where only root may go: have a copy.
	bin := filepath.Join(open755(t), "test")
	b, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(bin, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-test.run=^TestWithoutRoot$")
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.Dir = filepath.Dir(bin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 61001, Gid: 61001}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func BenchmarkDo(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("acting as somebody else needs root")
	}
	b.ReportAllocs()
	f := func() error { return nil }
	for b.Loop() {
		if err := Do(alice, f); err != nil {
			b.Fatal(err)
		}
	}
}
