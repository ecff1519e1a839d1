//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cases that type what the README says a virtual machine's user types.
func init() {
	cases["recipe-slirp"] = func(t *T) { t.device(t.followRecipe(), "nobody") }
	cases["recipe-guestfwd"] = func(t *T) { t.device(t.followRecipe(), "root") }
	cases["recipe-serial"] = caseRecipeSerial
	cases["recipe-vsock"] = caseRecipeVsock
	cases["recipe-virtfs"] = caseRecipeVirtfs
}

// followRecipe types what mounts, by whatever way, and returns where.
func (t *T) followRecipe() string {
	const mnt = "/n/clone"
	t.must(os.MkdirAll(mnt, 0o755))
	if out := t.mustSh("/", t.setup.Script); out != "" {
		t.Logf("%s", out)
	}
	t.Cleanup(func() { t.unmount(mnt) })
	return mnt
}

// caseRecipeVirtfs is a mount of a mount. QEMU opens twice what is opened once: that costs a conversation each time, which ends at once.
func caseRecipeVirtfs(t *T) {
	mnt := t.followRecipe()
	t.device(mnt, "root")
	clones := func() (n int) {
		_, after, _ := strings.Cut(t.text(mnt+"/ethfoo/stats"), "clones ")
		if _, err := fmt.Sscan(after, &n); err != nil {
			t.Fatalf("ethfoo/stats has no clones: %v", err)
		}
		return n
	}
	before := clones()
	c := t.clone(mnt)
	t.numbered(mnt, 1)
	t.until(soon, "one interface is left", func() bool { return len(t.ifaces()) == 1 })
	t.wantIface(c.iface, false)
	if n := clones() - before; n < 1 || n > 2 {
		t.Errorf("an open of clone has made %d conversations, want one, and QEMU's one more", n)
	} else {
		t.Logf("an open of clone: %d conversations", n)
	}
	// In a shell, as anybody does it.
	got := t.mustSh(mnt+"/ethfoo", "exec 3<>clone; read n <&3; echo up >&3; echo mtu 1400 >$n/ctl; grep -c '^mtu 1400$' $n/status; head -n 1 $n/status")
	if !strings.HasPrefix(got, "1\nethfoo/") || !strings.Contains(got, " up ") {
		t.Errorf("a shell's conversation says %q", got)
	}
	c.close()
	t.until(soon, "the interfaces are gone", func() bool { return len(t.ifaces()) == 0 })
}

// caseRecipeSerial is a mount over a port, and another one when the first has died with its reads pending.
func caseRecipeSerial(t *T) {
	t.setup.FUSE = true
	const port = "/dev/virtio-ports/clone9p" // as udev makes it
	t.must(os.MkdirAll(filepath.Dir(port), 0o755))
	t.must(os.Symlink("/dev/"+t.mustSh("/sys/class/virtio-ports", "grep -lx clone9p */name | sed s,/name,,"), port))
	// While nobody says anything the server ends the connection every 30 s, and QEMU makes a new one.
	t.until(soon, "somebody answers at "+port, func() bool { return exec.Command("clone9p", "ls", "--addr", "dev!"+port).Run() == nil })
	mnt := t.followRecipe()
	t.device(mnt, "root")

	if out, err := t.sh("/", "clone9p ls --addr dev!"+port); err == nil || !strings.Contains(out, "one client at a time") {
		t.Errorf("a second client of the port: %v, %q", err, out)
	}
	c := t.up(mnt)
	r := t.reader(c.at("rx"))
	r.blocked()
	src := t.source(c.iface, 22, 60, 1514)
	t.mustSh("/", "killall -9 clone9p; umount -l "+mnt)
	t.wantIface(c.iface, true) // nobody has told the server
	src.send(3)                // its answer waits for the next client
	t.mustSh("/", t.setup.Script)
	t.until(soon, "the interface is gone", func() bool { return len(t.ifaces()) == 0 })
	t.device(mnt, "root")
}

// caseRecipeVsock has server and client in one machine. Lines that end in & go on beside the others.
func caseRecipeVsock(t *T) {
	t.setup.FUSE = true
	rest := ""
	for line := range strings.Lines(t.setup.Script) {
		command, ok := strings.CutSuffix(strings.TrimSpace(line), " &")
		if !ok {
			rest += line
			continue
		}
		cmd := exec.Command("/bin/sh", "-c", "exec "+command)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // the console
		t.start(cmd)
	}
	first, _, _ := strings.Cut(rest, "\n")
	t.until(soon, "the server answers", func() bool { return exec.Command("/bin/sh", "-c", first).Run() == nil })
	t.setup.Script = rest
	mnt := t.followRecipe()
	got := t.mustSh(mnt+"/ethfoo", "exec 3<>clone; read n <&3; echo up >&3; dd if=$n/status 2>&-; ip link show ethfoo$n")
	if !strings.HasPrefix(got, "ethfoo/0 up owner nobody ") || !strings.Contains(got, "UP") {
		t.Errorf("a conversation is %q", got)
	}
}

// device uses the host's server as anybody would: an interface with a frame a read, a reader that is killed, the end. owner is who we are there; QEMU's
// user is root.
func (t *T) device(mnt, owner string) {
	c := t.up(mnt)
	t.wantIface(c.iface, true)
	if s := t.text(c.at("status")); !strings.HasPrefix(s, fmt.Sprintf("ethfoo/%d up owner %s ", c.n, owner)) {
		t.Errorf("status is %q", s)
	}
	src := t.source(c.iface, 21, 60, 1514)
	r := t.reader(c.at("rx"), bufFlag(64<<10))
	src.send(20)
	r.wantFrames(src, 0, 20)
	r.blocked()
	begin := time.Now()
	r.kill(unix.SIGKILL)
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("the killed reader took %v to die", took)
	}
	t.usable(mnt, c, src)
	c.close()
	// Where a FUSE mount is on the way the host hears of the close a moment later.
	t.until(soon, "the interface is gone", func() bool { return len(t.ifaces()) == 0 })
}
