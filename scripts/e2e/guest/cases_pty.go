//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func init() {
	cases["pty-keys"] = casePtyKeys
	cases["pty-killed-reader"] = casePtyKilledReader
	cases["pty-shell"] = casePtyShell
	cases["pty-screen"] = casePtyScreen
	cases["pty-twenty"] = casePtyTwenty
}

// terminal opens pty/clone.
func (t *T) terminal(mnt string) *conv {
	c := &conv{file: t.open(mnt+"/pty/clone", unix.O_RDWR)}
	p, err := c.read(4096)
	if err != nil {
		t.Fatalf("read of clone: %v", err)
	}
	c.n = t.number(p)
	c.dir = filepath.Join(mnt, "pty", strconv.Itoa(c.n))
	return c
}

// localPty mounts a server of the guest's own, which lets its user run commands: over tcp, as the host's is mounted, nobody is proven to be anybody.
// A guest has no file of users that knows root; nobody means whoever mounts.
func (t *T) localPty() string {
	socket, dir := t.base()+"/pty.sock", t.base()+"/pty"
	t.must(os.MkdirAll(dir, 0o755))
	t.serve("unix!"+socket, "--net", "host", "--device", "pty", "--pty-exec", "any-local")
	var err error
	if t.setup.FUSE {
		t.within(soon, "mount", func() { err = t.mountFUSE("unix!"+socket, dir) })
		t.must(err)
		t.Cleanup(func() { t.unmount(dir) })
		return dir
	}
	t.within(soon, "mount", func() { err = unix.Mount(socket, dir, "9p", 0, "trans=unix,"+t.options("uname=nobody")) })
	t.must(err)
	t.Cleanup(func() { t.unmount(dir) })
	return dir
}

// typed makes a key's effect plain: it is typed once the reader waits.
func (t *T) typed(tx *file, r *reader, key string) item {
	r.blocked()
	t.must(tx.write([]byte(key)))
	return r.next()
}

// ended waits until the command on a terminal has ended as status says.
func (t *T) ended(c *conv, end string) {
	t.until(soon, "status of "+c.dir+" has the line "+end, func() bool { return strings.Contains(t.text(c.at("status")), "\n"+end+"\n") })
}

// gone waits until no terminal is listed.
func (t *T) gone(mnt string) {
	t.until(soon, "no terminal is listed", func() bool {
		dirs, err := filepath.Glob(mnt + "/pty/[0-9]*")
		return err == nil && len(dirs) == 0
	})
}

func casePtyKeys(t *T) {
	c := t.terminal(t.mount())
	r := t.reader(c.at("rx"))
	tx := t.open(c.at("tx"), unix.O_WRONLY)
	for _, key := range []struct{ typed, shown string }{{"a", "a"}, {"b", "b"}, {"c", "c"}, {"\n", "\r\n"}} {
		if it := t.typed(tx, r, key.typed); it.err != nil || string(it.data) != key.shown {
			t.Errorf("the echo of %q is %q, %v; want %q out of one read", key.typed, it.data, it.err, key.shown)
		}
	}
	if got := t.mustSh(c.dir, "echo 33 101 > winsize && cat winsize"); strings.TrimRight(got, "\n") != "33 101" {
		t.Errorf("winsize is %q", got)
	}
	for _, bad := range []string{"0 80", "65536 80", "x y"} {
		if out, err := t.sh(c.dir, "echo "+bad+" > winsize"); err == nil && !t.forgetsErrors() {
			t.Errorf("winsize takes %s: %q", bad, out)
		}
	}
	if got := t.text(c.at("slave")); !strings.HasPrefix(got, "/dev/pts/") {
		t.Errorf("slave is %q", got)
	}
	t.wantErr("exec of somebody who is not proven", c.write([]byte("exec true\n")), unix.EPERM)
}

func casePtyKilledReader(t *T) {
	c := t.terminal(t.mount())
	tx := t.open(c.at("tx"), unix.O_WRONLY)
	for _, key := range []string{"a", "b", "c"} {
		r := t.reader(c.at("rx"))
		r.allBlocked(1)
		r.kill(unix.SIGKILL)
		t.until(soon, "no reader is left", func() bool { return strings.Contains(t.text(c.at("status")), "\nreaders 0\n") })
		t.must(tx.write([]byte(key))) // nobody reads: it is kept
		r = t.reader(c.at("rx"))
		if it := r.next(); it.err != nil || string(it.data) != key {
			t.Errorf("after a killed reader the next gets %q, %v; want %q", it.data, it.err, key)
		}
		r.kill(unix.SIGKILL)
	}
}

func casePtyShell(t *T) {
	mnt := t.localPty()
	got := t.mustSh(mnt+"/pty", `
exec 3<>clone; read n <&3
cat $n/rx >/tmp/shown & reader=$!
echo exec sh >&3
echo 'echo $((6*7))' >$n/tx
echo 'exit 3' >$n/tx
wait $reader
until grep '^exit ' $n/status; do sleep 0.1; done`)
	if got != "exit 3" {
		t.Errorf("status says %q, want exit 3", got)
	}
	if shown := t.text("/tmp/shown"); !strings.Contains(shown, "42\r\n") {
		t.Errorf("the shell shows %q, want 42 in it", shown)
	}
	t.gone(mnt)
}

// casePtyScreen uses an editor, which asks for the window's size, hears of a new one, and changes the line discipline.
func casePtyScreen(t *T) {
	var text strings.Builder
	for i := 1; i <= 30; i++ {
		fmt.Fprintf(&text, "line %d.\n", i)
	}
	t.must(os.WriteFile("/tmp/text", []byte(text.String()), 0o644))
	mnt := t.localPty()
	c := t.terminal(mnt)
	winsize, tx := t.open(c.at("winsize"), unix.O_WRONLY), t.open(c.at("tx"), unix.O_WRONLY)
	t.must(winsize.write([]byte("12 60\n")))
	r := t.reader(c.at("rx"))
	shown := ""
	until := func(want string) {
		for !strings.Contains(shown, want) {
			it := r.next()
			if it.err != nil || len(it.data) == 0 {
				t.Fatalf("shown is %q, then %v; want %q", shown, it.err, want)
			}
			shown += string(it.data)
		}
	}
	c.ctl("exec vi /tmp/text")
	until("line 11.")
	if strings.Contains(shown, "line 12.") {
		t.Errorf("on 12 rows line 12 is shown: %q", shown)
	}
	if s := t.text(c.at("status")); strings.Contains(s, "discipline cooked") {
		t.Errorf("vi has not changed the line discipline:\n%s", s)
	}
	t.must(winsize.write([]byte("26 60\n")))
	until("line 25.")
	t.must(tx.write([]byte(":q\r")))
	for it := r.next(); len(it.data) > 0 || it.err != nil; it = r.next() {
		if it.err != nil {
			t.Fatalf("the end of the editor is %v", it.err)
		}
	}
	t.ended(c, "exit 0")
}

func casePtyTwenty(t *T) {
	mnt := t.localPty()
	type window struct{ rx, tx *file }
	var convs []*conv
	var windows []window
	for i := range 20 {
		c := t.terminal(mnt)
		if c.n != i {
			t.Fatalf("terminal %d is called %d", i, c.n)
		}
		windows = append(windows, window{t.open(c.at("rx"), unix.O_RDONLY), t.open(c.at("tx"), unix.O_WRONLY)})
		c.ctl("exec sh -c 'read x; echo got $x'")
		convs = append(convs, c)
	}
	for i, w := range windows {
		t.must(w.tx.write(fmt.Appendf(nil, "number %d\n", i)))
	}
	for i, w := range windows {
		shown := ""
		for {
			p, err := w.rx.read(4096)
			if err != nil {
				t.Fatalf("terminal %d shows %q, then %v", i, shown, err)
			}
			if len(p) == 0 {
				break
			}
			shown += string(p)
		}
		if want := fmt.Sprintf("number %d\r\ngot number %d\r\n", i, i); shown != want {
			t.Errorf("terminal %d shows %q, want %q", i, shown, want)
		}
		t.ended(convs[i], "exit 0")
	}
	for i, w := range windows {
		w.rx.close()
		w.tx.close()
		convs[i].close()
	}
	t.gone(mnt)
}
