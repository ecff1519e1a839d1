package listen

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/p9ext"
	"golang.org/x/sys/unix"
)

// open returns a descriptor that is given away: nobody but who takes it closes it.
func open(t *testing.T, f *os.File, err error) int {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// pipeFDs returns the two descriptors of a pipe; keep is the file of that end which is not given away.
func pipeFDs(t *testing.T, give int) (fd int, keep *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	ends := []*os.File{r, w}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ends[1-give].Close() })
	return open(t, ends[give], nil), ends[1-give]
}

// pairFDs returns the two ends of a socketpair.
func pairFDs(t *testing.T, typ int) (fd int, keep net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[1]), "pair")
	defer f.Close()
	if typ == unix.SOCK_STREAM {
		if keep, err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { keep.Close() })
	}
	return fds[0], keep
}

// bad is an end whose descriptor the test closes.
func bad(t *testing.T, fd int) end {
	t.Cleanup(func() { unix.Close(fd) })
	return descriptor(fd)
}

// Whatever cannot be served is refused with a sentence that says what it is.
func TestWhatCannotBeServed(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "file"))
	regular := bad(t, open(t, file, err))
	d, err := os.Open(dir)
	directory := bad(t, open(t, d, err))
	null, err := os.Open(os.DevNull)
	device := bad(t, open(t, null, err))
	fd, _ := pipeFDs(t, 0)
	in := bad(t, fd)
	fd, _ = pipeFDs(t, 1)
	out := bad(t, fd)
	fd, _ = pairFDs(t, unix.SOCK_DGRAM)
	datagrams := bad(t, fd)
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	idle := bad(t, fd)
	l := mustListen(t, "unix!"+sock(t), Options{})
	c, _ := meet(t, l)
	f, err := c.(*net.UnixConn).File()
	connected := bad(t, open(t, f, err))
	closed := bad(t, maxFD) // more than any process here may have

	for _, tt := range []struct {
		in, out end
		want    string
	}{
		{closed, closed, "is not open"},
		{regular, regular, "is a regular file: want a socket or pipes"},
		{directory, directory, "is a directory"},
		{device, device, "is a device"},
		{in, in, "is a pipe, which goes one way"},
		{out, in, "can only be written: messages are to be read from it"},
		{in, in2(t), "can only be read: replies are to be written to it"},
		{in, regular, "is a regular file"},
		{in, closed, "is not open"},
		{datagrams, datagrams, "none of streams"},
		{idle, idle, "neither is connected nor listens"},
		{connected, out, "are different sockets"},
	} {
		_, _, err := ends(tt.in, tt.out)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "descriptor ") {
			t.Errorf("%s and %s: %v, want %q", tt.in.name, tt.out.name, err, tt.want)
		}
	}
	_, err = Listen(fmt.Sprintf("fd!%d", regular.fd), Options{})
	if want := fmt.Sprintf("cannot listen on fd!%d: descriptor %[1]d is a regular file: want a socket or pipes", regular.fd); err == nil || err.Error() != want {
		t.Errorf("Listen: %v, want %s", err, want)
	}
	if _, err := unix.FcntlInt(uintptr(regular.fd), unix.F_GETFD, 0); err != nil {
		t.Errorf("a descriptor that was refused: %v", err)
	}
}

func in2(t *testing.T) end {
	fd, _ := pipeFDs(t, 0)
	return bad(t, fd)
}

// isOwn reports an error unless c's peer is the user of this process.
func isOwn(t *testing.T, c net.Conn) {
	t.Helper()
	p := peerOf(t, c)
	if p.UID != uint32(os.Getuid()) || p.GID != uint32(os.Getgid()) || !p.Proven || p.Any != (os.Getuid() == 0) {
		t.Errorf("peer is %+v", p)
	}
}

// talk has one end of a connection say something that the other end must hear.
func talk(t *testing.T, from io.Writer, to io.Reader) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { _, err := io.WriteString(from, "hello"); sent <- err }()
	p := make([]byte, 5)
	if _, err := io.ReadFull(to, p); err != nil || string(p) != "hello" {
		t.Errorf("heard %q, %v", p, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// noMore reports an error unless l says, when its connection c is closed, that there is no other.
func noMore(t *testing.T, l *Listener, c net.Conn) {
	t.Helper()
	again := make(chan error, 1)
	go func() { _, err := l.Accept(); again <- err }()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-again; err != io.EOF {
		t.Errorf("the second Accept: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// Two pipes are one connection of the server's own user. What waits in a read ends with Close, and the pipes are left as they were found.
func TestPipesAreOneConnection(t *testing.T) {
	in, to := pipeFDs(t, 0)
	out, from := pipeFDs(t, 1)
	spare, err := unix.Dup(in) // somebody else's descriptor of the same pipe
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(spare)
	if err := unix.SetNonblock(spare, false); err != nil {
		t.Fatal(err)
	}
	l := mustListen(t, fmt.Sprintf("fd!%d,%d", in, out), Options{})
	if !l.Single() {
		t.Error("not Single")
	}
	for _, fd := range []int{in, out} {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("a child would inherit descriptor %d", fd)
		}
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	isOwn(t, c)
	talk(t, to, c)
	talk(t, c, from)
	read := make(chan error, 1)
	go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
	noMore(t, l, c)
	if err := <-read; !errors.Is(err, os.ErrClosed) && !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read that waited: %v", err)
	}
	if flags, err := unix.FcntlInt(uintptr(spare), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the pipe has flags %#x, %v: it blocked before", flags, err)
	}
	if _, err := io.ReadAll(from); err != nil { // the end, since nobody has the other side any more
		t.Error(err)
	}
}

// A socketpair is a connection of the server's own user, whoever made it.
func TestSocketpairIsOneConnection(t *testing.T) {
	fd, other := pairFDs(t, unix.SOCK_STREAM)
	l := mustListen(t, fmt.Sprintf("fd!%d", fd), Options{})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	isOwn(t, c)
	talk(t, other, c)
	talk(t, c, other)
	noMore(t, l, c)
}

// A connection that somebody else has accepted is what it would be if it had been accepted here.
func TestConnectedSockets(t *testing.T) {
	for _, tt := range []struct {
		addr   string
		o      Options
		proven bool
		any    bool
	}{
		{"unix!" + sock(t), Options{}, true, os.Getuid() == 0},
		{"tcp!127.0.0.1!0", Options{}, false, false},
		{"tcp!127.0.0.1!0", Options{TCPIdentity: Trust}, false, true},
	} {
		there := mustListen(t, tt.addr, Options{})
		client, accepted := meet(t, there)
		var f *os.File
		var err error
		switch c := accepted.(type) {
		case *unixConn:
			f, err = c.File()
		case *tcpConn:
			f, err = c.File()
		}
		l := mustListen(t, fmt.Sprintf("fd!%d", open(t, f, err)), tt.o)
		accepted.Close()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		p := peerOf(t, c)
		if p.Proven != tt.proven || p.Any != tt.any || !tt.proven && p.UID != p9ext.NobodyUID {
			t.Errorf("%s: peer is %+v", tt.addr, p)
		}
		talk(t, client, c)
		noMore(t, l, c)
	}
}

// A socket that listens is served as one that we have made, and its file is left to whoever has made it.
func TestListeningSockets(t *testing.T) {
	path := sock(t)
	made := mustListen(t, "unix!"+path, Options{})
	f, err := made.l.(*net.UnixListener).File()
	l := mustListen(t, fmt.Sprintf("fd!%d", open(t, f, err)), Options{})
	if l.Single() || l.Address().String() != "unix!"+path {
		t.Errorf("listens on %v, single %v", l.Address(), l.Single())
	}
	for range 2 {
		c, s := meet(t, l)
		if !peerOf(t, s).Proven {
			t.Error("the peer is not proven")
		}
		talk(t, c, s)
	}
	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket file after Close: %v", err)
	}

	tcp, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for _, o := range []Options{{}, {InsecureTCP: true}} {
		f, err := tcp.(*net.TCPListener).File()
		l, err := Listen(fmt.Sprintf("fd!%d", open(t, f, err)), o)
		if o.InsecureTCP != (err == nil) {
			t.Errorf("all addresses, insecure %v: %v", o.InsecureTCP, err)
		}
		if err == nil {
			if want := fmt.Sprintf("tcp!::!%d", tcp.Addr().(*net.TCPAddr).Port); l.Address().String() != want && l.Address().Host != "0.0.0.0" {
				t.Errorf("listens on %v", l.Address())
			}
			l.Close()
		}
	}
}

// Standard input and output are moved away: what is read or written there by mistake is no part of the conversation.
func TestStdioIsTaken(t *testing.T) {
	in, to := pipeFDs(t, 0)
	out, from := pipeFDs(t, 1)
	errs, log := pipeFDs(t, 1)
	l, err := takeStdio(in, out, errs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	stdin, stdout := os.NewFile(uintptr(in), "stdin"), os.NewFile(uintptr(out), "stdout")
	defer stdin.Close()
	defer stdout.Close()
	if b, err := io.ReadAll(stdin); err != nil || len(b) > 0 {
		t.Errorf("standard input has %q, %v", b, err)
	}
	talk(t, stdout, log)
	if l.Address().String() != "stdio!" {
		t.Errorf("listens on %v", l.Address())
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	isOwn(t, c)
	talk(t, to, c)
	talk(t, c, from)
	noMore(t, l, c)
	unix.Close(errs)

	// One socket for both, as inetd and some shells have it; nobody has opened standard error.
	in, other := pairFDs(t, unix.SOCK_STREAM)
	out, err = unix.Dup(in)
	if err != nil {
		t.Fatal(err)
	}
	if l, err = takeStdio(in, out, errs, Options{}); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(in)
	defer unix.Close(out)
	if _, err := unix.Write(out, []byte("lost")); err != nil {
		t.Errorf("standard output: %v", err)
	}
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	isOwn(t, c)
	talk(t, c, other)
	talk(t, other, c)
	noMore(t, l, c)

	// Standard error is the same socket.
	in, other = pairFDs(t, unix.SOCK_STREAM)
	var all [2]int
	for i := range all {
		if all[i], err = unix.Dup(in); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(all[i])
	}
	defer unix.Close(in)
	if l, err = takeStdio(in, all[0], all[1], Options{}); err != nil {
		t.Fatal(err)
	}
	for _, fd := range all {
		if _, err := unix.Write(fd, []byte("lost")); err != nil {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	talk(t, c, other)
	noMore(t, l, c)

	_, err = takeStdio(in, out, errs, Options{})
	if err == nil || err.Error() != "standard input is a device: want a socket or pipes" {
		t.Errorf("a second time: %v", err)
	}
}

// A listener that is closed before anybody accepts ends the connection.
func TestCloseOfSingle(t *testing.T) {
	fd, other := pairFDs(t, unix.SOCK_STREAM)
	l := mustListen(t, fmt.Sprintf("fd!%d", fd), Options{})
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if b, err := io.ReadAll(other); err != nil || len(b) > 0 {
		t.Errorf("the other side reads %q, %v", b, err)
	}
}

// A connection can be handed to another process, with what was said before.
func TestHandOfSingle(t *testing.T) {
	pairFD, pairEnd := pairFDs(t, unix.SOCK_STREAM)
	in, to := pipeFDs(t, 0)
	out, from := pipeFDs(t, 1)
	for _, tt := range []struct {
		addr  string
		to    io.Writer
		from  io.Reader
		files int
	}{
		{fmt.Sprintf("fd!%d", pairFD), pairEnd, pairEnd, 1},
		{fmt.Sprintf("fd!%d,%d", in, out), to, from, 2},
	} {
		l := mustListen(t, tt.addr, Options{})
		if _, err := io.WriteString(tt.to, "hel"); err != nil {
			t.Fatal(err)
		}
		files, h, err := l.Hand()
		if err != nil || len(files) != tt.files {
			t.Fatalf("%s: handed over %d files, %v", tt.addr, len(files), err)
		}
		b, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		var note Handover
		if err := json.Unmarshal(b, &note); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("%s: Close after Hand: %v", tt.addr, err)
		}
		heir, err := Inherit(files, note)
		if err != nil {
			t.Fatal(err)
		}
		if heir.Address() != l.Address() || !heir.Single() {
			t.Errorf("%s: the heir listens on %v, single %v", tt.addr, heir.Address(), heir.Single())
		}
		c, err := heir.Accept()
		if err != nil {
			t.Fatal(err)
		}
		isOwn(t, c)
		if _, err := io.WriteString(tt.to, "lo"); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 5)
		if _, err := io.ReadFull(c, p); err != nil || string(p) != "hello" {
			t.Errorf("%s: heard %q, %v", tt.addr, p, err)
		}
		talk(t, c, tt.from)
		noMore(t, heir, c)
	}
	if _, err := Inherit(nil, Handover{Addr: Addr{Network: "stdio"}, Single: true, Files: 1}); err == nil || !strings.Contains(err.Error(), "0 files came instead of 1") {
		t.Errorf("nothing handed over: %v", err)
	}
}
