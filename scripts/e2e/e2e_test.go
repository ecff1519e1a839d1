//go:build e2e && linux

package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clone9p/clone9p/scripts/e2e/internal/plan"
	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
)

var (
	verboseConsole = flag.Bool("console", false, "show the guests' consoles and the servers' logs as they come")
	serverBinary   = flag.String("server", "", "test this `program` instead of building cmd/clone9p")
)

// The programs under test, built once.
var built struct{ server, guest, busybox string }

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if os.Geteuid() != 0 {
		return asRoot()
	}
	if err := prerequisites(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "clone9p-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

// asRoot runs the tests as root of a user namespace of their own: an ordinary user may make network namespaces and enter them only there.
func asRoot() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	cmd := exec.Command("unshare", append([]string{"--user", "--map-root-user", "--", self}, os.Args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "e2e: entering a user namespace:", err)
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	return 1 // not started, or killed
}

// prerequisites says what has to be installed for all tests. What boots guests wants QEMU besides.
func prerequisites() error {
	var missing []string
	for _, need := range []struct{ program, pkg string }{
		{"busybox", "busybox-static"},
	} {
		path, err := exec.LookPath(need.program)
		if err != nil || need.program == "busybox" && !isStatic(path) {
			missing = append(missing, need.pkg)
		}
		if need.program == "busybox" {
			built.busybox = path
		}
	}
	if missing != nil {
		return fmt.Errorf("please install the package(s) %s", strings.Join(missing, " "))
	}
	return nil
}

// build makes the server and the guest's program.
func build(dir string) error {
	built.server, built.guest = *serverBinary, filepath.Join(dir, "guest")
	goBuild := func(out, pkg string, env ...string) error {
		cmd := exec.Command("go", "build", "-o", out, "github.com/clone9p/clone9p/"+pkg)
		cmd.Env = append(os.Environ(), env...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", cmd, err, text)
		}
		return nil
	}
	if built.server == "" {
		built.server = filepath.Join(dir, "e2e-server")
		if err := goBuild(built.server, "cmd/clone9p", "CGO_ENABLED=0"); err != nil { // static: guests have it too
			return err
		}
	}
	return goBuild(built.guest, "scripts/e2e/guest", "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
}

// Test carries out every case of the plan on every kernel: Test/KERNEL/tcp/DIALECT/CASE.
func Test(t *testing.T) {
	for _, k := range []struct {
		name     string
		dialects []string
	}{
		// All three dialects on one kernel, which takes longest and so begins.
		{"6.12", []string{plan.Linux, plan.Unix, plan.Plain}},
		{"6.1", []string{plan.Linux}},
		{"newest", []string{plan.Linux}},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel() // as many at once as there are processors
			m := newMachine(t, k.name)
			t.Run("tcp", func(t *testing.T) {
				for _, dialect := range k.dialects {
					t.Run(dialect, func(t *testing.T) { testDialect(t, m, dialect) })
				}
			})
		})
	}
}

func testDialect(t *testing.T, m *machine, dialect string) {
	for _, c := range plan.Cases {
		if c.Recipe || c.Only != "" && c.Only != dialect {
			continue
		}
		setup := setupOf(c, dialect)
		t.Run(c.Name, func(t *testing.T) { m.run(t, c.Name, setup) })
		if c.SmallToo {
			setup.Msize = plan.DefaultMsize
			t.Run(c.Name+"-small", func(t *testing.T) { m.run(t, c.Name, setup) })
		}
	}
}

// setupOf is what a case is to work on in a dialect.
func setupOf(c plan.Case, dialect string) talk.Setup {
	setup := talk.Setup{Dialect: dialect, Identity: c.Identity, Msize: plan.MaxMsize, Timeout: time.Minute}
	if setup.Identity == "" {
		setup.Identity = "trust"
	}
	return setup
}

// startChild starts a process that dies with the test, however that ends. The kernel ties this to the thread that starts the process; so one
// thread starts them all, and it never ends, as those of inNetns do.
func startChild(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	children <- func() { started <- cmd.Start() }
	return <-started
}

var children = func() chan<- func() {
	c := make(chan func())
	go func() { // lives as long as the test
		runtime.LockOSThread()
		for f := range c {
			f()
		}
	}()
	return c
}()
