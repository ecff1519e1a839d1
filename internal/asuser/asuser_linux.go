//go:build linux && !386 && !arm && !mips && !mipsle

// (On the systems left out the calls below take 16 bits.)

package asuser

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"
)

// idleTime is how long a thread that nobody needs is kept.
const idleTime = 100 * time.Millisecond

// none is the user number that names nobody: asked to become it, setfsuid changes nothing and tells the present one.
const none = ^uint32(0)

// A thread is a goroutine locked to a thread of the kernel's. It belongs to one Do at a time, or is in idle.
type thread struct {
	jobs chan job
	done chan result
	own  Identity            // what it began with: the server's
	caps [2]unix.CapUserData // likewise
}

type job struct {
	id Identity
	f  func() error
}

// A result is what became of a job.
type result struct {
	err   error
	again bool // the thread can be used again
}

// idle are the threads that wait for work, the last used last.
var idle struct {
	mu      sync.Mutex // guards all below
	threads []*thread
}

var (
	errEnded    = errors.New("asuser: the function ended its goroutine")
	errIdentity = errors.New("asuser: the thread did not get its own identity back")
)

func do(id Identity, f func() error) error {
	if id.UID == uint32(os.Geteuid()) {
		return f()
	}
	if id.UID == none || id.GID == none {
		return p9ext.Errorf(linux.EINVAL, "cannot act for user %d of group %d: there is no such number", int32(id.UID), int32(id.GID))
	}
	t := take()
	t.jobs <- job{id, f}
	r := <-t.done
	if r.again {
		t.rest()
	}
	return r.err
}

// take returns a thread that waits for a job.
func take() *thread {
	idle.mu.Lock()
	defer idle.mu.Unlock()
	if n := len(idle.threads); n > 0 {
		t := idle.threads[n-1]
		idle.threads[n-1] = nil
		idle.threads = idle.threads[:n-1]
		return t
	}
	t := &thread{jobs: make(chan job), done: make(chan result, 1)}
	go t.run()
	return t
}

// rest puts t among those that wait.
func (t *thread) rest() {
	idle.mu.Lock()
	defer idle.mu.Unlock()
	idle.threads = append(idle.threads, t)
}

// retire takes t out of those that wait; it reports false when somebody has just taken it.
func (t *thread) retire() bool {
	idle.mu.Lock()
	defer idle.mu.Unlock()
	i := slices.Index(idle.threads, t)
	if i < 0 {
		return false
	}
	idle.threads = slices.Delete(idle.threads, i, i+1)
	return true
}

// run is the thread's goroutine. It returns with the lock held: Go then ends the thread.
func (t *thread) run() {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The main thread cannot be ended. Hold it until another goroutine has found a thread of its own.
		defer runtime.UnlockOSThread()
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(locked)
			t.work()
		}()
		<-locked
		return
	}
	t.work()
}

// work serves jobs until none come any more. The goroutine is locked to its thread.
func (t *thread) work() {
	begin := t.remember()
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	for {
		select {
		case j := <-t.jobs:
			if begin != nil {
				t.done <- result{err: begin}
				return
			}
			r := t.serve(j)
			t.done <- r
			if !r.again {
				return
			}
			timer.Reset(idleTime)
		case <-timer.C:
			if t.retire() {
				return
			}
			timer.Reset(idleTime) // a job is on its way
		}
	}
}

// serve does one job; the thread has its own identity again when it returns.
func (t *thread) serve(j job) result {
	err := t.become(j.id)
	if err == nil {
		returned := false
		defer func() {
			if !returned { // but ended its goroutine, as a test's Fatal does
				t.restore()
				t.done <- result{err: errEnded}
			}
		}()
		err = j.f()
		returned = true
	}
	if !t.restore() {
		return result{err: errors.Join(err, errIdentity)}
	}
	return result{err, true}
}

// remember notes what the thread begins with.
func (t *thread) remember() error {
	t.own = Identity{UID: fsuid(none), GID: fsgid(none)}
	groups, err := syscall.Getgroups() // of this thread, as they are the same everywhere by now
	if err != nil {
		return err
	}
	for _, g := range groups {
		t.own.Groups = append(t.own.Groups, uint32(g))
	}
	return unix.Capget(&capHeader, &t.caps[0])
}

// become gives the thread the identity id and no capability in effect: CAP_SYS_RESOURCE stands above quotas and reserved blocks,
// CAP_DAC_OVERRIDE above permissions, and not everywhere setfsuid takes them away.
func (t *thread) become(id Identity) error {
	err := setgroups(id.Groups)
	if err == nil {
		if fsgid(id.GID); fsgid(none) != id.GID {
			err = unix.EPERM
		}
	}
	if err == nil {
		if fsuid(id.UID); fsuid(none) != id.UID {
			err = unix.EPERM
		}
	}
	if err == nil {
		bare := t.caps
		bare[0].Effective, bare[1].Effective = 0, 0
		err = unix.Capset(&capHeader, &bare[0])
	}
	if err != nil {
		return p9ext.Errorf(linux.EPERM, "the server runs as user %d and cannot act for user %d (%w): run it as root, or as that user",
			t.own.UID, id.UID, err)
	}
	return nil
}

// restore gives the thread its own identity back and reports whether it has it.
func (t *thread) restore() bool {
	caps := t.caps
	if unix.Capset(&capHeader, &caps[0]) != nil {
		return false
	}
	fsuid(t.own.UID)
	fsgid(t.own.GID)
	if fsuid(none) != t.own.UID || fsgid(none) != t.own.GID {
		return false
	}
	// Becoming somebody else may have failed at the first step, for want of the right to change groups: then they are as they were.
	if groups, err := syscall.Getgroups(); err == nil && slices.EqualFunc(groups, t.own.Groups, func(a int, b uint32) bool { return uint32(a) == b }) {
		return true
	}
	return setgroups(t.own.Groups) == nil
}

var capHeader = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // of the calling thread; the kernel writes to it only to refuse the version

// The raw system calls concern this thread alone; those of package syscall would change all threads.

func setgroups(groups []uint32) error {
	var p unsafe.Pointer
	if len(groups) > 0 {
		p = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(p), 0); errno != 0 {
		return errno
	}
	return nil
}

// fsuid asks to become uid and returns who the thread was before.
func fsuid(uid uint32) uint32 {
	old, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
	return uint32(old)
}

func fsgid(gid uint32) uint32 {
	old, _, _ := unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
	return uint32(old)
}
