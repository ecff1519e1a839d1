//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clone9p/clone9p/scripts/e2e/internal/plan"
	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
)

func init() {
	cases["clone-in-a-shell"] = caseCloneInAShell
	cases["clone-number"] = caseCloneNumber
	cases["clone-lowest"] = caseCloneLowest
	cases["ctl-forms"] = caseCtlForms
	cases["ctl-errors"] = caseCtlErrors
	cases["close"] = caseClose
	cases["kill-holder"] = caseKillHolder
	cases["hangup"] = caseHangup
	cases["stale"] = caseStale
	cases["trap-second-clone"] = caseTrapSecondClone
	cases["trap-cat-ctl"] = caseTrapCatCtl
	cases["trap-write-pread"] = caseTrapWritePread
	cases["users"] = caseUsers
	cases["users-nobody"] = caseUsersNobody
}

// ifaces lists the interfaces that conversations have, by name.
func (t *T) ifaces() map[string]talk.Iface {
	var list []talk.Iface
	t.call("ifaces", nil, &list)
	m := map[string]talk.Iface{}
	for _, i := range list {
		m[i.Name] = i
	}
	return m
}

// wantIface wants an interface there, up or down. It returns it.
func (t *T) wantIface(name string, up bool) talk.Iface {
	i, ok := t.ifaces()[name]
	if !ok {
		t.Fatalf("the host has no interface %s", name)
	}
	if i.Up != up {
		t.Errorf("%s up: %v, want %v", name, i.Up, up)
	}
	return i
}

// wantNoIface wants an interface gone now. What waits for a close waits for its end, but by FUSE, which tells of a close after it has returned.
func (t *T) wantNoIface(name string) {
	if t.setup.FUSE {
		t.until(soon, "the end of "+name, func() bool { _, there := t.ifaces()[name]; return !there })
		return
	}
	if i, ok := t.ifaces()[name]; ok {
		t.Errorf("the host still has an interface %v", i)
	}
}

// numbered waits until n numbers of ethfoo are in use: one is free when the driver has closed, a moment after the kernel's interface is gone.
func (t *T) numbered(mnt string, n int) {
	want := fmt.Sprintf("\nconversations %d\n", n)
	t.until(soon, fmt.Sprintf("ethfoo/stats says%q", want), func() bool { return strings.Contains(t.text(mnt+"/ethfoo/stats"), want) })
}

// cloneAs clones when the number n is free, and wants it. By FUSE a number becomes free a moment after the close that ends its conversation.
func (t *T) cloneAs(mnt string, n int) *conv {
	for end := time.Now().Add(soon); ; {
		c := t.clone(mnt)
		if c.n == n {
			return c
		}
		if !t.setup.FUSE || time.Now().After(end) {
			t.Fatalf("the next clone is %d, want %d", c.n, n)
		}
		c.close()
	}
}

// goneSoon wants all interfaces gone within a second, which is what killing their holders may take.
func (t *T) goneSoon(what string) {
	begin := time.Now()
	for len(t.ifaces()) > 0 {
		if time.Since(begin) > time.Second {
			t.Fatalf("%s: a second later the host still has %v", what, t.ifaces())
		}
	}
	t.Logf("%s: all gone after %v", what, time.Since(begin).Round(time.Millisecond))
}

func caseCloneInAShell(t *T) {
	mnt := t.mount()
	// The shell holds fd 3 until it is told to go on.
	cmd := exec.Command("/bin/sh", "-c", "exec 3<>clone; read n <&3; echo $n; ls $n; echo end; read go; exec 3>&-; echo closed; read go")
	cmd.Dir = mnt + "/ethfoo"
	in, err := cmd.StdinPipe()
	t.must(err)
	out := &lines{t: t}
	cmd.Stdout, cmd.Stderr = out.writer(), out.writer()
	t.start(cmd)
	n := out.next()
	var files []string
	for l := out.next(); l != "end"; l = out.next() {
		files = append(files, l)
	}
	t.Logf("clone %s has %v", n, files)
	t.wantIface("ethfoo"+n, false)
	if len(files) < 8 {
		t.Errorf("ls of ethfoo/%s gives %v", n, files)
	}
	fmt.Fprintln(in)
	if l := out.next(); l != "closed" {
		t.Errorf("the shell says %q", l)
	}
	t.wantNoIface("ethfoo" + n)
	if _, err := os.Stat(mnt + "/ethfoo/" + n); !os.IsNotExist(err) {
		t.Errorf("stat ethfoo/%s: %v, want that it does not exist", n, err)
	}
}

func caseCloneNumber(t *T) {
	mnt := t.mount()
	f := t.open(mnt+"/ethfoo/clone", unix.O_RDWR)
	p, err := f.read(4096)
	if err != nil || string(p) != "0\n" {
		t.Fatalf("the first read of 4096 gives %q, %v; want \"0\\n\"", p, err)
	}
	if p, err := f.read(4096); err != nil || len(p) != 0 {
		t.Errorf("the second read gives %q, %v; want the end", p, err)
	}
	if p, err := f.pread(4096, 0); err != nil || string(p) != "0\n" {
		t.Errorf("pread at 0 gives %q, %v", p, err)
	}
	if p, err := f.pread(1, 0); err != nil || string(p) != "0" {
		t.Errorf("pread of one byte at 0 gives %q, %v", p, err)
	}
	if p, err := f.pread(1, 1); err != nil || string(p) != "\n" {
		t.Errorf("pread of one byte at 1 gives %q, %v", p, err)
	}
	// The kernel has opened clone and knows nothing of ctl.
	var a, b unix.Stat_t
	t.must(unix.Fstat(f.fd, &a))
	t.must(unix.Stat(mnt+"/ethfoo/clone", &b))
	if a.Ino != b.Ino || a.Size != 0 {
		t.Errorf("fstat of the descriptor: inode %d size %d, want clone's %d and 0", a.Ino, a.Size, b.Ino)
	}
	if p, err := f.pread(4096, 0); err != nil || string(p) != "0\n" {
		t.Errorf("after fstat pread at 0 gives %q, %v", p, err)
	}
	if got := t.text(mnt + "/ethfoo/0/ctl"); got != "0\n" {
		t.Errorf("ctl reads as %q", got)
	}
}

func caseCloneLowest(t *T) {
	mnt := t.mount()
	t.numbered(mnt, 0) // what the case before had is over
	var cs []*conv
	for i := range 100 {
		c := t.clone(mnt)
		if c.n != i {
			t.Fatalf("clone number %d is called %d", i, c.n)
		}
		cs = append(cs, c)
	}
	if got := len(t.ifaces()); got != 100 {
		t.Errorf("the host has %d interfaces, want 100", got)
	}
	cs[17].close()
	t.wantNoIface("ethfoo17")
	t.numbered(mnt, 99)
	t.cloneAs(mnt, 17) // the lowest free one
}

func caseCtlForms(t *T) {
	mnt := t.mount()
	c := t.clone(mnt)
	t.wantIface(c.iface, false)
	for _, form := range []string{
		"echo %s > ctl", "echo %s >> ctl", "echo %s 1<> ctl",
		"printf %%s %s > ctl", "echo %s | dd of=ctl 2>/dev/null", "cp /dev/fd/9 ctl 9<<E\n%s\nE\n",
	} {
		for _, state := range []string{"up", "down"} {
			script := fmt.Sprintf(form, state)
			if out, err := t.sh(c.dir, script); err != nil || out != "" {
				t.Errorf("sh -c %q: %v, %q", script, err, out)
			}
			if i := t.wantIface(c.iface, state == "up"); t.failed() {
				t.Fatalf("after %q: %v", script, i)
			}
		}
	}
	// Several lines in one write.
	t.mustSh(c.dir, `printf 'mtu 1400\nup\n' > ctl`)
	if i := t.wantIface(c.iface, true); i.MTU != 1400 {
		t.Errorf("mtu %d, want 1400", i.MTU)
	}
	if got := t.mustSh(c.dir, "cat ctl"); strings.TrimRight(got, "\n") != fmt.Sprint(c.n) {
		t.Errorf("cat ctl gives %q, want %d", got, c.n)
	}
}

// failed reports whether the case has failed so far.
func (t *T) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.fails) > 0
}

func caseCtlErrors(t *T) {
	mnt := t.mount()
	c := t.clone(mnt)
	before := t.wantIface(c.iface, false)
	for _, bad := range []struct {
		msg   string
		errno []unix.Errno
	}{
		{"bogus", []unix.Errno{unix.EINVAL}},
		{"up now", []unix.Errno{unix.EINVAL}},
		{"mtu", []unix.Errno{unix.EINVAL}},
		{"mtu many", []unix.Errno{unix.EINVAL}},
		{"mtu 1", []unix.Errno{unix.EINVAL}},
		{"addr 00:11:22", []unix.Errno{unix.EINVAL}},
		{"add 10.1.2.3", []unix.Errno{unix.EINVAL}},
		{"remove 10.9.9.9/24", []unix.Errno{unix.EADDRNOTAVAIL, unix.EINVAL}},
		{"queue 0", []unix.Errno{unix.EINVAL}},
	} {
		t.wantErr("ctl "+bad.msg, c.write([]byte(bad.msg+"\n")), bad.errno...)
	}
	if after := t.wantIface(c.iface, false); after != before {
		t.Errorf("the interface is %v, was %v", after, before)
	}
	if out, err := t.sh(c.dir, "echo bogus > ctl"); err == nil {
		t.Errorf("echo bogus > ctl succeeds in the shell and prints %q", out)
	}
	// Twice the same address: the kernel's refusal arrives.
	c.ctl("add 10.1.2.3/24")
	t.wantErr("the same address again", c.write([]byte("add 10.1.2.3/24\n")), unix.EEXIST, unix.EBUSY)
	// Lines before a bad one stand.
	t.wantErr("up, bogus, mtu 1300 in one write", c.write([]byte("up\nbogus\nmtu 1300\n")), unix.EINVAL)
	if i := t.wantIface(c.iface, true); i.MTU != before.MTU {
		t.Errorf("mtu %d, want %d: what follows a bad message is not carried out", i.MTU, before.MTU)
	}
	// Too small a frame.
	tx := t.open(c.at("tx"), unix.O_WRONLY)
	t.wantErr("a frame of 13 bytes", tx.write(make([]byte, 13)), unix.EINVAL)
	t.wantErr("a frame of mtu+19 bytes", tx.write(make([]byte, before.MTU+19)), unix.EMSGSIZE)
	// Halves that are not there. The client's root may open anything; the server says no.
	if _, err := t.tryOpen(c.at("rx"), unix.O_WRONLY); err == nil {
		t.Errorf("rx opens for writing")
	}
	if _, err := t.tryOpen(c.at("tx"), unix.O_RDONLY); err == nil {
		t.Errorf("tx opens for reading")
	}
	if _, err := t.tryOpen(mnt+"/ethfoo/99/ctl", unix.O_RDWR); !errors.Is(err, unix.ENOENT) {
		t.Errorf("open of a conversation that is not there: %v", err)
	}
}

func caseClose(t *T) {
	mnt := t.mount()
	c := t.up(mnt)
	status := t.open(c.at("status"), unix.O_RDONLY)
	ctl := t.open(c.at("ctl"), unix.O_RDWR)
	rx := t.open(c.at("rx"), unix.O_RDONLY)
	// Each of the working files holds the conversation alone; status does not.
	c.close()
	t.wantIface(c.iface, true)
	ctl.close()
	t.wantIface(c.iface, true)
	rx.close()
	t.wantNoIface(c.iface) // Rclunk follows the end of the interface
	if _, err := os.Stat(c.dir); !os.IsNotExist(err) {
		t.Errorf("stat %s: %v, want that it does not exist", c.dir, err)
	}
	if p, err := status.pread(100, 0); err == nil && len(p) > 0 {
		t.Errorf("status of a dead conversation reads as %q", p)
	}
	status.close()
	t.numbered(mnt, 0)
	t.cloneAs(mnt, c.n) // again
}

func caseKillHolder(t *T) {
	mnt := t.mount()
	cmd := exec.Command("/bin/sh", "-c", "exec 3<>clone 4<>clone 5<>clone; echo up >&3; echo up >&4; echo open; exec sleep 1000")
	cmd.Dir = mnt + "/ethfoo"
	out := &lines{t: t}
	cmd.Stdout, cmd.Stderr = out.writer(), out.writer()
	t.start(cmd)
	if l := out.next(); l != "open" {
		t.Fatalf("the shell says %q", l)
	}
	if got := t.ifaces(); len(got) != 3 {
		t.Fatalf("the host has %v, want 3 interfaces", got)
	}
	t.kill(cmd, unix.SIGKILL)
	t.goneSoon("holder killed")
}

func caseHangup(t *T) {
	mnt := t.mount()
	c := t.up(mnt)
	r := t.reader(c.at("rx"))
	r.blocked()
	c.ctl("hangup")
	t.wantErr("the blocked read", r.frames().err, unix.EIO)
	_, err := c.pread(100, 0)
	t.wantErr("read of ctl after hangup", err, unix.EIO)
	t.wantErr("write to ctl after hangup", c.write([]byte("up\n")), unix.EIO)
	t.goneSoon("hung up")
	if _, err := t.tryOpen(c.at("ctl"), unix.O_RDWR); !errors.Is(err, unix.ENOENT) {
		t.Errorf("open of ctl after hangup: %v, want ENOENT", err)
	}
}

func caseStale(t *T) {
	mnt := t.mount()
	t.numbered(mnt, 0)
	old := t.clone(mnt)
	status := t.open(old.at("status"), unix.O_RDONLY)
	dir, err := unix.Open(old.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	t.must(err)
	old.ctl("label first")
	if p, err := status.pread(4096, 0); err != nil || !strings.Contains(string(p), "first") {
		t.Errorf("status is %q, %v; want the label in it", p, err)
	}
	old.close()
	t.numbered(mnt, 0)
	c := t.cloneAs(mnt, old.n) // again
	c.ctl("label second")      // by clone's own descriptor
	if p, err := status.pread(4096, 0); strings.Contains(string(p), "second") {
		t.Errorf("a descriptor of the dead conversation reads the new one: %q, %v", p, err)
	}
	if fd, err := unix.Openat(dir, "ctl", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		unix.Close(fd)
		t.Errorf("the directory of the dead conversation leads into the new one")
	}
	// As long as something of the old directory is open, its name leads this client there and not to the server.
	status.close()
	t.must(unix.Close(dir))
	if got := t.text(c.at("status")); !strings.Contains(got, "second") {
		t.Errorf("status of the new conversation is %q", got)
	}
}

// From 6.12 on a write makes the kernel believe that the file, clone's included, is as long as what was written; a read that ends before that
// is an endless loop or ENODATA.
func caseTrapSecondClone(t *T) {
	mnt := t.mount()
	first := t.up(mnt)
	first.ctl("label a-label-of-some-length-that-makes-the-file-look-long")
	for i := range 3 {
		f := t.open(mnt+"/ethfoo/clone", unix.O_RDWR)
		p, err := f.read(4096)
		if err != nil {
			t.Fatalf("read of the second clone: %v", err)
		}
		if n := t.number(p); n != i+1 && !t.setup.FUSE { // see cloneAs
			t.Errorf("the second clone reads as %q, want %d", p, i+1)
		}
		t.must(f.write([]byte("up\n")))
		if i == 1 {
			// From another process, too, and a byte at a time, as a shell reads. The kernel may close what a process had open
			// after its parent has heard of its end (seen on 7.3): number 3 is the next one's when the interface is gone.
			gone := func() {
				t.until(time.Second, "the end of a shell that held a clone", func() bool { _, there := t.ifaces()["ethfoo3"]; return !there })
			}
			if got := t.mustSh(mnt, "exec 3<>ethfoo/clone; read n <&3; echo $n"); got != "3" {
				t.Errorf("a shell's clone is %q, want 3", got)
			}
			gone()
			if got := t.mustSh(mnt, "exec 3<>ethfoo/clone; head -n 1 <&3"); got != "3" && !(t.setup.FUSE && got == "4") {
				t.Errorf("a shell's clone, read by head, is %q, want 3", got)
			}
			gone()
		}
	}
}

func caseTrapCatCtl(t *T) {
	mnt := t.mount()
	c := t.clone(mnt)
	w := t.open(c.at("ctl"), unix.O_WRONLY)
	for i := range 3 {
		t.must(w.write([]byte("label " + strings.Repeat("x", 20*(i+1)) + "\n")))
		if got := t.mustSh(c.dir, "cat ctl"); strings.TrimRight(got, "\n") != fmt.Sprint(c.n) {
			t.Errorf("cat ctl beside a writer gives %q, want %d", got, c.n)
		}
		if got := t.text(c.at("ctl")); t.number([]byte(got)) != c.n {
			t.Errorf("ctl beside a writer reads as %q, want %d", got, c.n)
		}
	}
}

func caseTrapWritePread(t *T) {
	mnt := t.mount()
	c := t.clone(mnt)
	f := t.open(c.at("ctl"), unix.O_RDWR)
	msg := "label " + strings.Repeat("y", 57) + "\n"
	if len(msg) != 64 {
		t.Fatalf("the message has %d bytes", len(msg))
	}
	t.must(f.write([]byte(msg)))
	for _, n := range []int{4096, 1, 2, 64, 65, 1 << 20} {
		p, err := f.pread(n, 0)
		want := fmt.Sprintf("%d\n", c.n)
		want = want[:min(n, len(want))]
		rest, ok := strings.CutPrefix(string(p), want)
		if err != nil || !ok || strings.Trim(rest, "\n") != "" {
			t.Errorf("64 bytes written, then pread of %d at 0: %q, %v", n, p, err)
		}
	}
	// To the end, whatever that is, in a bounded number of reads.
	var off int64
	for range 100 {
		p, err := f.pread(16, off)
		if err != nil {
			t.Fatalf("pread at %d: %v", off, err)
		}
		if len(p) == 0 {
			break
		}
		off += int64(len(p))
	}
	if off > 64 {
		t.Errorf("ctl goes on to %d bytes after a write of 64", off)
	}
	// A look at the file lets the kernel forget what it believed.
	var st unix.Stat_t
	t.must(unix.Fstat(f.fd, &st))
	if p, err := f.pread(4096, 0); err != nil || t.number(p) != c.n {
		t.Errorf("after fstat pread gives %q, %v", p, err)
	}
}

// asUser runs a script as an ordinary user of the guest, and returns its output and its error.
func (t *T) asUser(uid int, dir, script string) (string, error) {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir = dir
	cmd.SysProcAttr = &unix.SysProcAttr{Credential: credential(uid)}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	t.start(cmd)
	var err error
	t.within(soon, fmt.Sprintf("sh -c %q as user %d", script, uid), func() { err = cmd.Wait() })
	return out.String(), err
}

func caseUsers(t *T) {
	mnt := t.mount()
	out, err := t.asUser(1000, mnt+"/ethfoo", "exec 3<>clone; read n <&3; echo up > $n/ctl && stat -c '%u %a' $n/ctl && cat $n/status")
	if err != nil || !strings.Contains(out, "1000 660") {
		t.Errorf("user 1000 clones: %v\n%s", err, out)
	}
	// A conversation of root's is closed to others, one's own is not; root may do everything.
	c := t.clone(mnt)
	for _, f := range []string{"ctl", "data", "rx"} {
		if out, err := t.asUser(1000, c.dir, "exec 3< "+f); err == nil || !strings.Contains(strings.ToLower(out), "permission denied") {
			t.Errorf("user 1000 opens %s of root's conversation: %v %q", f, err, out)
		}
	}
	if out, err := t.asUser(1000, c.dir, "cat status"); err != nil {
		t.Errorf("user 1000 reads status of root's conversation: %v\n%s", err, out)
	}
	out, err = t.asUser(1000, mnt+"/ethfoo", "exec 3<>clone; read n <&3; echo $n; chmod 600 $n/ctl; stat -c %a $n/ctl")
	if err != nil || !strings.HasSuffix(out, "600\n") {
		t.Errorf("user 1000 closes his own conversation to his group: %v\n%s", err, out)
	}
	if out, err := t.asUser(1000, c.dir, "chmod 666 ctl"); err == nil {
		t.Errorf("user 1000 changes the mode of root's conversation: %q", out)
	}
	t.mustSh(c.dir, "chmod 666 ctl")
	if out, err := t.asUser(1000, c.dir, "echo up > ctl"); err != nil {
		t.Errorf("user 1000 writes ctl of mode 666: %v\n%s", err, out)
	}
	t.wantIface(c.iface, true)
}

func caseUsersNobody(t *T) {
	mnt := t.mount()
	c := t.up(mnt)
	// Root and an ordinary user of the guest are the same nobody: 0666 lets the guest's own kernel pass.
	out, err := t.asUser(1000, c.dir, "echo down > ctl && cat status && stat -c %a ctl data")
	if err != nil || !strings.Contains(out, "666") {
		t.Errorf("user 1000 uses the conversation: %v\n%s", err, out)
	}
	t.wantIface(c.iface, false)
	out, err = t.asUser(1000, mnt+"/ethfoo", "exec 3<>clone; read n <&3; echo up > $n/ctl; cat $n/status")
	if err != nil {
		t.Errorf("user 1000 clones: %v\n%s", err, out)
	}
	if t.dialect(plan.Linux) {
		// access=user works as well: whatever uid attaches is nobody.
		mnt := t.mount("access=user")
		if out, err := t.asUser(1000, mnt+"/ethfoo", "exec 3<>clone; read n <&3; echo up > $n/ctl; cat $n/status"); err != nil {
			t.Errorf("access=user: user 1000 clones: %v\n%s", err, out)
		}
	}
}
