//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clone9p/clone9p/scripts/e2e/internal/frame"
	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
)

func init() {
	cases["ping"] = casePing
	cases["tx"] = caseTx
	cases["stream"] = caseStream
	cases["nonblock"] = caseNonblock
	cases["killed-reader"] = caseKilledReader
	cases["killed-reader-flood"] = caseKilledReaderFlood
	cases["beside-blocked-reader"] = caseBesideBlockedReader
	cases["truncate-beside-reader"] = caseTruncateBesideReader
	cases["umount-busy"] = caseUmountBusy
	cases["server-gone"] = caseServerGone
	cases["guest-killed"] = caseGuestKilled
	cases["records-off"] = caseRecordsOff
	for name, size := range map[string]int{"4k": 4 << 10, "128k": 128 << 10, "1m": 1 << 20} {
		cases["records-"+name] = func(t *T) { caseRecords(t, size) }
		cases["threads-"+name] = func(t *T) { caseThreads(t, size) }
	}
}

// A source is a stream of frames from the host into an interface.
type source struct {
	t    *T
	args talk.Args
}

func (t *T) source(iface string, stream uint32, min, max int) *source {
	return &source{t, talk.Args{Iface: iface, Stream: stream, Min: min, Max: max}}
}

// send has the host send the next n frames.
func (s *source) send(n int) {
	s.args.Count = uint32(n)
	s.t.call("send", s.args, nil)
	s.args.From += uint32(n)
}

// next is the next of the test's own frames that the reader reads: whole, alone, in the stream. What the host's kernel sends of its own is passed over.
func (r *reader) nextFrame(s *source) (seq uint32, it item) {
	for {
		it := r.next()
		if it.err != nil || len(it.data) == 0 {
			r.t.Fatalf("read of %s: %d bytes, error %v; want a frame", r.path, len(it.data), it.err)
		}
		if !frame.Ours(it.data) {
			if frame.Within(it.data) {
				r.t.Fatalf("read of %s: %d bytes in which a frame of the test follows one of the kernel: run together", r.path, len(it.data))
			}
			continue
		}
		stream, seq, err := frame.Check(it.data)
		if err != nil {
			r.t.Fatalf("read of %s: %v", r.path, err)
		}
		if stream == s.args.Stream {
			return seq, it
		}
	}
}

// wantFrames wants the reader to read the frames from..to-1 of the stream, in order.
func (r *reader) wantFrames(s *source, from, to uint32) {
	for want := from; want < to; want++ {
		if seq, _ := r.nextFrame(s); seq != want {
			r.t.Fatalf("read of %s: frame %d, want %d", r.path, seq, want)
		}
	}
}

// casePing has the host ping an address behind the interface and answers as a neighbour would: ARP, then ICMP. Each read of rx
// gives exactly one of the frames that a packet socket sees go out, in their order.
func casePing(t *T) {
	mnt := t.mount()
	c := t.clone(mnt)
	c.ctl("add 10.77.0.1/24")
	t.call("capture", talk.Args{Iface: c.iface}, nil)
	r := t.reader(c.at("rx"), bufFlag(64<<10))
	tx := t.open(c.at("tx"), unix.O_WRONLY)
	c.ctl("up")

	var read []talk.Seen
	var echoes int
	answered := make(chan struct{})
	pinged := make(chan struct{})
	go func() { // ends when the host has done pinging, or the reader has
		defer close(answered)
		for {
			select {
			case it, ok := <-r.items:
				if !ok || it.err != nil {
					t.Errorf("read of rx: %v, ended %v", it.err, !ok)
					return
				}
				read = append(read, talk.Seen{Len: len(it.data), Sum: talk.Sum(it.data), Out: true})
				if answer := neighbour(it.data); answer != nil {
					if isEcho(it.data) {
						echoes++
					}
					if n, err := unix.Write(tx.fd, answer); n != len(answer) || err != nil {
						t.Errorf("write to tx: %d of %d bytes, %v", n, len(answer), err)
						return
					}
				}
			case <-pinged:
				return
			}
		}
	}()
	var out string
	t.call("ping", talk.Args{Addr: "10.77.0.2", Count: 3}, &out)
	close(pinged)
	<-answered
	t.Logf("%s", out)
	if echoes != 3 {
		t.Errorf("%d echo requests read, want 3", echoes)
	}
	var captured []talk.Seen
	t.call("captured", talk.Args{Iface: c.iface}, &captured)
	var sent []talk.Seen
	for _, s := range captured {
		if s.Out {
			sent = append(sent, s)
		}
	}
	if len(sent) < len(read) {
		t.Fatalf("read %v, but only %v were sent", read, sent)
	}
	for i := range read {
		if read[i] != sent[i] {
			t.Errorf("read %d of rx: %v, want %v", i, read[i], sent[i])
		}
	}
}

var mac = []byte{0x02, 'g', 'u', 'e', 's', 't'}

// neighbour is what a host at 10.77.0.2 answers to a frame: to ARP's question for it, to an ICMP echo request; nil to anything else.
func neighbour(p []byte) []byte {
	us := []byte{10, 77, 0, 2}
	switch {
	case len(p) >= 42 && p[12] == 0x08 && p[13] == 0x06 && p[21] == 1 && bytes.Equal(p[38:42], us):
		a := append(append([]byte{}, p[6:12]...), mac...)
		a = append(a, p[12:20]...) // type, hardware, protocol, lengths
		a = append(a, 0, 2)        // reply
		a = append(append(a, mac...), us...)
		return append(a, p[22:32]...) // to whoever asked
	case isEcho(p) && bytes.Equal(p[30:34], us):
		a := append([]byte{}, p...)
		copy(a[0:], p[6:12])
		copy(a[6:], mac)
		copy(a[26:], p[30:34])
		copy(a[30:], p[26:30])
		a[34] = 0 // echo reply
		// RFC 1624: the checksum grows by what the type word lost, in ones' complement.
		c := uint32(binary.BigEndian.Uint16(a[36:])) + 0x0800
		binary.BigEndian.PutUint16(a[36:], uint16(c+c>>16))
		return a
	}
	return nil
}

// isEcho reports whether p is an ICMP echo request in an IPv4 packet without options.
func isEcho(p []byte) bool {
	return len(p) >= 42 && p[12] == 0x08 && p[13] == 0 && p[14] == 0x45 && p[23] == 1 && p[34] == 8
}

func caseTx(t *T) {
	mnt := t.mount()
	c := t.up(mnt)
	t.call("capture", talk.Args{Iface: c.iface}, nil)
	var want []talk.Seen
	for _, name := range []string{"tx", "data"} {
		f := t.open(c.at(name), unix.O_WRONLY)
		for seq := range uint32(10) {
			size := frame.Size(2, seq, 60, 1514)
			if seq == 0 {
				size = 1514
			}
			p := frame.Append(nil, 2, seq, size)
			t.must(f.write(p))
			want = append(want, talk.Seen{Len: len(p), Sum: talk.Sum(p)})
		}
		f.close()
	}
	var got []talk.Seen
	t.until(soon, fmt.Sprintf("the host's packet socket sees %d frames", len(want)), func() bool {
		var captured []talk.Seen
		t.call("captured", talk.Args{Iface: c.iface}, &captured)
		for _, s := range captured {
			if !s.Out {
				got = append(got, s)
			}
		}
		return len(got) >= len(want)
	})
	for i := range got {
		if i >= len(want) || got[i] != want[i] {
			t.Fatalf("frame %d on the interface is %v, want %v", i, got[i], want[min(i, len(want)-1)])
		}
	}
	// While the link is down nothing goes out.
	c.ctl("down")
	tx := t.open(c.at("tx"), unix.O_WRONLY)
	t.wantErr("write while the link is down", tx.write(frame.Append(nil, 2, 99, 100)), unix.EHOSTDOWN)
}

// caseStream has dd copy rx to a pipe: each frame is there when it has come, not when a buffer is full.
//
// It is not busybox's cat: that one sends by sendfile(2), which holds the lock of the pipe while it waits for the next frame, so that the
// frame before can't be taken out. What it hands on is whole all the same, a frame later.
func caseStream(t *T) {
	mnt := t.mount()
	c := t.up(mnt)
	src := t.source(c.iface, 3, 60, 1514)
	p := t.piped(exec.Command("/bin/dd", "bs=64k", "if="+c.at("rx")))
	t.waitReading(p.cmd.Process.Pid, c.at("rx"), 1)
	for range 5 {
		p.wantFrames(src, 1, false)
	}
	t.kill(p.cmd, unix.SIGINT)

	p = t.piped(exec.Command("/bin/cat", c.at("rx")))
	t.waitReading(p.cmd.Process.Pid, c.at("rx"), 1)
	p.wantFrames(src, 20, true)
}

// wantFrames sends n frames and wants them in the output, in order, among what the host's kernel sends of its own. With push one more frame
// is sent, which need not come.
func (p *piped) wantFrames(s *source, n int, push bool) {
	from := s.args.From
	s.send(n)
	if push {
		s.send(1)
	}
	var got []byte
	for seq := from; seq < from+uint32(n); {
		want := frame.Append(nil, s.args.Stream, seq, frame.Size(s.args.Stream, seq, s.args.Min, s.args.Max))
		if i := bytes.Index(got, want); i >= 0 {
			got = got[i+len(want):]
			seq++
			continue
		}
		select {
		case b, ok := <-p.c:
			if !ok {
				p.t.Fatalf("%v has ended", p.cmd)
			}
			got = append(got, b...)
		case <-time.After(soon):
			p.t.Fatalf("%v: frame %d of %d bytes has not come after %v; what has: %d bytes, % .64x", p.cmd, seq, len(want), soon, len(got), got)
		}
	}
}

// A piped is a command whose output is read as it comes.
type piped struct {
	t   *T
	cmd *exec.Cmd
	c   chan []byte // closed at its end
}

// piped starts a command with its output in a pipe.
func (t *T) piped(cmd *exec.Cmd) *piped {
	r, w, err := os.Pipe()
	t.must(err)
	cmd.Stdout = w
	p := &piped{t: t, cmd: t.start(cmd), c: make(chan []byte, 1000)}
	w.Close()
	go func() { // ends with the command
		defer r.Close()
		defer close(p.c)
		for {
			b := make([]byte, 1<<16)
			n, err := r.Read(b)
			if err != nil {
				return
			}
			p.c <- b[:n]
		}
	}()
	return p
}

// opendir and QEMU open with O_NONBLOCK without meaning it.
func caseNonblock(t *T) {
	mnt := t.mount()
	c := t.up(mnt)
	src := t.source(c.iface, 4, 60, 1514)
	r := t.reader(c.at("rx"), "-nonblock", bufFlag(8192))
	r.blocked()
	for i := range uint32(3) {
		src.send(1)
		r.wantFrames(src, i, i+1)
		r.blocked()
	}
	r.kill(unix.SIGKILL)
}

func caseKilledReader(t *T) {
	mnt := t.mount()
	c := t.up(mnt)
	src := t.source(c.iface, 5, 60, 1514)
	for i := range 8 {
		var kill func(unix.Signal)
		if i%2 == 0 {
			r := t.reader(c.at("rx"), bufFlag(1<<(12+i%3*4)))
			r.blocked()
			kill = r.kill
		} else {
			cat := t.piped(exec.Command("/bin/cat", c.at("rx")))
			t.waitReading(cat.cmd.Process.Pid, c.at("rx"), 1)
			kill = func(sig unix.Signal) { t.kill(cat.cmd, sig) }
		}
		sig := unix.SIGKILL
		if i%4 == 1 {
			sig = unix.SIGINT // cat's default action: the end
		}
		begin := time.Now()
		kill(sig)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("reader %d took %v to die", i, took)
		}
		t.usable(mnt, c, src)
	}
}

// usable wants everything on the mount to work: names, texts, control, new conversations, frames.
func (t *T) usable(mnt string, c *conv, src *source) {
	t.mustSh(mnt, "ls -l . ethfoo && cat README ethfoo/help")
	if got := t.number([]byte(t.text(c.at("ctl")))); got != c.n {
		t.Fatalf("ctl reads as %d, want %d", got, c.n)
	}
	c.ctl("up")
	other := t.clone(mnt)
	other.close()
	r := t.reader(c.at("rx"))
	from := src.args.From
	src.send(3)
	r.wantFrames(src, from, from+3)
	r.kill(unix.SIGKILL)
}

// The worst moment for a reader to be killed is when its answer is on its way: a Rread after the Rflush would end the mount, and
// one in its place can make the dying process hang.
func caseKilledReaderFlood(t *T) {
	mnt := t.mount()
	c := t.up(mnt)
	src := t.source(c.iface, 6, 60, 1514)
	t.call("flood", talk.Args{Iface: c.iface, Every: 2 * time.Millisecond}, nil)
	for i := range 20 {
		r := t.reader(c.at("rx"), bufFlag(4096), fmt.Sprintf("-threads=%d", 1+i%3), fmt.Sprintf("-pread=%v", i%2 == 0))
		for range i % 5 {
			if it := r.next(); it.err != nil || len(it.data) == 0 {
				t.Fatalf("read amid the flood: %d bytes, %v", len(it.data), it.err)
			}
		}
		r.kill(unix.SIGKILL)
		if got := t.number([]byte(t.text(c.at("ctl")))); got != c.n {
			t.Fatalf("ctl reads as %d, want %d", got, c.n)
		}
	}
	t.call("flood", talk.Args{Iface: c.iface}, nil)
	t.usable(mnt, c, src)
}

func caseBesideBlockedReader(t *T) {
	mnt := t.mount()
	c := t.up(mnt)
	r := t.reader(c.at("rx"), bufFlag(1<<20))
	d := t.reader(c.at("data"))
	r.blocked()
	d.blocked()
	begin := time.Now()
	quick := func(what string, f func()) {
		begin := time.Now()
		t.within(soon, what, f)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%s beside a blocked reader took %v", what, took)
		}
	}
	var st unix.Stat_t
	for _, p := range []string{mnt, c.dir, c.at("rx"), c.at("data"), c.at("tx"), c.at("status")} {
		quick("stat "+p, func() { t.checked(unix.Stat(p, &st)) })
	}
	t.mustSh(mnt, "ls -lR")
	for _, f := range []string{"status", "addr", "ifname", "stats", "ifstats", "type", "ctl"} {
		quick("reading "+f, func() { t.text(c.at(f)) })
	}
	t.mustSh(c.dir, "echo up > ctl; echo up >> ctl; echo up 1<> ctl")
	var other *conv
	quick("a second clone", func() { other = t.up(mnt) })
	quick("its close", func() { other.close() })
	t.call("capture", talk.Args{Iface: c.iface}, nil)
	p := frame.Append(nil, 7, 0, 200)
	tx := t.open(c.at("tx"), unix.O_WRONLY)
	quick("a write to tx", func() { t.checked(tx.write(p)) })
	data := t.open(c.at("data"), unix.O_RDWR)
	quick("a write to data", func() { t.checked(data.write(p)) })
	// Shells: of the forms of writing to the file that another reads, > alone has to wait for the reader from 6.12 on.
	t.must(os.WriteFile("/tmp/frame", p, 0o644))
	t.mustSh(c.dir, "cat /tmp/frame >> data; cat /tmp/frame 1<> data; cat /tmp/frame > tx; cat /tmp/frame >> tx")
	n := 0
	t.until(soon, "the host's packet socket sees 6 frames", func() bool {
		var got []talk.Seen
		t.call("captured", talk.Args{Iface: c.iface}, &got)
		for _, s := range got {
			if !s.Out {
				n++
				if s.Len != len(p) || s.Sum != talk.Sum(p) {
					t.Fatalf("frame %d on the interface is %v", n, s)
				}
			}
		}
		return n >= 6
	})
	// A second mount of the same server, and a second reader of the same file, each with its own copy.
	quick("a second mount", func() {
		dir, err := t.tryMount(t.setup.Port)
		t.must(err)
		t.unmount(dir)
	})
	r2 := t.reader(c.at("rx"))
	src := t.source(c.iface, 8, 60, 1514)
	t.Logf("all that beside blocked readers took %v", time.Since(begin).Round(time.Millisecond))
	src.send(2)
	r.wantFrames(src, 0, 2)
	r2.wantFrames(src, 0, 2)
	// What d reads no longer keeps to records: the kernel believes that data is as long as what was written to it, and goes on to there.
}

// checked records an error; unlike must it may be called inside within.
func (t *T) checked(err error) {
	if err != nil {
		t.Errorf("%v", err)
	}
}

// From 6.12 on a blocked read holds the inode's lock, which truncation wants: two files, rx and tx, are the way out.
func caseTruncateBesideReader(t *T) {
	mnt := t.mount()
	c := t.up(mnt)
	src := t.source(c.iface, 9, 200, 1514) // the first leads beyond the 100 bytes that the shell writes: see beside-blocked-reader
	t.must(os.WriteFile("/tmp/frame", frame.Append(nil, 10, 0, 100), 0o644))
	r := t.reader(c.at("rx"))
	r.blocked()
	t.mustSh(c.dir, "cat /tmp/frame > tx")

	d := t.reader(c.at("data"))
	d.blocked()
	cmd := exec.Command("/bin/sh", "-c", "cat /tmp/frame > data")
	cmd.Dir = c.dir
	t.start(cmd)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }() // ends with the shell
	// Each frame lets the reader go for a moment; the shell has its chance sooner or later.
	for i := uint32(0); ; i++ {
		select {
		case err := <-done:
			t.checked(err)
			t.Logf("> data beside a reader was done after %d frames", i)
			return
		default:
		}
		if i == 50 {
			t.Fatalf("> data beside a reader is not done after %d frames", i)
		}
		src.send(1)
		d.wantFrames(src, i, i+1)
	}
}

func caseUmountBusy(t *T) {
	dir, err := t.tryMount(t.setup.Port)
	t.must(err)
	c := t.up(dir)
	r := t.reader(c.at("rx"))
	r.blocked()
	if err := unix.Unmount(dir, 0); !errors.Is(err, unix.EBUSY) {
		t.Errorf("umount with a read pending: %v, want EBUSY", err)
	}
	c.close()
	t.wantIface(c.iface, true)
	t.within(soon, "umount -l", func() { t.checked(unix.Unmount(dir, unix.MNT_DETACH)) })
	src := t.source(c.iface, 11, 60, 1514)
	src.send(1)
	r.wantFrames(src, 0, 1)
	r.kill(unix.SIGKILL)
	t.goneSoon("the reader of a detached mount killed")
}

func caseServerGone(t *T) {
	var s talk.Args // its Port
	t.call("server", nil, &s)
	dir, err := t.tryMount(s.Port)
	t.must(err)
	c := t.up(dir)
	r := t.reader(c.at("rx"))
	r.blocked()
	t.call("server-kill", s, nil)
	if it := r.frames(); it.err == nil {
		t.Errorf("the blocked read gives %d bytes, want an error", len(it.data))
	} else {
		t.Logf("the blocked read: %v", it.err)
	}
	if err := c.write([]byte("up\n")); err == nil {
		t.Errorf("a write to a server that is gone succeeds")
	}
	if _, err := t.tryOpen(c.at("status"), unix.O_RDONLY); err == nil {
		t.Errorf("an open on a server that is gone succeeds")
	}
	c.close()
	t.unmount(dir)
}

// caseGuestKilled does not end: the host ends the guest and judges.
func caseGuestKilled(t *T) {
	mnt := t.mount()
	for range 8 {
		c := t.up(mnt)
		t.reader(c.at("rx")).blocked()
	}
	if n := len(t.ifaces()); n != 8 {
		t.Fatalf("the host has %d interfaces, want 8", n)
	}
	t.call("guest-kill", nil, nil)
}

const recordsTotal = 200 // frames of each case of records and threads

// caseRecords reads records of random sizes, in bursts of random length between which the reader waits, with one buffer size: each read is one record.
func caseRecords(t *T, size int) {
	mnt := t.mount()
	c := t.clone(mnt)
	src := t.records(c, size)
	r := t.reader(c.at("rx"), bufFlag(size))
	r.blocked()
	for n := uint32(0); n < recordsTotal; {
		burst := uint32(frame.Size(src.args.Stream, n, 1, 20))
		src.send(int(burst))
		r.wantFrames(src, n, n+burst)
		n += burst
	}
	r.blocked() // no false end of file after the last
	r.kill(unix.SIGKILL)
}

// caseRecordsOff is for who reads a stream of bytes: without the rule about records the kernel goes on until the buffer is full.
func caseRecordsOff(t *T) {
	mnt := t.mount("aname=/?records=off")
	c := t.clone(mnt)
	c.ctl(fmt.Sprintf("connect %d", frame.EtherType)) // nothing else may come in between
	c.ctl("up")
	src := t.source(c.iface, 12, 100, 100)
	r := t.reader(c.at("rx"), bufFlag(300))
	r.blocked()
	var want []byte
	for seq := range uint32(3) {
		src.send(1)
		want = frame.Append(want, 12, seq, 100)
	}
	if it := r.next(); !bytes.Equal(it.data, want) {
		t.Errorf("a read of 300 bytes gives %d, %v; want three frames of 100", len(it.data), it.err)
	}
	r.kill(unix.SIGKILL)
}

// caseThreads is caseRecords with four threads on one descriptor, which get each record once between them.
func caseThreads(t *T, size int) {
	mnt := t.mount()
	c := t.clone(mnt)
	src := t.records(c, size)
	for _, how := range []string{"-pread=true", "-pread=false"} {
		r := t.reader(c.at("rx"), bufFlag(size), "-threads=4", how)
		r.blocked()
		first := src.args.From
		perThread := map[int]int{}
		for src.args.From < first+recordsTotal/2 {
			from := src.args.From
			src.send(frame.Size(src.args.Stream, from, 1, 20))
			got := map[uint32]bool{}
			for len(got) < int(src.args.From-from) {
				seq, it := r.nextFrame(src)
				if got[seq] || seq < from || seq >= src.args.From {
					t.Fatalf("%s: frame %d read again, or late: now are %d to %d", how, seq, from, src.args.From-1)
				}
				got[seq] = true
				perThread[it.thread]++
			}
		}
		r.blocked()
		t.Logf("%s: records a thread: %v", how, perThread)
		if how == "-pread=true" {
			r.allBlocked(4)
			r.kill(unix.SIGKILL)
		} else {
			r.drain(src)
		}
	}
}

// records brings c up for records that fit a buffer of size and returns a source of them.
func (t *T) records(c *conv, size int) *source {
	mtu := 1500
	if size > 16<<10 {
		mtu = 9000
		c.ctl("mtu 9000")
	}
	c.ctl("up")
	return t.source(c.iface, uint32(size), 60, min(mtu+14, size))
}
