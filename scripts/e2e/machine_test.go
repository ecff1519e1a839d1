//go:build e2e && linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
)

// A machine is one kernel with the servers it mounts: what the cases of that kernel share. The host itself is one too, see fuse_test.go. A machine is for one goroutine, its test's.
type machine struct {
	start   func() (*guest, error)
	servers map[string]*server // by identity
	guest   *guest             // nil when none is running
	boots   int
}

// maxBoots is how many guests may be lost to cases before the rest are given up.
const maxBoots = 5

// maxTries is how often a boot is tried.
const maxTries = 3

// newMachine fetches the kernel of that name. It skips the test, loudly, when that is the newest and cannot be had.
func newMachine(t *testing.T, name string) *machine {
	k, err := fetchKernel(name)
	if errors.Is(err, errNoKernel) && name == "newest" {
		t.Skipf("**** THE NEWEST KERNEL CANNOT BE HAD: NOTHING IS TESTED ON IT ****\n%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Linux %s", k.version)
	return machineOf(t, func() (*guest, error) { return startGuest(k, "", slirp) })
}

func machineOf(t *testing.T, start func() (*guest, error)) *machine {
	m := &machine{start: start, servers: map[string]*server{}}
	t.Cleanup(func() {
		m.endGuest()
		for _, s := range m.servers {
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		}
	})
	return m
}

// server returns the server with that notion of identity, starting it if need be.
func (m *machine) server(t *testing.T, identity string) *server {
	if s := m.servers[identity]; s != nil && s.alive() {
		return s
	}
	s, err := startServer(identity)
	if err != nil {
		t.Fatal(err)
	}
	m.servers[identity] = s
	return s
}

// boot returns the running guest, booting one if need be.
func (m *machine) boot(t *testing.T) *guest {
	if m.guest != nil {
		return m.guest
	}
	if m.boots >= maxBoots {
		t.Fatalf("%d guests were lost to earlier cases: not booting another", m.boots)
	}
	m.boots++
	begin := time.Now()
	g, err := m.start()
	// A kernel that patches itself while it boots, under an emulator, panics or hangs once in a while. That is no fault of what is tested.
	for try := 1; try < maxTries && errors.Is(err, errNotUp); try++ {
		t.Logf("%v\nbooting once more", err)
		g, err = m.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Linux %s is up after %v", g.release, time.Since(begin).Round(100*time.Millisecond))
	m.guest = g
	return g
}

func (m *machine) endGuest() {
	if m.guest != nil {
		m.guest.kill()
		m.guest = nil
	}
}

// errGuestKilled ends a case whose point was the guest's death.
var errGuestKilled = errors.New("the guest has been killed, as asked")

// run has the guest carry out a case.
func (m *machine) run(t *testing.T, name string, setup talk.Setup) {
	s := m.server(t, setup.Identity)
	g := m.boot(t)
	h := &host{t: t, server: s, guest: g}
	defer h.end()
	console, log := g.console.mark(), s.log.mark()
	defer func() {
		if t.Failed() {
			t.Logf("the guest's console:\n%s", g.console.since(console, 60))
			t.Logf("the server's log:\n%s", s.log.since(log, 40))
		}
	}()

	setup.Port = s.port
	res, err := h.converse(name, setup)
	switch {
	case errors.Is(err, errGuestKilled):
		m.endGuest()
		return
	case err != nil:
		m.endGuest()
		t.Errorf("%v", err)
	default:
		for _, f := range res.Fails {
			t.Errorf("%s", f)
		}
		for _, l := range res.Log {
			t.Logf("%s", l)
		}
		if res.Hung {
			m.endGuest()
		}
	}
	// Whatever a case did, nothing of it is left, and the server still serves.
	if !s.alive() {
		t.Errorf("the server has ended: %v", s.waitErr)
		return
	}
	if !h.wantNoIfaces(time.Second) {
		m.endGuest() // the next case begins with nothing
	}
}

// converse says Run and then does what the guest asks for until it is Done.
func (h *host) converse(name string, setup talk.Setup) (talk.Result, error) {
	// The guest gives up on a case by itself; some seconds later we give up on the guest.
	if err := h.guest.port.SetDeadline(time.Now().Add(setup.Timeout + 15*time.Second)); err != nil {
		return talk.Result{}, err
	}
	conn := h.guest.conn
	if err := conn.Send(talk.Run, name, setup, ""); err != nil {
		return talk.Result{}, err
	}
	for {
		msg, err := conn.Recv()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return talk.Result{}, fmt.Errorf("the guest is silent: %v have passed", setup.Timeout+15*time.Second)
		} else if err != nil {
			return talk.Result{}, fmt.Errorf("the guest is gone (%w)", err)
		}
		switch msg.Kind {
		case talk.Done:
			var res talk.Result
			if err := json.Unmarshal(msg.Body, &res); err != nil {
				return res, err
			}
			if !res.OK && len(res.Fails) == 0 {
				res.Fails = []string{"the guest says it failed and not why"}
			}
			return res, nil
		case talk.Call:
			answer, err := h.answer(msg.Name, msg.Body)
			if errors.Is(err, errGuestKilled) {
				return talk.Result{}, err
			}
			failure := ""
			if err != nil {
				failure = err.Error()
			}
			if err := conn.Send(talk.Reply, msg.Name, answer, failure); err != nil {
				return talk.Result{}, err
			}
		default:
			return talk.Result{}, fmt.Errorf("the guest says %q, want a call or the end", msg.Kind)
		}
	}
}

// A kernel is what guest-kernels has fetched.
type kernel struct{ name, version, dir string }

// threads says whether QEMU emulates the kernel's processors side by side. The newest patches itself in ways that QEMU gets wrong then.
func (k kernel) threads() string {
	if k.name == "newest" {
		return "single"
	}
	return "multi"
}

var errNoKernel = errors.New("kernel cannot be had")

// fetchKernel has guest-kernels fetch the kernel of that name, unless it has it.
func fetchKernel(name string) (kernel, error) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return kernel{}, errors.New("nothing boots a kernel: please install the package qemu-system-x86")
	}
	var stderr strings.Builder
	cmd := exec.Command("./guest-kernels", name)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return kernel{}, fmt.Errorf("guest-kernels %s: %w\n%s", name, err, stderr.String())
	}
	fields := strings.Split(strings.TrimSpace(string(out)), "\t")
	if len(fields) != 3 {
		return kernel{}, fmt.Errorf("%s: %w\n%s", name, errNoKernel, stderr.String())
	}
	return kernel{fields[0], fields[1], fields[2]}, nil
}
