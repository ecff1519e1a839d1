//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cases that type what the README says a virtual machine's user types.
func init() {
	cases["recipe-slirp"] = caseRecipe
	cases["recipe-guestfwd"] = caseRecipe
	cases["recipe-virtfs"] = caseRecipeVirtfs
}

// caseRecipe is a mount on /n/clone, by whatever way.
func caseRecipe(t *T) { t.device(t.followRecipe()) }

// followRecipe types it, and returns where it mounts.
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
	t.device(mnt)
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

// device uses the host's server as anybody would: an interface with a frame a read, a reader that is killed, the end.
func (t *T) device(mnt string) {
	c := t.up(mnt)
	t.wantIface(c.iface, true)
	if s := t.mustSh(c.dir, "cat status"); !strings.Contains(s, "ethfoo/"+strconv.Itoa(c.n)+" up ") {
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
