//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The program's own command to mount with the kernel's 9P, against servers in the guest itself.
func init() {
	cases["mount-command"] = caseMountCommand
	cases["mount-command-table"] = caseMountCommandTable
	cases["mount-command-ends"] = caseMountCommandEnds
}

const (
	mountUnix  = "unix!/run/mount.sock"
	mountTCP   = "tcp!127.0.0.1!5641"
	mountVsock = "vsock!local:5642"
)

// serveMounts starts the server of these cases.
func (t *T) serveMounts() *exec.Cmd {
	t.must(os.MkdirAll("/run", 0o755))
	return t.serve(mountUnix, "--listen", mountTCP, "--listen", mountVsock, "--socket-mode", "0666")
}

func caseMountCommand(t *T) {
	t.serveMounts()
	for _, m := range []struct {
		addr   string
		relays int
	}{{mountUnix, 0}, {mountTCP, 0}, {mountVsock, 0}, {"exec!clone9p relay " + mountUnix, 1}} {
		dir := t.mountBy("clone9p", "mount", "--kernel", m.addr)
		if n := t.mountProcesses(dir); n != m.relays {
			t.Errorf("%s: %d processes stay with the mount, want %d", m.addr, n, m.relays)
		}
		t.useMount(dir)
		if out := t.mustSh("/", "clone9p umount "+dir); out != "" {
			t.Errorf("%s: umount says %q", m.addr, out)
		}
		t.unmounted(dir)
	}
	t.mountUsers()
}

func caseMountCommandTable(t *T) {
	t.serveMounts()
	t.helperLink()
	t.mountErrors()
	t.mountTable()
	t.mountTLS()
	t.mountSilent()
}

func caseMountCommandEnds(t *T) {
	server := t.serveMounts()
	t.mountBusy()

	// The server dies: whoever waits hears of it, and the mount can be unmounted.
	var dirs []string
	var readers []*reader
	var convs []*conv
	for _, addr := range []string{mountUnix, mountTCP, "exec!clone9p relay " + mountUnix} {
		dir := t.mountBy("clone9p", "mount", addr)
		c := t.up(dir)
		r := t.reader(c.at("rx"))
		r.allBlocked(1)
		dirs, readers, convs = append(dirs, dir), append(readers, r), append(convs, c)
	}
	t.kill(server, unix.SIGKILL)
	for i, r := range readers {
		if it := r.frames(); it.err == nil {
			t.Errorf("%s: the reader sees the end of the file, want an error", dirs[i])
		}
		if _, err := os.ReadFile(dirs[i] + "/README"); err == nil {
			t.Errorf("%s: README can be read without a server", dirs[i])
		}
	}
	for _, c := range convs {
		c.close()
	}
	for _, dir := range dirs {
		t.within(soon, "umount", func() { t.mustSh("/", "clone9p umount "+dir) })
		t.unmounted(dir)
	}
}

// mountBy mounts by a command, to which it adds a new directory, and returns that.
func (t *T) mountBy(argv ...string) string {
	t.mounts++
	dir := fmt.Sprintf("/n/%s.%d", t.name, t.mounts)
	t.must(os.MkdirAll(dir, 0o755))
	cmd := exec.Command(argv[0], append(argv[1:], dir)...)
	t.runMount(cmd)
	if typ := mountType(dir); typ != "9p" {
		t.Fatalf("%v: the directory has a mount of type %q", cmd, typ)
	}
	return dir
}

// runMount runs a command that mounts, which has no output.
func (t *T) runMount(cmd *exec.Cmd) {
	// Its output is a file: a process that stays does not keep the case.
	out, err := os.CreateTemp("", "mount")
	t.must(err)
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	t.start(cmd)
	t.within(soon, cmd.String(), func() { err = cmd.Wait() })
	if text, _ := os.ReadFile(out.Name()); err != nil || len(text) > 0 {
		t.Fatalf("%v: %v: %s", cmd, err, text)
	}
}

// mountType is the type of the last mount on dir, "" for none.
func mountType(dir string) (typ string) {
	b, _ := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[1] == dir {
			typ = f[2]
		}
	}
	return typ
}

// mountProcesses counts the processes that mount on dir.
func (t *T) mountProcesses(dir string) (n int) {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		b, _ := os.ReadFile(p)
		if argv := strings.Split(string(b), "\x00"); len(argv) > 2 && argv[0] == "clone9p" && argv[1] == "mount" && argv[len(argv)-2] == dir {
			n++
		}
	}
	return n
}

// unmounted wants nothing of a mount left.
func (t *T) unmounted(dir string) {
	if typ := mountType(dir); typ != "" {
		t.Errorf("%s is still mounted, type %s", dir, typ)
	}
	t.until(soon, "the end of what relays for "+dir, func() bool { return t.mountProcesses(dir) == 0 })
}

// useMount does the usual: clone, ctl, one frame a read, a killed reader.
func (t *T) useMount(dir string) {
	c := t.up(dir)
	defer c.close()
	t.mustSh("/", "ip addr add 10.8.1.1/24 dev "+c.iface)
	rx := t.open(c.at("rx"), os.O_RDONLY)
	defer rx.close()
	_, _ = t.sh("/", "ping -c 1 -W 1 10.8.1.2") // nobody is there; but it is asked for
	p, err := rx.read(4096)
	for err == nil && (len(p) < 14 || p[12] != 8 || p[13] != 6) { // what IPv6 has to say comes first
		p, err = rx.read(4096)
	}
	if err != nil || len(p) != 42 {
		t.Errorf("read %d bytes (%v), want an ARP request in one read", len(p), err)
	}
	big := strings.Repeat("\x02\x00\x00\x00\x00\x09\x02\x00\x00\x00\x00\x01\x88\xb5", 100)
	tx := t.open(c.at("tx"), os.O_WRONLY)
	defer tx.close()
	if err := tx.write([]byte(big)); err != nil {
		t.Errorf("write of a frame: %v", err)
	}
	r := t.reader(c.at("status"), "-buf=100")
	if it := r.next(); it.err != nil || len(it.data) == 0 {
		t.Errorf("status: %d bytes, %v", len(it.data), it.err)
	}
	r = t.reader(c.at("rx"))
	r.allBlocked(1)
	r.kill(unix.SIGKILL)
	if text := t.text(c.at("ifname")); text != c.iface+"\n" {
		t.Errorf("after a killed reader ifname is %q", text)
	}
}

// mountUsers: over a unix socket each user is himself; over TCP all are nobody.
func (t *T) mountUsers() {
	dir := t.mountBy("clone9p", "mount", mountUnix)
	t.wantFlags(dir, "access=user")
	out, err := t.asUser(1000, dir+"/ethfoo", "exec 3<>clone; read n <&3; cat $n/status")
	if err != nil || !strings.Contains(out, "owner 1000 ") {
		t.Errorf("user 1000 is not himself: %v, %s", err, out)
	}
	t.mustSh("/", "clone9p umount "+dir)
	t.unmounted(dir)

	dir = t.mountBy("clone9p", "mount", mountTCP)
	t.wantFlags(dir, "access=any")
	if out := t.mustSh(dir+"/ethfoo", "exec 3<>clone; read n <&3; cat $n/status"); !strings.Contains(out, "owner nobody ") {
		t.Errorf("root over TCP is not nobody: %s", out)
	}
	t.mustSh("/", "clone9p umount "+dir)
	t.unmounted(dir)
}

// mountErrors: what is refused is told in words.
func (t *T) mountErrors() {
	dir := "/n/mount-errors"
	t.must(os.MkdirAll(dir, 0o755))
	for line, want := range map[string]string{
		"clone9p mount --aname /nosuch " + mountUnix + " " + dir:                      "the server has no such name",
		"clone9p mount --aname /nosuch 'exec!clone9p relay " + mountUnix + "' " + dir: "the server has no such name",
		"clone9p mount --aname '/?bogus=1' " + mountUnix + " " + dir:                  "cannot mount unix!",
		"clone9p mount 'exec!exit 0' " + dir:                                          "cannot mount exec!exit 0",
		"clone9p mount unix!/run/none " + dir:                                         "is clone9p serve running",
		"clone9p mount -o cache=loose " + mountUnix + " " + dir:                       "-o cache=loose: want ro,",
		"mount.clone9p " + mountUnix + " " + dir + " -o nosuch":                       "there is no such option",
		"clone9p mount --fuse --kernel " + mountUnix + " " + dir:                      "one will do",
		"clone9p umount " + dir:                                                       "nothing is mounted on " + dir,
	} {
		out, err := t.sh("/", line)
		if err == nil || !strings.Contains(out, want) || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: %v, %q, want %q", line, err, out, want)
		}
		if mountType(dir) != "" {
			t.Fatalf("%s: mounted", line)
		}
	}
	out, err := t.asUser(1000, "/", "clone9p mount "+mountUnix+" "+dir)
	if err == nil || !strings.Contains(out, "only root (CAP_SYS_ADMIN) can mount with the kernel's 9P; --fuse mounts for everybody") {
		t.Errorf("mount by user 1000: %v, %q", err, out)
	}
	t.unmounted(dir)
}

// mountBusy: a mount that is in use is detached, and goes with who uses it.
func (t *T) mountBusy() {
	for _, addr := range []string{mountUnix, "exec!clone9p relay " + mountUnix} {
		dir := t.mountBy("clone9p", "mount", addr)
		c := t.up(dir)
		r := t.reader(c.at("rx"))
		r.allBlocked(1)
		if out := t.mustSh("/", "clone9p umount "+dir); !strings.Contains(out, "it is detached, and ends with the last program that uses it") {
			t.Errorf("umount beside a reader says %q", out)
		}
		if typ := mountType(dir); typ != "" {
			t.Errorf("%s is still mounted, type %s", dir, typ)
		}
		r.kill(unix.SIGKILL)
		c.close()
		t.until(soon, c.iface+" goes", func() bool { _, err := os.Stat("/sys/class/net/" + c.iface); return err != nil })
		t.unmounted(dir)
	}
	// So it does in the foreground.
	dir := "/n/mount-foreground"
	t.must(os.MkdirAll(dir, 0o755))
	cmd := exec.Command("clone9p", "mount", "--foreground", mountUnix, dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // the console
	t.start(cmd)
	t.until(soon, dir+" is mounted", func() bool { return mountType(dir) == "9p" })
	t.kill(cmd, unix.SIGTERM)
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("mount --foreground ends with status %d after SIGTERM, want 0", code)
	}
	t.unmounted(dir)
	// What relays unmounts when it is asked to end.
	dir = t.mountBy("clone9p", "mount", "exec!clone9p relay "+mountUnix)
	t.mustSh("/", "kill $(ps -o pid,args | sed -n 's,^ *\\([0-9]*\\) clone9p mount .*"+dir+"$,\\1,p')")
	t.until(soon, dir+" is unmounted", func() bool { return mountType(dir) == "" })
	t.unmounted(dir)
}

// helperLink gives mount(8) its helper.
func (t *T) helperLink() {
	if err := os.Symlink("clone9p", "/bin/mount.clone9p"); err != nil && !os.IsExist(err) {
		t.Fatalf("%v", err)
	}
}

// mountTable: mount(8)'s helper, called by itself and by a line of /etc/fstab.
func (t *T) mountTable() {
	dir := t.mountBy("mount.clone9p", "-o", "aname=/ethfoo,ro,nosuid,_netdev,x-test", mountUnix)
	t.wantFlags(dir, "ro", "nosuid", "access=user", "aname=/ethfoo")
	if _, err := os.Stat(dir + "/clone"); err != nil {
		t.Errorf("aname=/ethfoo: %v", err)
	}
	t.mustSh("/", "umount "+dir)
	t.unmounted(dir)

	dir = "/n/mount-table"
	t.must(os.MkdirAll(dir, 0o755))
	t.must(os.MkdirAll("/etc", 0o755))
	t.must(os.WriteFile("/etc/fstab", []byte("exec!clone9p\\040relay\\040"+mountUnix+" "+dir+" clone9p aname=/ethfoo,access=any,noauto 0 0\n"), 0o644))
	t.runMount(exec.Command("mount", dir))
	t.wantFlags(dir, "access=any", "aname=/ethfoo") // busybox keeps flags such as noexec to itself
	if n := t.mountProcesses(dir); n != 1 {
		t.Errorf("%d processes stay with a mount of /etc/fstab, want 1", n)
	}
	if out := t.mustSh(dir, "exec 3<>clone; read n <&3; cat $n/ifname"); !strings.HasPrefix(out, "ethfoo") {
		t.Errorf("ifname is %q", out)
	}
	t.mustSh("/", "umount "+dir)
	t.unmounted(dir)
}

// wantFlags wants these words among a mount's options.
func (t *T) wantFlags(dir string, want ...string) {
	b, _ := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if f[1] != dir {
			continue
		}
		for _, w := range want {
			if !strings.Contains(","+f[3]+",", ","+w+",") {
				t.Errorf("the options of %s are %s, want %s among them", dir, f[3], w)
			}
		}
		return
	}
	t.Errorf("%s is not mounted", dir)
}

// mountTLS: over TLS with a certificate of root's each user is himself.
func (t *T) mountTLS() {
	const addr = "tls!127.0.0.1!5643"
	for file, line := range map[string]string{"/etc/passwd": "root:x:0:0::/:/bin/sh\n", "/etc/group": "root:x:0:\n"} {
		t.must(os.WriteFile(file, []byte(line), 0o644))
		t.Cleanup(func() { os.Remove(file) }) // other cases know users by their numbers
	}
	// One certificate for both sides, which believe it: it names the server's address and the user root.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	t.must(err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	t.must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	t.must(err)
	t.must(os.WriteFile("/etc/c.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	t.must(os.WriteFile("/etc/k.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))

	cmd := exec.Command("clone9p", "serve", "--listen", addr, "--tls-cert", "/etc/c.pem", "--tls-key", "/etc/k.pem", "--tls-client-ca", "/etc/c.pem")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // the console
	t.start(cmd)
	tls := []string{"--tls-cert", "/etc/c.pem", "--tls-key", "/etc/k.pem", "--tls-ca", "/etc/c.pem"}
	t.until(soon, "a server answers over TLS", func() bool {
		return exec.Command("clone9p", append([]string{"ls", "--addr", addr}, tls...)...).Run() == nil
	})
	dir := t.mountBy("mount.clone9p", "-o", "tls_cert=/etc/c.pem,tls_key=/etc/k.pem,tls_ca=/etc/c.pem", addr)
	t.wantFlags(dir, "access=user")
	if n := t.mountProcesses(dir); n != 1 {
		t.Errorf("%d processes stay with a mount over TLS, want 1", n)
	}
	for uid, want := range map[int]string{0: "owner root ", 1000: "owner 1000 "} {
		out, err := t.asUser(uid, dir+"/ethfoo", "exec 3<>clone; read n <&3; cat $n/status")
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("user %d over TLS, want %q: %v, %s", uid, want, err, out)
		}
	}
	t.mustSh("/", "umount "+dir)
	t.unmounted(dir)
}

// mountSilent: a server that says nothing makes no mount that hangs.
func (t *T) mountSilent() {
	const path = "/run/silent.sock"
	l, err := net.Listen("unix", path)
	t.must(err)
	t.Cleanup(func() { l.Close() })
	dir := "/n/mount-silent"
	t.must(os.MkdirAll(dir, 0o755))
	cmd := exec.Command("clone9p", "mount", "unix!"+path, dir)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	t.start(cmd)
	t.within(3*soon, cmd.String(), func() { err = cmd.Wait() })
	if err == nil || !strings.Contains(out.String(), "does not answer") || mountType(dir) != "" {
		t.Errorf("a mount of a server that says nothing: %v, %q", err, out.String())
	}
}
