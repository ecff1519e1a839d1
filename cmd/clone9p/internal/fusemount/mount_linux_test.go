package fusemount

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clone9p/clone9p/client"
	"golang.org/x/sys/unix"
)

// catchUSR1 has SIGUSR1 interrupt and not end this process.
func catchUSR1() { signal.Notify(make(chan os.Signal, 1), unix.SIGUSR1) }

var dialects = []client.Dialect{client.P9L, client.P9u, client.P9}

// What only looks makes no conversation, in no dialect.
func TestLooking(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.String(), func(t *testing.T) {
			f := mounted(t, settings{dialect: d})
			f.mustSh("ls -laR; find . -type f; test -r mem/clone; test -w mem/clone; stat mem/clone; df .; cat README devices mem/help")
			if n := f.mem.Clones(); n != 0 {
				t.Errorf("%d conversations were made", n)
			}
			if got := f.mustSh("ls -a"); got != ".\n..\nREADME\ndevices\nmem" {
				t.Errorf("ls gives %q", got)
			}
			if got := f.mustSh("grep mem devices"); got != "mem 0 1000 a loopback in memory" {
				t.Errorf("grep gives %q", got)
			}
			if out, err := f.sh("cat nothing"); err == nil || !strings.HasSuffix(out, "No such file or directory") {
				t.Errorf("a file that is not there: %q", out)
			}
			f.mustSh("cd mem && pwd -P && ls $PWD && test . -ef $PWD")
		})
	}
}

// An open of clone is a conversation until it is closed, once; the descriptor is its ctl, and fstat tells of clone.
func TestClone(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.String(), func(t *testing.T) {
			f := mounted(t, settings{dialect: d})
			fd := f.open("mem/clone", unix.O_RDWR)
			if got := f.read(fd, 4096); got != "0\n" {
				t.Errorf("clone reads as %q", got)
			}
			if got := f.read(fd, 4096); got != "" {
				t.Errorf("then %q", got)
			}
			p := make([]byte, 10)
			if n, err := unix.Pread(fd, p, 1); n != 1 || err != nil || p[0] != '\n' {
				t.Errorf("pread at 1 gives %d, %v", n, err)
			}
			var open, walked unix.Stat_t
			if err := errors.Join(unix.Fstat(fd, &open), unix.Stat(filepath.Join(f.dir, "mem/clone"), &walked)); err != nil {
				t.Fatal(err)
			}
			if open.Ino != walked.Ino || open.Mode != walked.Mode || open.Size != 0 {
				t.Errorf("fstat %+v, stat %+v", open, walked)
			}
			if got := f.mustSh("cat mem/0/ctl; ls mem/0 | head -n1; exec 3<>mem/clone; read n <&3; echo $n; cat mem/$n/status"); !strings.HasPrefix(got, "0\nctl\n1\nmem/1 ") {
				t.Errorf("the shell says %q", got)
			}
			dup, err := unix.Dup(fd)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
			eventually(t, "the shell's conversation has ended", func() bool { return f.mem.Live() == 1 })
			unix.Close(dup)
			f.gone()
			if f.mem.Clones() != 2 || f.mem.Closes() != 2 {
				t.Errorf("%d conversations were made and %d closed", f.mem.Clones(), f.mem.Closes())
			}
			if out, err := f.sh("cat mem/0/ctl"); err == nil {
				t.Errorf("ctl of what has ended reads as %q", out)
			}
			f.open("mem/clone", unix.O_RDWR) // and closed by the end of the mount
		})
	}
}

// The ways in which shells write, each a message; and what a write or a change is refused with.
func TestWriting(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.String(), func(t *testing.T) {
			f := mounted(t, settings{dialect: d})
			ctl, dir := f.clone()
			for i, form := range []string{"echo %s > ctl", "echo %s 1<> ctl", "echo %s | dd of=ctl 2>/dev/null", "echo %s > clone", "echo %s >> ctl"} {
				in := dir
				if strings.HasSuffix(form, "clone") {
					in = "mem"
				}
				word := "echo note" + strconv.Itoa(i)
				f.mustSh("cd " + in + " && " + fmt.Sprintf(form, word))
				if got := f.mustSh("cat " + dir + "/note"); in == dir && got != "note"+strconv.Itoa(i) {
					t.Errorf("after %s the note is %q", form, got)
				}
			}
			if err := errors.Join(unix.Ftruncate(ctl, 0), unix.Truncate(filepath.Join(f.dir, dir, "tx"), 0), unix.Fsync(ctl)); err != nil {
				t.Error(err)
			}
			for msg, want := range map[string]unix.Errno{"bogus": unix.EINVAL, "busy": unix.EBUSY, "count x": unix.EINVAL, "fail 112": unix.EHOSTDOWN, "fail 28": unix.ENOSPC} {
				_, err := unix.Write(ctl, []byte(msg))
				if d == client.P9 && strings.HasPrefix(msg, "bogus") {
					want = unix.EIO // it carries words alone
				}
				if d == client.P9 && err != nil {
					continue
				}
				if err != want {
					t.Errorf("%s fails with %v, want %v", msg, err, want)
				}
			}
			path := func(name string) string { return filepath.Join(f.dir, dir, name) }
			if err := unix.Chmod(path("ctl"), 0o600); err != nil {
				t.Error(err)
			}
			if got := f.mustSh("stat -c %a " + dir + "/note"); got != "600" {
				t.Errorf("the mode is %s", got)
			}
			if d != client.P9 {
				if err := unix.Chown(path("ctl"), 1000, -1); err != nil {
					t.Error(err)
				}
				if got := f.mustSh("stat -c %u " + dir + "/note"); got != "1000" {
					t.Errorf("the owner is %s", got)
				}
			}
			for what, err := range map[string]error{
				"mkdir": unix.Mkdir(path("new"), 0o755), "symlink": unix.Symlink("a", path("new")), "link": unix.Link(path("ctl"), path("new")),
				"rename": unix.Rename(path("ctl"), path("new")), "unlink": unix.Unlink(path("ctl")), "rmdir": unix.Rmdir(filepath.Join(f.dir, dir)),
				"mknod": unix.Mknod(path("new"), unix.S_IFIFO|0o600, 0), "chmod of clone": unix.Chmod(filepath.Join(f.dir, "README"), 0o777),
			} {
				if err == nil || errors.Is(err, unix.EIO) && d != client.P9 {
					t.Errorf("%s: %v", what, err)
				}
			}
			if fd, err := unix.Open(path("new"), unix.O_CREAT|unix.O_WRONLY, 0o644); err == nil {
				unix.Close(fd)
				t.Error("a file was made")
			}
			buf := make([]byte, 100)
			if _, err := unix.Getxattr(path("ctl"), "security.capability", buf); err != unix.EOPNOTSUPP {
				t.Errorf("getxattr: %v", err)
			}
			f.write(ctl, "echo still there")
		})
	}
}

// One read gives one record, or its beginning, whatever the buffer.
func TestRecords(t *testing.T) {
	f := mounted(t, settings{})
	_, dir := f.clone()
	conv := f.mem.Conv(0)
	rx := f.open(dir+"/rx", unix.O_RDONLY)
	record := func(n int) string { return strings.Repeat(string(rune('a'+n%26)), n) }
	for _, size := range []int{2000, 4096, 5000, 128 << 10, 1 << 20, 1<<20 + 7, 3 << 20} {
		for _, n := range []int{1, 60, 1514, 2000} {
			for range 2 {
				conv.Push([]byte(record(n)))
			}
			for range 2 {
				if got := f.read(rx, size); got != record(n) {
					t.Fatalf("a read of %d gives %d bytes, want the record of %d", size, len(got), n)
				}
			}
		}
	}
	conv.Push([]byte(record(100)))
	conv.Push([]byte(record(50)))
	if a, b := f.read(rx, 10), f.read(rx, 1000); a != record(100)[:10] || b != record(50) {
		t.Errorf("a short read and the next give %q, %q", a, b)
	}
	// The largest that one message carries, from a buffer that begins amid a page, whose requests the kernel cuts shorter than that: as
	// long as the rest of the buffer it would be followed by another read.
	at := unix.Getpagesize() - 100
	for _, n := range []int{f.conn.MaxIO(), 1<<20 - at%4096, 1<<20 - 1000} {
		conv.Push([]byte(record(min(n, f.conn.MaxIO()))))
		p, err := unix.Mmap(-1, 0, 2<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		got, err := retried(func() (int, error) { return unix.Read(rx, p[at:at+1<<20]) })
		if err != nil || got > n || got < n-4096 {
			t.Errorf("a record of %d bytes is read as %d, %v", n, got, err)
		}
		unix.Munmap(p)
	}
	// Writes are records too.
	tx := f.open(dir+"/tx", unix.O_WRONLY)
	for _, n := range []int{1, 4096, 5000, 100_000, 500_000} {
		f.write(tx, record(n))
		if got := f.read(rx, 1<<20); got != record(n) {
			t.Errorf("%d bytes written are read as %d", n, len(got))
		}
	}
}

// start starts n readers of a file in a process of their own.
func (f *fixture) start(n int, name string) (*exec.Cmd, *bufio.Scanner) {
	f.t.Helper()
	cmd := exec.Command("/proc/self/exe", filepath.Join(f.dir, name))
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", readersEnv, n), "GORACE=atexit_sleep_ms=0") // else it holds the mount for a second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

// wantLine wants the next line of a process.
func wantLine(t testing.TB, s *bufio.Scanner, want string) {
	t.Helper()
	if !s.Scan() || s.Text() != want {
		t.Fatalf("the process says %q (%v), want %q", s.Text(), s.Err(), want)
	}
}

// blocked waits until n threads of a process are in read(2), and gives one of them.
func blocked(t testing.TB, pid, n int) (tid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d threads of process %d read", n, pid), func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
		reading := 0
		for _, task := range tasks {
			b, _ := os.ReadFile(task)
			if nr, _, _ := strings.Cut(string(b), " "); nr == strconv.Itoa(unix.SYS_READ) {
				reading++
				tid, _ = strconv.Atoi(filepath.Base(filepath.Dir(task)))
			}
		}
		return reading >= n
	})
	return tid
}

// A signal interrupts a read, which has lost nothing; those that end the process end it at once.
func TestSignals(t *testing.T) {
	f := mounted(t, settings{})
	_, dir := f.clone()
	conv := f.mem.Conv(0)
	cmd, lines := f.start(1, dir+"/rx")
	wantLine(t, lines, "open")
	interrupt := func(tid int) { // and not whichever thread of the process
		if err := unix.Tgkill(cmd.Process.Pid, tid, unix.SIGUSR1); err != nil {
			t.Error(err)
		}
	}
	for i := range 20 {
		interrupt(blocked(t, cmd.Process.Pid, 1))
		wantLine(t, lines, "interrupted")
		text := fmt.Sprintf("record %d", i)
		conv.Push([]byte(text))
		wantLine(t, lines, "read "+text)
	}
	// A record at the very moment of a signal is read once, now or next.
	for i := range 50 {
		go interrupt(blocked(t, cmd.Process.Pid, 1))
		text := fmt.Sprintf("at once %d", i)
		conv.Push([]byte(text))
		for {
			if !lines.Scan() {
				t.Fatal(lines.Err())
			}
			if lines.Text() == "read "+text {
				break
			}
			if lines.Text() != "interrupted" {
				t.Fatalf("the reader says %q", lines.Text())
			}
		}
	}
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGKILL} {
		cat := exec.Command("cat", filepath.Join(f.dir, dir, "rx"))
		if err := cat.Start(); err != nil {
			t.Fatal(err)
		}
		blocked(t, cat.Process.Pid, 1)
		begin := time.Now()
		cat.Process.Signal(sig)
		cat.Wait()
		t.Logf("%v to the end of the process: %v", sig, time.Since(begin))
		eventually(t, "the dead reader's file is closed", func() bool { return conv.Readers() == 1 })
	}
	cmd.Process.Kill()
	eventually(t, "no reader is left", func() bool { return conv.Readers() == 0 })
}

// An open that waits for the device is given up a moment after the process was told to end, and leaves no conversation.
func TestBlockedOpen(t *testing.T) {
	waits := make(chan struct{}, 1)
	f := mounted(t, settings{onClone: func(ctx context.Context, _ int) error {
		waits <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}})
	cat := exec.Command("cat", filepath.Join(f.dir, "mem/clone"))
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	<-waits
	cat.Process.Signal(unix.SIGINT)
	if err := cat.Wait(); err == nil {
		t.Error("an open that was interrupted succeeds")
	}
	if f.mem.Live() != 0 || f.mem.Clones() != 0 {
		t.Errorf("%d conversations were made, %d live", f.mem.Clones(), f.mem.Live())
	}
	f.mustSh("ls mem")
}

// Two thousand blocked reads take few threads and little memory, and are in nobody's way.
func TestManyReaders(t *testing.T) {
	const many = 2000
	f := mounted(t, settings{})
	_, dir := f.clone()
	conv := f.mem.Conv(0)
	cmd, lines := f.start(many, dir+"/rx")
	for range many {
		wantLine(t, lines, "open")
	}
	blocked(t, cmd.Process.Pid, many)
	eventually(t, "the readers wait at the device", func() bool { return conv.Readers() == many })
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) > 200 {
		t.Errorf("%d threads serve %d blocked reads (%v)", len(tasks), many, err)
	}
	t.Logf("%d threads", len(tasks))
	f.mustSh("ls -l " + dir + "; cat " + dir + "/status; echo echo x > " + dir + "/ctl")
	conv.Push([]byte("all"))
	for range many {
		wantLine(t, lines, "read all")
	}
	blocked(t, cmd.Process.Pid, many)
	conv.EndOfFile(io.EOF)
	for range many {
		wantLine(t, lines, "end")
	}
	eventually(t, "no reader is left", func() bool { return conv.Readers() == 0 })
}

// Reading and writing by one descriptor of data go on beside each other; it has no offset.
func TestReadBesideWrite(t *testing.T) {
	f := mounted(t, settings{})
	_, dir := f.clone()
	fd := f.open(dir+"/data", unix.O_RDWR)
	got := make(chan string)
	go func() { got <- f.read(fd, 100) }()
	f.write(fd, "to itself")
	if s := <-got; s != "to itself" {
		t.Errorf("read %q", s)
	}
	if _, err := unix.Pread(fd, make([]byte, 10), 0); err != unix.ESPIPE {
		t.Errorf("pread: %v", err)
	}
	if got := f.mustSh("exec 3<>" + dir + "/data; cat <&3 & sleep 0.05; echo hello >&3; sleep 0.05; kill $!; wait"); got != "hello" {
		t.Errorf("a shell reads %q", got)
	}
}

// An open as QEMU's is answered 0 where QEMU and its guest refill what was short, and lets go four times a second.
func TestQEMU(t *testing.T) {
	f := mounted(t, settings{})
	_, dir := f.clone()
	conv := f.mem.Conv(0)
	fd := f.open(dir+"/data", unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	pread := func(n int, off int64) (int, error) { return unix.Pread(fd, make([]byte, n), off) }
	guestCount := 512000 - guestIO
	for range 3 {
		conv.Push(make([]byte, 100))
		if n, err := retried(func() (int, error) { return pread(4096, 0) }); n != 100 || err != nil {
			t.Fatalf("read %d, %v", n, err)
		}
		for range 2 {
			if n, err := pread(3996, 100); n != 0 || err != nil {
				t.Errorf("the refill gives %d, %v", n, err)
			}
		}
		conv.Push(make([]byte, 60))
		if n, err := retried(func() (int, error) { return pread(guestCount, 0) }); n != 60 || err != nil {
			t.Fatalf("read %d, %v", n, err)
		}
		for _, count := range []int{guestCount - 60, guestCount} {
			if n, err := pread(count, 60); n != 0 || err != nil {
				t.Errorf("the refill of %d gives %d, %v", count, n, err)
			}
		}
	}
	begin := time.Now()
	if n, err := pread(3996, 100); err != unix.EINTR || time.Since(begin) > 10*time.Second {
		t.Errorf("a third refill gives %d, %v, after %v", n, err, time.Since(begin))
	}
	conv.Push(make([]byte, 7))
	if n, err := retried(func() (int, error) { return pread(4096, 0) }); n != 7 || err != nil {
		t.Errorf("then %d, %v", n, err)
	}
	if text := f.open("README", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW); true {
		var all []byte
		for off := int64(0); ; {
			p := make([]byte, 100)
			n, err := unix.Pread(text, p, off)
			if n <= 0 {
				if err != nil {
					t.Error(err)
				}
				break
			}
			all, off = append(all, p[:n]...), off+int64(n)
		}
		if want := f.mustSh("cat README"); string(all) != want+"\n" {
			t.Errorf("a text reads as %q, want %q", all, want)
		}
	}
}

// Directories are listed as they are, also large ones, and in small pieces.
func TestReadDir(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.String(), func(t *testing.T) {
			f := mounted(t, settings{dialect: d})
			const many = 100
			for range many {
				f.open("mem/clone", unix.O_RDWR)
			}
			fd := f.open("mem", unix.O_RDONLY|unix.O_DIRECTORY)
			for _, size := range []int{100, 32 << 10} {
				for range 2 { // once more after going back to the beginning
					var names []string
					buf := make([]byte, size)
					for {
						n, err := unix.Getdents(fd, buf)
						if err != nil {
							t.Fatal(err)
						}
						if n == 0 {
							break
						}
						_, _, names = unix.ParseDirent(buf[:n], -1, names)
					}
					slices.Sort(names)
					if len(names) != len(slices.Compact(names)) || len(names) < many+4 || !slices.Contains(names, "99") || !slices.Contains(names, "clone") {
						t.Errorf("%d names by pieces of %d: %q", len(names), size, names)
					}
					if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
						t.Fatal(err)
					}
				}
			}
			// To where telldir was.
			buf := make([]byte, 200)
			n, err := unix.Getdents(fd, buf)
			if err != nil {
				t.Fatal(err)
			}
			// linux_dirent64 of getdents64(2): inode, offset, length
			ino := func(p []byte) uint64 { return binary.NativeEndian.Uint64(p) }
			offset := func(p []byte) int64 { return int64(binary.NativeEndian.Uint64(p[8:])) }
			second := buf[binary.NativeEndian.Uint16(buf[16:]):]
			if _, err := unix.Seek(fd, offset(buf), io.SeekStart); err != nil {
				t.Fatal(err)
			}
			again := make([]byte, n)
			if _, err := unix.Getdents(fd, again); err != nil {
				t.Fatal(err)
			}
			if ino(again) != ino(second) || offset(again) != offset(second) {
				t.Errorf("after going back the entry is %d at %d, want %d at %d", ino(again), offset(again), ino(second), offset(second))
			}
		})
	}
}

// The server goes: what waits and what comes later fails at once, the log says so once, and it can be unmounted.
func TestServerGone(t *testing.T) {
	f := mounted(t, settings{})
	ctl, dir := f.clone()
	_, lines := f.start(1, dir+"/rx")
	wantLine(t, lines, "open")
	eventually(t, "the reader reads", func() bool { return f.mem.Conv(0).Readers() == 1 })
	f.srv.Shutdown(t.Context())
	wantLine(t, lines, "transport endpoint is not connected")
	if _, err := unix.Write(ctl, []byte("echo x")); err != unix.ENOTCONN {
		t.Errorf("a write: %v", err)
	}
	if _, err := os.Stat(f.dir); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("stat of the mount: %v", err)
	}
	unix.Close(ctl)
	if err := f.Unmount(); err != nil {
		t.Error(err)
	}
	if got := f.log.lines("the server is gone"); len(got) != 1 {
		t.Errorf("the log says %q", got)
	}
	if entries, err := os.ReadDir(f.dir); err != nil || len(entries) != 0 {
		t.Errorf("below it there is %v, %v", entries, err)
	}
}

// By this process and by another, beside a reader that goes when its read fails, and one that does not go.
func TestUnmount(t *testing.T) {
	for _, other := range []bool{false, true} {
		for _, stays := range []bool{false, true} {
			t.Run(fmt.Sprintf("other %v stays %v", other, stays), func(t *testing.T) {
				f := mounted(t, settings{})
				ctl, dir := f.clone()
				_, lines := f.start(1, dir+"/rx")
				wantLine(t, lines, "open")
				eventually(t, "the reader reads", func() bool { return f.mem.Conv(0).Readers() == 1 })
				if !stays {
					unix.Close(ctl)
				}
				detached := stays
				var err error
				if other {
					detached, err = Unmount(t.Context(), f.dir)
				} else {
					err = f.Mount.Unmount()
				}
				if err != nil || detached != stays {
					t.Errorf("unmounting: detached %v, %v", detached, err)
				}
				wantLine(t, lines, "transport endpoint is not connected")
				f.gone()
				if entries, err := os.ReadDir(f.dir); err != nil || len(entries) != 0 {
					t.Errorf("below it there is %v, %v", entries, err)
				}
				unix.Close(ctl)
				f.Wait()
				if got := f.log.lines("gone"); len(got) != 0 {
					t.Errorf("the log says %q", got)
				}
			})
		}
	}
}

// Who may not end a mount is told so, and it stays.
func TestUnmountOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to be somebody else")
	}
	f := mounted(t, settings{options: Options{AllowOther: true}})
	fd := f.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), endIoctl+1, 0); errno != unix.ENOTTY {
		t.Errorf("an ioctl: %v", errno)
	}
	asked := make(chan error)
	go func() { // ends with its thread, which is somebody else from here on
		runtime.LockOSThread()
		if err := syscall.Setfsuid(1000); err != nil {
			asked <- err
			return
		}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), endIoctl, 0)
		asked <- errno
	}()
	if err := <-asked; err != unix.EPERM {
		t.Errorf("another user's word: %v", err)
	}
	f.mustSh("cat README")
}
