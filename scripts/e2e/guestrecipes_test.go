//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/scripts/e2e/internal/plan"
	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
)

// A way is how a virtual machine gets at a server: a recipe of the README, and the case that types in the guest what it says.
type way struct {
	name, heading, guest string

	host    string   // what is typed on the host before QEMU is started
	options []string // of QEMU
	typed   string   // in the guest
}

// guestRecipes carries out the recipes of the README's section about virtual machines. One guest has the devices of them all.
func guestRecipes(t *testing.T) {
	kernel, err := fetchKernel("6.12")
	if err != nil {
		t.Fatal(err)
	}
	k := newKitchen(t)
	mnt := filepath.Join(k.dir, "n")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	var options []string
	m := machineOf(t, func() (*guest, error) { return startGuest(kernel, k.dir, options) })
	s := m.server(t, "nobody")
	k.addr = "unix!" + s.socket()

	ways := []*way{
		{name: "slirp", heading: "Over the guest's network", guest: "recipe-slirp"},
		{name: "guestfwd", heading: "Over a command of QEMU's, without a port", guest: "recipe-guestfwd"},
		{name: "serial", heading: "Over a virtio-serial port", guest: "recipe-serial"},
		{name: "vsock", heading: "Over vsock", guest: "recipe-vsock"},
		{name: "virtfs", heading: "Through a directory of the host", guest: "recipe-virtfs"},
	}
	// The server and the directory are where a test may have them.
	here := strings.NewReplacer("/run/clone9p.sock", s.socket(), "5640", fmt.Sprint(s.port), "/n/clone", mnt)
	there := strings.NewReplacer("5640", fmt.Sprint(s.port))
	for _, w := range ways {
		w.read(t)
		w.host, w.typed = here.Replace(w.host), there.Replace(w.typed)
		for i, o := range w.options {
			w.options[i] = here.Replace(o)
		}
	}
	// The same directory once more, mapped.
	for _, w := range ways {
		if w.name != "virtfs" {
			continue
		}
		mapped := &way{name: "virtfs-mapped", guest: w.guest, typed: strings.Replace(w.typed, " clone ", " mapped ", 1)}
		asMapped := strings.NewReplacer("passthrough", "mapped-xattr", "mount_tag=clone", "mount_tag=mapped")
		for _, o := range w.options {
			mapped.options = append(mapped.options, asMapped.Replace(o))
		}
		if mapped.typed == w.typed || mapped.options[1] == w.options[1] {
			t.Fatalf("the recipe %q has no mount_tag=clone,security_model=passthrough", w.heading)
		}
		ways = append(ways, mapped)
		t.Cleanup(func() { exec.Command(built.server, "umount", mnt).Run() }) // whatever the recipe came to
	}
	nic := map[string]string{}
	for _, w := range ways {
		for i := 0; i < len(w.options); i += 2 {
			if w.options[i] == "-nic" {
				nic[w.name] = w.options[i+1]
				continue
			}
			options = append(options, w.options[i], w.options[i+1])
		}
	}
	// guestfwd is something that the one network has besides.
	if !strings.HasPrefix(nic["guestfwd"], nic["slirp"]+",") || nic["slirp"] == "" {
		t.Fatalf("the two recipes' networks differ: %q", nic)
	}
	options = append(options, "-nic", nic["guestfwd"])
	for _, w := range ways {
		if w.host != "" {
			k.cook(nil, w.host)
		}
	}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			m.run(t, w.guest, talk.Setup{Dialect: plan.Linux, Identity: "nobody", Msize: plan.MaxMsize, Timeout: time.Minute, Script: w.typed})
		})
	}
}

// read finds the recipe: lines that begin with $ are typed on the host, and with # in the guest.
func (w *way) read(t *testing.T) {
	t.Helper()
	const qemu = "qemu-system-x86_64 $MACHINE "
	for line := range strings.Lines(strings.Join(recipe(t, w.heading), "")) {
		words, ok := strings.CutPrefix(line, qemu)
		if !ok {
			w.host += line
			continue
		}
		out, err := exec.Command("sh", "-c", "printf '%s\\n' "+words).Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		w.options = append(w.options, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")...)
	}
	if len(w.options)%2 != 0 {
		t.Fatalf("the options %q do not come with a word each", w.options)
	}
	for line := range strings.Lines(section(t, w.heading)) {
		if typed, ok := strings.CutPrefix(line, "    # "); ok {
			w.typed += typed
		}
	}
	if w.typed == "" {
		t.Fatalf("the recipe %q has nothing to type in the guest", w.heading)
	}
}
