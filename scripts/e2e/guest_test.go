//go:build e2e && linux

package e2e

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
)

// A guest is a machine in QEMU that waits for cases.
type guest struct {
	release string // of its kernel
	console *tail
	port    net.Conn   // its second serial port
	conn    *talk.Conn // what is said there

	cmd    *exec.Cmd
	dir    string        // of its initramfs and its socket
	exited chan struct{} // closed when QEMU has ended
}

// errNotUp says that a guest was started and did not come up.
var errNotUp = errors.New("did not come up")

// bootTime is how long a guest may take to say Ready. Alone it takes a few seconds.
const bootTime = 2 * time.Minute

// slirp are the options that give a guest a network, in which it calls nobody but 10.0.2.2, which is this machine's loopback.
var slirp = []string{"-nic", "user,model=virtio-net-pci,ipv6=off"}

// startGuest boots a guest, with QEMU in a directory and with options for its devices, and returns when it is ready. It is to be killed.
func startGuest(k kernel, dir string, options []string) (_ *guest, err error) {
	g := &guest{console: newTail("console " + k.name), exited: make(chan struct{})}
	if g.dir, err = os.MkdirTemp("", "e2e-"); err != nil { // a socket's path may have 107 bytes, which a test's own directory can exceed
		return nil, err
	}
	defer func() {
		if err != nil {
			g.kill()
			err = fmt.Errorf("guest %s: %w\nits console:\n%s", k.name, err, g.console.since(0, 80))
		}
	}()
	initrd := filepath.Join(g.dir, "initrd")
	if err := writeInitramfs(initrd, k, built.guest); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(g.dir, "port"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	g.cmd = exec.Command("qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none",
		// Where /dev/kvm works it is not used either: a slow guest finds more races, and all machines find the same.
		"-machine", "pc", "-accel", "tcg,thread="+k.threads(), "-cpu", "max,la57=off", "-smp", "2", "-m", "768",
		"-kernel", filepath.Join(k.dir, "vmlinuz"), "-initrd", initrd,
		// A panic ends QEMU.
		"-append", "console=ttyS0 panic=-1 quiet loglevel=5 mitigations=off nokaslr random.trust_cpu=on",
		"-serial", "stdio",
		"-chardev", "socket,id=port,path="+filepath.Join(g.dir, "port"), "-serial", "chardev:port")
	g.cmd.Args = append(g.cmd.Args, options...)
	g.cmd.Dir = dir
	g.cmd.Stdout, g.cmd.Stderr = g.console, g.console
	if err := startChild(g.cmd); err != nil {
		g.cmd = nil
		return nil, err
	}
	up := false
	defer func() {
		if !up {
			err = fmt.Errorf("%w: %w", errNotUp, err)
		}
	}()
	go func() { // ends with QEMU
		_ = g.cmd.Wait()
		close(g.exited)
		l.Close() // nobody is coming any more
	}()
	deadline := time.Now().Add(bootTime)
	_ = l.SetDeadline(deadline)
	if g.port, err = l.Accept(); err != nil {
		return nil, fmt.Errorf("QEMU did not connect: %w", err)
	}
	_ = g.port.SetDeadline(deadline)
	g.conn = talk.New(g.port)
	m, err := g.conn.Recv()
	if err != nil {
		return nil, err
	}
	if m.Kind != talk.Ready {
		return nil, fmt.Errorf("says %q, want that it is ready", m.Kind)
	}
	g.release, up = m.Name, true
	return g, nil
}

// kill ends the guest at once, as a power cut does.
func (g *guest) kill() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill()
		<-g.exited
	}
	if g.port != nil {
		g.port.Close()
	}
	os.RemoveAll(g.dir)
}

// writeInitramfs writes all that the guest has: its first program, a shell, the program under test and the modules.
func writeInitramfs(path string, k kernel, init string) error {
	var w cpio
	for _, dir := range []string{"dev", "bin", "modules", "n", "tmp", "proc", "sys"} {
		w.add(dir, 0o040755, nil)
	}
	w.device("dev/console", 5, 1) // else the first program has no descriptors
	modules, err := filepath.Glob(filepath.Join(k.dir, "*.ko"))
	if err != nil {
		return err
	}
	files := map[string]string{"init": init, "bin/busybox": built.busybox, "bin/clone9p": built.server, "modules/order": filepath.Join(k.dir, "order")}
	for _, m := range modules {
		files["modules/"+filepath.Base(m)] = m
	}
	for name, from := range files {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		w.add(name, 0o100755, b)
	}
	return os.WriteFile(path, w.bytes(), 0o600)
}

// A cpio is an archive as the kernel wants its initramfs: format "newc", Documentation/driver-api/early-userspace/buffer-format.rst.
type cpio struct {
	buf bytes.Buffer
	ino int
}

func (c *cpio) add(name string, mode uint32, data []byte) { c.entry(name, mode, 0, 0, data) }

func (c *cpio) device(name string, major, minor int) { c.entry(name, 0o020600, major, minor, nil) }

func (c *cpio) entry(name string, mode uint32, major, minor int, data []byte) {
	c.ino++
	fields := []int{c.ino, int(mode), 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0}
	c.buf.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(&c.buf, "%08X", f)
	}
	c.buf.WriteString(name + "\x00")
	c.pad()
	c.buf.Write(data)
	c.pad()
}

// pad fills up to a multiple of four.
func (c *cpio) pad() {
	for c.buf.Len()%4 != 0 {
		c.buf.WriteByte(0)
	}
}

func (c *cpio) bytes() []byte {
	c.entry("TRAILER!!!", 0, 0, 0, nil)
	return c.buf.Bytes()
}

// isStatic reports whether a program needs no dynamic linker, which a guest has not.
func isStatic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return f.Machine == elf.EM_X86_64
}

// A tail is a writer that keeps the end of what was written. It is safe for concurrent use.
type tail struct {
	name string

	mu   sync.Mutex // guards what follows
	kept []byte
	lost int // bytes before kept
}

const tailKeeps = 1 << 20

func newTail(name string) *tail { return &tail{name: name} }

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailKeeps; over > tailKeeps {
		t.kept = append([]byte(nil), t.kept[over:]...)
		t.lost += over
	}
	if *verboseConsole {
		_, _ = io.WriteString(os.Stderr, "["+t.name+"] "+strings.TrimSuffix(string(p), "\n")+"\n")
	}
	return len(p), nil
}

// mark is where the tail is now, for since.
func (t *tail) mark() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost + len(t.kept)
}

// since returns what was written after mark, its last lines at most.
func (t *tail) since(mark, lines int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimRight(strings.ReplaceAll(string(t.kept[min(max(mark-t.lost, 0), len(t.kept)):]), "\r", ""), "\n")
	all := strings.Split(text, "\n")
	if over := len(all) - lines; over > 0 {
		all = append([]string{fmt.Sprintf("(%d lines before)", over)}, all[over:]...)
	}
	return strings.Join(all, "\n")
}
