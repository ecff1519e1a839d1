//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The process of a reader tells what it reads on its standard output, an item for each read(2): thread[4] n[4] data[n], little-endian.
// An n below 0 is an error number, negated. The first item says that the file is open.
const opened = ^uint32(0)

// readerMain is the process: guest reader [-buf N] [-threads N] [-pread] [-nonblock] [-again] PATH. Each thread reads until
// end of file or an error; the process ends with the last. With -again EINTR is no error: through FUSE the signals interrupt a read
// by which Go's scheduler has its threads make way.
func readerMain(args []string) {
	fs := flag.NewFlagSet("reader", flag.ExitOnError)
	size := fs.Int("buf", 4096, "")
	threads := fs.Int("threads", 1, "")
	pread := fs.Bool("pread", false, "")
	nonblock := fs.Bool("nonblock", false, "")
	again := fs.Bool("again", false, "")
	_ = fs.Parse(args) // exits on error

	flags := unix.O_RDONLY
	if *nonblock {
		flags |= unix.O_NONBLOCK
	}
	var mu sync.Mutex // guards standard output, an item at a time
	tell := func(thread uint32, n int, p []byte) {
		mu.Lock()
		defer mu.Unlock()
		head := binary.LittleEndian.AppendUint32(nil, thread)
		head = binary.LittleEndian.AppendUint32(head, uint32(int32(n)))
		if _, err := os.Stdout.Write(append(head, p...)); err != nil {
			os.Exit(1)
		}
	}
	fd, err := unix.Open(fs.Arg(0), flags, 0)
	if err != nil {
		tell(opened, -int(err.(unix.Errno)), nil)
		os.Exit(1)
	}
	tell(opened, 0, nil)
	var wg sync.WaitGroup
	for i := range *threads {
		wg.Go(func() {
			runtime.LockOSThread()
			p := make([]byte, *size)
			for {
				var n int
				var err error
				if *pread {
					n, err = unix.Pread(fd, p, 0)
				} else {
					n, err = unix.Read(fd, p)
				}
				if *again && err == unix.EINTR {
					continue
				}
				if err != nil {
					tell(uint32(i), -int(err.(unix.Errno)), nil)
					return
				}
				tell(uint32(i), n, p[:n])
				if n == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
}

// An item is what one read of a reader's thread gave.
type item struct {
	thread int
	data   []byte // empty at end of file
	err    error
}

// A reader is such a process, as its case sees it.
type reader struct {
	t     *T
	cmd   *exec.Cmd
	path  string
	items chan item // closed when the process has ended
}

// reader starts a process that reads path and returns when it has the file open. args are its flags.
func (t *T) reader(path string, args ...string) *reader {
	r := &reader{t: t, path: path, items: make(chan item, 1<<14)}
	if t.setup.FUSE {
		args = append(args, "-again")
	}
	r.cmd = exec.Command("/proc/self/exe", append(append([]string{"reader"}, args...), path)...)
	r.cmd.Stderr = os.Stderr
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatalf("pipe: %v", err)
	}
	r.cmd.Stdout = w
	t.start(r.cmd)
	w.Close()
	ready := make(chan error, 1)
	go func() { // ends with the process, which the case ends
		defer out.Close()
		defer close(r.items)
		defer close(ready)
		b := bufio.NewReader(out)
		for {
			thread, it, err := readItem(b)
			switch {
			case err != nil:
				return
			case thread == opened:
				ready <- it.err
			default:
				it.thread = int(thread)
				r.items <- it
			}
		}
	}()
	select {
	case err, ok := <-ready:
		if err != nil || !ok {
			t.Fatalf("reader of %s: open: %v", path, err)
		}
	case <-time.After(soon):
		t.Fatalf("reader of %s: open: not done after %v", path, soon)
	}
	return r
}

func readItem(b *bufio.Reader) (thread uint32, it item, err error) {
	var head [8]byte
	if _, err = io.ReadFull(b, head[:]); err != nil {
		return 0, it, err
	}
	n := int32(binary.LittleEndian.Uint32(head[4:]))
	if n < 0 {
		it.err = unix.Errno(-n)
	} else {
		it.data = make([]byte, n)
		_, err = io.ReadFull(b, it.data)
	}
	return binary.LittleEndian.Uint32(head[:]), it, err
}

// next waits for the next item.
func (r *reader) next() item {
	select {
	case it, ok := <-r.items:
		if !ok {
			r.t.Fatalf("the reader of %s has ended", r.path)
		}
		return it
	case <-time.After(soon):
		r.t.Fatalf("the reader of %s: nothing read after %v", r.path, soon)
	}
	panic("unreached")
}

// blocked waits until the reader waits in read(2).
func (r *reader) blocked() { r.t.waitReading(r.cmd.Process.Pid, r.path, 1) }

// allBlocked waits until n threads of the reader wait for records, and have done so for a moment: not for the end of a
// record's continuation. A thread that SIGKILL meets between two reads may send its next Tread with the signal masked, and then
// waits for a record before it ends: p9_client_rpc clears TIF_SIGPENDING when it finds a signal pending.
func (r *reader) allBlocked(n int) {
	for range 5 {
		r.t.waitReading(r.cmd.Process.Pid, r.path, n)
		time.Sleep(20 * time.Millisecond)
	}
}

// frames passes over what is read up to the first item that is no frame.
func (r *reader) frames() item {
	for {
		if it := r.next(); it.err != nil || len(it.data) == 0 {
			return it
		}
	}
}

// drain kills a reader whose threads share the offset of their descriptor. Linux wakes the one that reads, but the others wait for its lock
// uninterruptibly, and each in turn reads once more: they are given frames until all have died.
func (r *reader) drain(src *source) {
	if err := r.cmd.Process.Kill(); err != nil {
		r.t.Fatalf("kill: %v", err)
	}
	ended := make(chan struct{})
	go func() { // ends with the reader, which the frames see to
		_ = r.cmd.Wait()
		close(ended)
	}()
	for end := time.Now().Add(soon); ; {
		select {
		case <-ended:
			return
		case <-time.After(50 * time.Millisecond):
			src.send(1)
		}
		if time.Now().After(end) {
			r.t.Fatalf("the killed reader of %s does not end though frames come", r.path)
		}
	}
}

// kill sends the reader a signal that ends it, and wants it ended soon.
func (r *reader) kill(sig unix.Signal) { r.t.kill(r.cmd, sig) }

// kill sends a command a signal that ends it and wants it ended within a second or two, as a person at a terminal does.
func (t *T) kill(cmd *exec.Cmd, sig unix.Signal) {
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatalf("kill: %v", err)
	}
	t.within(soon, fmt.Sprintf("the end of %v after signal %v", cmd, sig), func() { _ = cmd.Wait() })
}

func bufFlag(n int) string { return "-buf=" + strconv.Itoa(n) }
