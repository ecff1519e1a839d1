//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func init() {
	cases["mount"] = caseMount
	cases["mount-cache-mmap"] = caseMountCacheMmap
	cases["attach-name"] = caseAttachName
	cases["ls"] = caseLs
	cases["looks-plain"] = caseLooksPlain
	cases["no-clone-by-accident"] = caseNoCloneByAccident
}

func caseMount(t *T) {
	mnt := t.mount()
	if got := t.text(mnt + "/README"); !strings.Contains(got, "mount") {
		t.Errorf("README is %q, want the mount line in it", got)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(mnt, &st); err != nil {
		t.Errorf("statfs: %v", err)
	}
	mounts, _ := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, mnt) {
			t.Logf("%s", line)
		}
	}
}

// With qid.version 0 the kernel goes past its cache from 6.12 on; with any other, cat of a file of size 0 would be empty.
func caseMountCacheMmap(t *T) {
	mnt := t.mount("cache=mmap")
	if got := t.mustSh(mnt, "cat README"); !strings.Contains(got, "mount") {
		t.Errorf("cat README gives %q, want the mount line in it", got)
	}
	c := t.up(mnt)
	for range 2 {
		if got := t.mustSh(c.dir, "cat ctl"); strings.TrimRight(got, "\n") != fmt.Sprint(c.n) {
			t.Errorf("cat ctl gives %q, want %d", got, c.n)
		}
	}
}

func caseAttachName(t *T) {
	mnt := t.mount("aname=/ethfoo?records=on")
	t.mustSh(mnt, "cat help && exec 3<>clone && read n <&3 && ls $n")
	for _, bad := range []string{"/ethfoo?colour=blue", "/?records=perhaps", "/nosuchdevice"} {
		dir, err := t.tryMount(t.setup.Port, "aname="+bad)
		if err == nil {
			t.Errorf("mount with aname=%s succeeds", bad)
			t.unmount(dir)
		}
	}
}

func caseLs(t *T) {
	mnt := t.mount()
	c := t.clone(mnt)
	t.Logf("%s", t.mustSh(mnt, "ls -lR"))
	want := map[string]bool{} // path: is a directory
	for _, p := range []string{"README", "devices", "stats", "ethfoo/clone", "ethfoo/help", "ethfoo/stats"} {
		want[p] = false
	}
	for _, f := range []string{"ctl", "data", "rx", "tx", "status", "addr", "ifname", "stats", "ifstats", "type"} {
		want[fmt.Sprintf("ethfoo/%d/%s", c.n, f)] = false
	}
	want["."], want["ethfoo"], want[fmt.Sprintf("ethfoo/%d", c.n)] = true, true, true

	seen := map[string]bool{}
	err := filepath.WalkDir(mnt, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Errorf("walk: %v", err)
			return nil
		}
		name, _ := filepath.Rel(mnt, path) // path is below mnt
		seen[name] = true
		info, err := d.Info()
		if err != nil {
			t.Errorf("stat %s: %v", name, err)
			return nil
		}
		dir, known := want[name]
		switch {
		case known && info.IsDir() != dir, !info.IsDir() && !info.Mode().IsRegular():
			t.Errorf("%s has mode %v", name, info.Mode())
		case info.Mode().IsRegular() && info.Size() != 0:
			t.Errorf("%s has size %d, want 0", name, info.Size())
		}
		return nil
	})
	t.must(err)
	for name := range want {
		if !seen[name] {
			t.Errorf("%s is not listed", name)
		}
	}
	// What can be read to an end can be read by cat.
	for _, f := range []string{"README", "devices", "stats", "ethfoo/help", "ethfoo/stats"} {
		if got := t.text(filepath.Join(mnt, f)); !strings.HasSuffix(got, "\n") {
			t.Errorf("%s is %q, want lines", f, got)
		}
	}
	for _, f := range []string{"ctl", "status", "addr", "ifname", "stats", "ifstats", "type"} {
		if got := t.text(c.at(f)); !strings.HasSuffix(got, "\n") {
			t.Errorf("%s is %q, want lines", f, got)
		}
	}
	if got := strings.TrimSpace(t.text(c.at("ifname"))); got != c.iface {
		t.Errorf("ifname is %q, want %s", got, c.iface)
	}
	if _, err := os.Stat(mnt + "/ethfoo/nosuch"); !os.IsNotExist(err) {
		t.Errorf("stat of a missing file: %v", err)
	}
}

func caseLooksPlain(t *T) {
	mnt := t.mount()
	c := t.clone(mnt)
	buf := make([]byte, 64)
	for _, f := range []string{"ctl", "data", "status"} {
		if _, err := unix.Getxattr(c.at(f), "security.capability", buf); err != unix.EOPNOTSUPP && err != unix.ENODATA {
			t.Errorf("getxattr of %s: %v, want EOPNOTSUPP", f, err)
		}
	}
	// What a shell's > does to a file, by its parts.
	for _, f := range []string{"ctl", "data", "tx"} {
		if err := os.Truncate(c.at(f), 0); err != nil {
			t.Errorf("%v", err)
		}
		t.open(c.at(f), unix.O_WRONLY|unix.O_TRUNC).close()
		t.open(c.at(f), unix.O_WRONLY|unix.O_CREAT).close()
	}
	ctl := t.open(c.at("ctl"), unix.O_RDWR)
	if err := unix.Ftruncate(ctl.fd, 0); err != nil {
		t.Errorf("ftruncate ctl: %v", err)
	}
	if err := unix.Fsync(ctl.fd); err != nil {
		t.Errorf("fsync ctl: %v", err)
	}
	if err := unix.Access(c.at("status"), unix.R_OK); err != nil {
		t.Errorf("access status: %v", err)
	}
	// What a tree of devices cannot do, it refuses.
	for what, err := range map[string]error{
		"mkdir":   unix.Mkdir(mnt+"/ethfoo/new", 0o755),
		"symlink": unix.Symlink("a", mnt+"/ethfoo/new"),
		"link":    unix.Link(c.at("ctl"), mnt+"/new"),
		"rename":  unix.Rename(c.at("ctl"), c.at("new")),
		"rmdir":   unix.Rmdir(c.dir),
		"mknod":   unix.Mknod(mnt+"/new", unix.S_IFIFO|0o600, 0),
	} {
		if err == nil {
			t.Errorf("%s succeeds", what)
		}
	}
	if _, err := unix.Open(mnt+"/ethfoo/new", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644); err == nil {
		t.Errorf("creating a file succeeds")
	}
	// It is still there after all that.
	c.ctl("up")
	t.wantIface(c.iface, true)
}

func caseNoCloneByAccident(t *T) {
	mnt := t.mount()
	before := t.text(mnt + "/ethfoo/stats")
	t.mustSh(mnt, "ls -l ethfoo; test -r ethfoo/clone; test -w ethfoo/clone; stat ethfoo/clone")
	t.mustSh(mnt, "cat ethfoo/help; find . -type f; chmod 666 ethfoo/clone || true")
	if after := t.text(mnt + "/ethfoo/stats"); after != before {
		t.Errorf("ethfoo/stats is %q, was %q", after, before)
	}
	if got := t.ifaces(); len(got) != 0 {
		t.Errorf("interfaces %v, want none", got)
	}
}
