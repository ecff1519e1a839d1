//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// section returns what the README has below a heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(b), "\n#### "+heading+"\n")
	if !ok {
		t.Fatalf("the README has no recipe %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	return section
}

// recipe returns the lines that the README tells a reader to type below a heading, a string for each piece of it.
func recipe(t *testing.T, heading string) (pieces []string) {
	t.Helper()
	piece := ""
	for line := range strings.Lines(section(t, heading)) {
		if typed, ok := strings.CutPrefix(line, "    $ "); ok {
			piece += typed
			continue
		}
		if piece != "" && !strings.HasPrefix(line, "    ") {
			pieces = append(pieces, piece)
			piece = ""
		}
	}
	if piece != "" {
		pieces = append(pieces, piece)
	}
	return pieces
}

// A kitchen is a directory in which recipes are carried out, with the program where the README has it.
type kitchen struct {
	t    *testing.T
	dir  string
	addr string // of its server
}

func newKitchen(t *testing.T) *kitchen {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-") // sockets want short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(built.server, filepath.Join(dir, "bin/clone9p")); err != nil {
		t.Fatal(err)
	}
	return &kitchen{t: t, dir: dir, addr: "unix!" + filepath.Join(dir, "s")}
}

// serve starts a server, by what stands before its name on the command line, if anything, and waits until it answers.
func (k *kitchen) serve(before []string, flags ...string) {
	k.t.Helper()
	log := newTail("server")
	argv := append(append(before, built.server, "serve", "--listen", k.addr), flags...)
	server := exec.Command(argv[0], argv[1:]...)
	server.Stdout, server.Stderr = log, log
	if err := startChild(server); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
		if k.t.Failed() {
			k.t.Logf("the server's log:\n%s", log.since(0, 40))
		}
	})
	for end := time.Now().Add(time.Minute); exec.Command(built.server, "ls", "--addr", k.addr).Run() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			k.t.Fatalf("%v does not answer:\n%s", server, log.since(0, 40))
		}
	}
}

// shell is an interactive shell that is typed script, by what stands before its name. It reads a line at a time, as from a terminal: what a line starts
// is typed the lines behind it.
func (k *kitchen) shell(ctx context.Context, before []string, script string, env ...string) *exec.Cmd {
	argv := append(before, "bash")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = k.dir
	cmd.Env = append(append(os.Environ(), "CLONE9P_ADDR="+k.addr), env...)
	cmd.Stdin = strings.NewReader(script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // all that was typed
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// cook carries out a script and returns what it printed; it must succeed.
func (k *kitchen) cook(before []string, script string, env ...string) string {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := k.shell(ctx, before, script, env...).CombinedOutput()
	if err != nil {
		k.t.Fatalf("%s%v\n%s", script, err, out)
	}
	return string(out)
}

// vmInit is the first program of the recipe's virtual machine.
const vmInit = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
for m in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$m; done
/bin/busybox ip addr add 10.9.0.2/24 dev eth0
/bin/busybox ip link set eth0 up
/bin/busybox ping -c 3 -s 1400 10.9.0.1 && echo "THE MACHINE HAS PINGED"
/bin/busybox poweroff -f
`

func TestRecipes(t *testing.T) {
	t.Run("vm", func(t *testing.T) {
		pieces := recipe(t, "A virtual machine's network from a file")
		if len(pieces) != 1 {
			t.Fatalf("the recipe has %d pieces", len(pieces))
		}
		kernel, err := fetchKernel("6.1")
		if err != nil {
			t.Fatal(err)
		}
		k := newKitchen(t)
		init, initrd := filepath.Join(k.dir, "init"), filepath.Join(k.dir, "initrd")
		if err := os.WriteFile(init, []byte(vmInit), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := writeInitramfs(initrd, kernel, init); err != nil {
			t.Fatal(err)
		}
		k.serve(nil, "--net", "private")
		machine := "-nodefaults -no-user-config -no-reboot -display none -monitor none -machine pc -accel tcg,thread=multi -cpu max,la57=off -m 512 -serial stdio" +
			" -kernel " + filepath.Join(kernel.dir, "vmlinuz") + " -initrd " + initrd +
			" -append console=ttyS0\\ panic=-1\\ quiet\\ mitigations=off\\ nokaslr"
		script := strings.Replace(pieces[0], "$MACHINE", machine, 1)
		var out string
		for range maxTries { // see machine.boot
			if out = k.cook(nil, script+"true\n"); strings.Contains(out, "PING 10.9.0.1") {
				break
			}
		}
		if !strings.Contains(out, "THE MACHINE HAS PINGED") {
			t.Errorf("the machine has not pinged:\n%s", out)
		}
	})
	t.Run("capture", func(t *testing.T) {
		pieces := recipe(t, "A packet capture")
		if len(pieces) != 1 {
			t.Fatalf("the recipe has %d pieces", len(pieces))
		}
		k := newKitchen(t)
		k.serve(nil, "--net", "private")
		if out := k.cook(nil, pieces[0]); !strings.Contains(out, "Who has 10.9.0.2? Tell 10.9.0.1") {
			t.Errorf("tshark has not seen the kernel look for 10.9.0.2:\n%s", out)
		}
	})
	t.Run("hosts", func(t *testing.T) {
		pieces := recipe(t, "Two hosts on one Ethernet")
		if len(pieces) != 3 {
			t.Fatalf("the recipe has %d pieces", len(pieces))
		}
		names := []string{fmt.Sprintf("e2e-a-%d", os.Getpid()), fmt.Sprintf("e2e-b-%d", os.Getpid())}
		in := func(host int) []string { return []string{"ip", "netns", "exec", names[host]} }
		ip := func(args ...string) {
			t.Helper()
			if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				t.Fatalf("ip %v: %v\n%s", args, err, out)
			}
		}
		for _, n := range names {
			ip("netns", "add", n)
			t.Cleanup(func() { exec.Command("ip", "netns", "delete", n).Run() })
		}
		ip("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for host, n := range names {
			ip("-n", n, "addr", "add", fmt.Sprintf("192.0.2.%d/24", host+1), "dev", "eth0")
			ip("-n", n, "link", "set", "eth0", "up")
			k := newKitchen(t)
			k.serve(in(host), "--net", "host")
			var out bytes.Buffer
			shell := k.shell(ctx, in(host), pieces[host]+"exec sleep 1000\n")
			shell.Stdout, shell.Stderr = &out, &out
			if err := shell.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				cancel()
				shell.Wait()
				if t.Failed() {
					t.Logf("host %d:\n%s", host, &out)
				}
			})
		}
		// They type at their own pace: the ping is tried until both are there.
		k := newKitchen(t)
		var err error
		var said []byte
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if said, err = k.shell(context.Background(), in(0), pieces[2]).CombinedOutput(); err == nil {
				break
			}
		}
		if err != nil {
			t.Errorf("%s%v\n%s", pieces[2], err, said)
		}
	})
	t.Run("guest", guestRecipes)
}
