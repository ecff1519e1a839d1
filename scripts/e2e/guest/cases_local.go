//go:build linux

package main

import (
	"os"
	"os/exec"
	"strings"
)

// Cases of a server that runs in the guest itself, the program under test at /bin/clone9p: what an ordinary Linux machine does.
func init() {
	cases["unix"] = caseUnix
}

// serve starts a server in the guest and waits until it answers at addr.
func (t *T) serve(addr string, flags ...string) *exec.Cmd {
	cmd := exec.Command("clone9p", append([]string{"serve", "--listen", addr}, flags...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // the console
	t.start(cmd)
	t.until(soon, "clone9p serve --listen "+addr+" answers", func() bool {
		return exec.Command("clone9p", "ls", "--addr", addr).Run() == nil
	})
	return cmd
}

// caseUnix mounts a server by the very line that its README tells, and has two users use it, each as himself.
func caseUnix(t *T) {
	t.must(os.MkdirAll("/run", 0o755))
	t.serve("unix!/run/clone9p.sock", "--socket-mode", "0666")
	line := t.mustSh("/", `clone9p read --addr 'unix!/run/clone9p.sock' /README | sed -n 's/^ *\(mount -t 9p .*\)/\1/p'`)
	if !strings.Contains(line, "trans=unix") {
		t.Fatalf("README's line to mount is %q", line)
	}
	words := strings.Fields(line)
	dir := words[len(words)-1]
	t.must(os.MkdirAll(dir, 0o755))
	t.Logf("%s", t.mustSh("/", line))
	t.Cleanup(func() { t.unmount(dir) })

	for uid, want := range map[int]string{0: "owner 0 ", 1000: "owner 1000 "} {
		out, err := t.asUser(uid, dir+"/ethfoo", "exec 3<>clone; read n <&3; echo up > $n/ctl && cat $n/status && ip link show ethfoo$n")
		if err != nil || !strings.Contains(out, want) || !strings.Contains(out, "UP") {
			t.Errorf("user %d, want %q and an interface that is up: %v\n%s", uid, want, err, out)
		}
	}
	c := t.up(dir)
	if out, err := t.asUser(1000, c.dir, "exec 3< rx"); err == nil {
		t.Errorf("user 1000 opens root's rx: %q", out)
	}
	t.mustSh(dir, "ip addr add 10.8.0.1/24 dev "+c.iface)
	rx := t.open(c.at("rx"), os.O_RDONLY)
	defer rx.close()
	_, _ = t.sh("/", "ping -c 1 -W 1 10.8.0.2") // nobody is there; but it is asked for
	p, err := rx.read(4096)
	for err == nil && (len(p) < 14 || p[12] != 8 || p[13] != 6) { // what IPv6 has to say comes first
		p, err = rx.read(4096)
	}
	if err != nil || len(p) != 42 {
		t.Errorf("read %d bytes (%v), want an ARP request in one read", len(p), err)
	}
}
