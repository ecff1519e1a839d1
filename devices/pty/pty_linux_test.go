package pty

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// me is who runs the tests, as a unix socket would prove it.
var me = clonefs.User{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Name: "me", Addr: "unix:test", Proven: true}

// other is an ordinary user whom no file of the machine's knows.
var other = clonefs.User{UID: 61001, GID: 61002, Groups: []uint32{61003}, Name: "other", Addr: "unix:test", Proven: true}

func device(t testing.TB, c Config) *clonefs.Device[*Pair] {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("gives terminals to others, which root may")
	}
	clonetest.Run(t, func(t *testing.T) clonefs.Driver { return device(t, DefaultConfig()) }, clonetest.Options{
		Limited: func(t *testing.T, convs, perUser int) clonefs.Driver {
			return device(t, Config{Limit: convs, PerUser: perUser})
		},
	})
}

// A term is a conversation under test, in a tree of its own.
type term struct {
	t   testing.TB
	c   *clonetest.Client
	ctl *clonetest.File
	dir string
}

// terminal opens one as u, who may run commands.
func terminal(t testing.TB, u clonefs.User) *term {
	t.Helper()
	c := DefaultConfig()
	c.Exec = []string{AnyLocal}
	fs, err := clonefs.New(clonefs.Config{}, device(t, c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := fs.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return openTerm(t, clonetest.Attach(t, fs, u))
}

func openTerm(t testing.TB, c *clonetest.Client) *term {
	t.Helper()
	tt := &term{t: t, c: c, ctl: c.MustOpen("/pty/clone", p9.ReadWrite)}
	n, err := tt.ctl.Number()
	if err != nil {
		t.Fatal(err)
	}
	tt.dir = "/pty/" + n
	return tt
}

func (tt *term) say(lines ...string) {
	tt.t.Helper()
	for _, l := range lines {
		if err := tt.ctl.Say(l); err != nil {
			tt.t.Fatalf("%s: %v", l, err)
		}
	}
}

func (tt *term) text(name string) string {
	tt.t.Helper()
	s, err := tt.c.ReadFile(tt.dir + "/" + name)
	if err != nil {
		tt.t.Fatalf("%s: %v", name, err)
	}
	return s
}

// slave opens the slave by its path.
func (tt *term) slave() *os.File {
	tt.t.Helper()
	f, err := os.OpenFile(strings.TrimSpace(tt.text("slave")), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		tt.t.Fatal(err)
	}
	tt.t.Cleanup(func() { f.Close() })
	return f
}

// read reads once.
func read(t testing.TB, f *clonetest.File) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := make([]byte, 64<<10)
	n, err := f.Read(ctx, p, 0)
	if ctx.Err() != nil {
		t.Fatal("nothing to read")
	}
	return string(p[:n]), err
}

// until reads until what was read ends in, or contains, want, and returns all.
func until(t testing.TB, f *clonetest.File, want string) string {
	t.Helper()
	var all strings.Builder
	for !strings.Contains(all.String(), want) {
		s, err := read(t, f)
		if err != nil || s == "" {
			t.Fatalf("read %q, then %v; want %q", all.String(), err, want)
		}
		all.WriteString(s)
	}
	return all.String()
}

// toEnd reads until the end of the file.
func toEnd(t testing.TB, f *clonetest.File) string {
	t.Helper()
	var all strings.Builder
	for {
		s, err := read(t, f)
		if err != nil {
			t.Fatalf("read %q, then %v", all.String(), err)
		}
		if s == "" {
			return all.String()
		}
		all.WriteString(s)
	}
}

func write(t testing.TB, f *clonetest.File, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for text != "" {
		n, err := f.Write(ctx, []byte(text), 0)
		if err != nil {
			t.Fatalf("write %q: %v", text, err)
		}
		text = text[n:]
	}
}

// waitUntil waits for what nobody announces.
func waitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: in vain", what)
		}
	}
}

func TestSlaveBelongsToTheOpener(t *testing.T) {
	u := me
	if os.Getuid() == 0 {
		u = other
	}
	tt := terminal(t, u)
	info, err := os.Stat(strings.TrimSpace(tt.text("slave")))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != u.UID || info.Mode().Perm() != 0o620 {
		t.Errorf("the slave is %v of %d, want 0620 of %d", info.Mode(), st.Uid, u.UID)
	}
	status := tt.text("status")
	for _, want := range []string{" open owner ", "\nslave /dev/pts/", "\ndiscipline cooked\n", "\necho on\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("status lacks %q:\n%s", want, status)
		}
	}
}

// The echo of one key comes out of one read, and what a program writes comes when it is written.
func TestKeysAndLines(t *testing.T) {
	tt := terminal(t, me)
	rx, tx := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly), tt.c.MustOpen(tt.dir+"/tx", p9.WriteOnly)
	slave := tt.slave()
	for _, key := range []string{"a", "b"} {
		write(t, tx, key)
		if got, err := read(t, rx); got != key || err != nil {
			t.Errorf("the echo of %q is %q, %v", key, got, err)
		}
	}
	write(t, tx, "\x7f") // the kernel shows a character that is taken back in three steps
	if got := until(t, rx, " \b"); got != "\b \b" {
		t.Errorf("the echo of an erasure is %q", got)
	}
	write(t, tx, "\n")
	if got, err := read(t, rx); got != "\r\n" || err != nil {
		t.Errorf("the echo of a newline is %q, %v", got, err)
	}
	p := make([]byte, 100)
	if n, err := slave.Read(p); string(p[:n]) != "a\n" || err != nil {
		t.Errorf("the slave reads %q, %v", p[:n], err)
	}
	slave.WriteString("one\ntwo\n")
	if got := until(t, rx, "two\r\n"); got != "one\r\ntwo\r\n" {
		t.Errorf("read %q", got)
	}
	// Without echo, raw.
	tt.say("raw", "echo off")
	write(t, tx, "\x03\x04x")
	if n, err := slave.Read(p); string(p[:n]) != "\x03\x04x" || err != nil {
		t.Errorf("raw, the slave reads %q, %v", p[:n], err)
	}
	if s := tt.text("status"); !strings.Contains(s, "\ndiscipline raw\necho off\n") {
		t.Errorf("status:\n%s", s)
	}
	tt.say("cooked")
	write(t, tx, "y\n")
	if got := until(t, rx, "\n"); got != "y\r\n" {
		t.Errorf("cooked again, the echo is %q", got)
	}
}

// eof ends the input of who reads the slave.
func TestEOF(t *testing.T) {
	tt := terminal(t, me)
	slave := tt.slave()
	tt.say("eof")
	if n, err := slave.Read(make([]byte, 10)); n != 0 {
		t.Errorf("read %d bytes, %v; want the end", n, err)
	}
	tt.say("raw")
	clonetest.CheckError(t, "eof", tt.ctl.Say("eof"), linux.EINVAL, "bad control message: the line discipline knows no end of the input now: send cooked first")
}

// Readers get everything from their opens on; one that is interrupted loses nothing.
func TestReaders(t *testing.T) {
	tt := terminal(t, me)
	slave := tt.slave()
	slave.WriteString("kept\n") // nobody reads: the kernel keeps it
	a := tt.c.MustOpen(tt.dir+"/data", p9.ReadWrite)
	if got := until(t, a, "\n"); got != "kept\r\n" {
		t.Errorf("the first reader gets %q", got)
	}
	b := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Read(ctx, make([]byte, 10), 0); err == nil {
		t.Error("an interrupted read returns")
	}
	slave.WriteString("both\n")
	for _, f := range []*clonetest.File{a, b} {
		if got := until(t, f, "\n"); got != "both\r\n" {
			t.Errorf("got %q", got)
		}
	}
	a.Close()
	b.Close()
	slave.WriteString("later\n") // taken by the pump, perhaps, while nobody is there
	if got := until(t, tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly), "\n"); got != "later\r\n" {
		t.Errorf("the next reader gets %q", got)
	}
}

// What a program writes and nobody reads makes it wait; nothing is lost.
func TestBackPressure(t *testing.T) {
	tt := terminal(t, me)
	rx := tt.c.MustOpen(tt.dir+"/rx", p9.ReadOnly)
	tt.say("raw")
	const size = 1 << 20
	want := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	slave := tt.slave()
	done := make(chan error, 1)
	go func() {
		_, err := slave.Write(want)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("a megabyte was taken though nobody reads: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	var got bytes.Buffer
	for got.Len() < size {
		s, err := read(t, rx)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(s)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("something else came out")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A writer waits for the line discipline, goes on when there is room, and can be interrupted.
func TestWriterWaits(t *testing.T) {
	tt := terminal(t, me)
	tt.say("raw")
	tx := tt.c.MustOpen(tt.dir+"/tx", p9.WriteOnly)
	const size = 1 << 20
	ctx, cancel := context.WithCancel(context.Background())
	sent := make(chan int, 1)
	go func() {
		n := 0
		for n < size {
			m, err := tx.Write(ctx, make([]byte, 8192), 0)
			n += m
			if err != nil {
				break
			}
		}
		sent <- n
	}()
	select {
	case n := <-sent:
		t.Fatalf("%d bytes were taken though nobody reads", n)
	case <-time.After(300 * time.Millisecond):
	}
	cancel()
	n := <-sent
	if n >= size {
		t.Errorf("%d bytes are held", n)
	}
	slave := tt.slave()
	again := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for left := size; left > 0; {
			m, err := tx.Write(ctx, make([]byte, min(left, 8192)), 0)
			if err != nil {
				again <- err
				return
			}
			left -= m
		}
		again <- nil
	}()
	buf := make([]byte, 4096)
	for want := n + size; want > 0; {
		m, err := slave.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		want -= m
	}
	if err := <-again; err != nil {
		t.Error(err)
	}
}

func TestWinsize(t *testing.T) {
	tt := terminal(t, me)
	if err := tt.c.WriteFile(tt.dir+"/winsize", "25 81\n"); err != nil {
		t.Fatal(err)
	}
	if got := tt.text("winsize"); got != "25 81\n" {
		t.Errorf("winsize %q", got)
	}
	size, err := unix.IoctlGetWinsize(int(tt.slave().Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Row != 25 || size.Col != 81 {
		t.Errorf("the slave has %+v, %v", size, err)
	}
	for _, bad := range []string{"0 80", "24 0", "65536 80", "24 65536", "x y", "24", "24 80 1", "-1 80", ""} {
		err := tt.c.WriteFile(tt.dir+"/winsize", bad)
		if !errors.Is(err, linux.EINVAL) || !strings.HasPrefix(err.Error(), "bad window size: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if got := tt.text("winsize"); got != "25 81\n" {
		t.Errorf("then winsize is %q", got)
	}
}

// openFiles counts the descriptors of this process.
func openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func FuzzParseSignal(f *testing.F) {
	for _, s := range []string{"INT", "SIGTERM", "9", "0", "999", "", "SIGSIG", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sig, err := parseSignal(s)
		if (err == nil) == (unix.SignalName(sig) == "") {
			t.Errorf("%q is %d, %v", s, sig, err)
		}
	})
}

func FuzzParseWinsize(f *testing.F) {
	for _, s := range []string{"24 80", " 1\t65535 ", "0 80", "65536 1", "24", "24 80 1", "-1 1", "1e3 1", "\xff \x00", "99999999999999999999999999999999999999999999 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		size, err := parseWinsize(s)
		if err != nil {
			if size != (unix.Winsize{}) || strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 300 {
				t.Errorf("%q is %v, %q", s, size, err)
			}
			return
		}
		if size.Row == 0 || size.Col == 0 || size.Xpixel != 0 || size.Ypixel != 0 {
			t.Errorf("%q is %v", s, size)
		}
		if again, err := parseWinsize(fmt.Sprintf("%d %d\n", size.Row, size.Col)); err != nil || again != size {
			t.Errorf("%q is %v, and again %v, %v", s, size, again, err)
		}
	})
}
