package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/clone9p/clone9p/server/listen"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A mountRequest is what the command line of mount asks for.
type mountRequest struct {
	addr, dir  string
	aname      string
	options    []string // of mount(8)
	access     string   // any, user, or "" for what is right
	perUser    bool     // through FUSE
	allowOther bool
	foreground bool
	log        string // a file; "" leaves it to standard error, or the system's log in the background
}

// There are two ways to mount: the kernel's v9fs, and FUSE. A way mounts and returns when nothing is mounted any more, or when the mount needs this
// process no longer; ready is called once, when the mount can be used.
type mountWay func(ctx context.Context, r mountRequest, ready func() error) error

// unmountWays are the ways to unmount, by the type that the kernel shows of a mount.
var unmountWays = map[string]func(ctx context.Context, dir string) (detached bool, err error){
	"fuse.clone9p": unmountFUSE,
	"9p":           unmountKernel,
}

func (a *app) mountCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "mount [--fuse|--kernel] [FLAGS] ADDR DIR",
		DisableFlagsInUseLine: true,
		Short:                 "Mount a server's tree on a directory",
		Long: `Mount shows the tree of the server at ADDR in the directory DIR, until "clone9p umount DIR" or umount(8), and returns when it is there. With --foreground
it stays, and SIGINT or SIGTERM unmounts.

It uses the kernel's own 9P where there is one, which takes root, and otherwise FUSE, as --fuse always does. Nothing is cached, one read(2) is one record.

The kernel gets the connection over unix, tcp and vsock, and needs this program no longer. For all other addresses, and with --foreground, a process stays
and relays, which ends with the mount. All who use the mount are one user at the server, nobody where nothing proves who that is; with --access user each user
attaches as himself, as is the default over a unix socket, and over TLS for whom the certificate calls root. The kernel checks each file's mode against
its user besides. When the server goes, whatever uses the mount gets errors (ECONNRESET, then EIO), and the mount can be unmounted.

Through FUSE root mounts by himself, an ordinary user by the program fusermount3; a process stays. Opening clone in there begins a conversation, and a signal
ends a read that waits. What differs from the kernel's 9P: a conversation ends a moment after the close(2) that ends it; a read that any signal interrupts fails
with EINTR; a file data that was opened for reading and writing has no offset to seek; and sendfile(2) and splice(2) find every file empty, so that busybox's
cat prints nothing where dd does.

All who use a mount by FUSE have the mounter's identity at the server. Only the mounter gets in, unless he is root or says --allow-other (/etc/fuse.conf has to allow
that); then the kernel checks each file's mode against its user. With --access user, for root and a server that believes him, as one does over a unix
socket, every user attaches as himself. When the server goes, whatever uses the mount gets the error "Transport endpoint is not connected", until it is unmounted.

For /etc/fstab and mount(8) this program is its own helper under the name mount.clone9p:

    ln -s "$(command -v clone9p)" /sbin/mount.clone9p

    unix!/run/clone9p.sock  /n/clone   clone9p  _netdev,nofail                  0  0
    tcp!10.0.2.2!5640       /n/ethfoo  clone9p  aname=/ethfoo,nosuid,noauto     0  0

It takes these options: aname=NAME, access=WHO, fuse, kernel, allow_other, log=FILE, tls_cert=FILE, tls_key=FILE, tls_ca=FILE, those that --options does, and
those that are for mount(8) alone (auto, noauto, user, nofail, _netdev, x-*).`,
		Example: "  clone9p mount unix!/run/clone9p.sock /n/clone\n  clone9p mount 'exec!ssh host clone9p relay' /n/host\n  clone9p mount --fuse --aname /ethfoo tcp!10.0.2.2!5640 ~/ethfoo",
		Args:    exactly("an address ADDR", "a directory DIR"),
	}
	var r mountRequest
	tlsFlags(cmd)
	flags := cmd.Flags()
	fuse := flags.Bool("fuse", false, "use FUSE also where the kernel has 9P")
	kernel := flags.Bool("kernel", false, "use the kernel's 9P, or fail")
	flags.StringVar(&r.aname, "aname", "/", "mount the `NAME` of the server: a directory, and options as /ethfoo?patience=45s")
	flags.StringSliceVarP(&r.options, "options", "o", nil, "mount(8)'s `OPTIONS`, separated by commas: ro, noexec; the kernel's 9P also takes msize=, uname=, dfltuid=, dfltgid=")
	flags.StringVar(&r.access, "access", "", "who uses the mount is `WHO` at the server: any (all the mounter), or user (each himself; default as said above)")
	flags.BoolVar(&r.allowOther, "allow-other", false, "let other users in; root's mounts do")
	flags.BoolVar(&r.foreground, "foreground", false, "stay in the foreground")
	flags.StringVar(&r.log, "log", "", "append what happens to `FILE` (default: standard error in the foreground, or else syslog)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r.addr, r.dir = args[0], args[1]
		switch {
		case cmd.Flags().Changed("access") && r.access != "any" && r.access != "user":
			return usagef("--access %s: want any or user", r.access)
		case r.access == "user" && os.Geteuid() != 0:
			return usagef("--access user: only root can speak for others")
		case *fuse && *kernel:
			return usagef("--fuse and --kernel are two ways: one will do")
		}
		r.perUser = r.access == "user"
		if _, err := listen.Parse(r.addr); err != nil {
			return usageError{err}
		}
		way, stays, err := chooseWay(r, *fuse, *kernel)
		if err != nil {
			return err
		}
		if pipe := readyPipe(); pipe != nil {
			return a.mountBehind(cmd.Context(), way, r, pipe)
		}
		if stays && !r.foreground {
			return a.mountInBackground(cmd.Flags(), r)
		}
		return way(cmd.Context(), r, func() error { return nil })
	}
	return cmd
}

// chooseWay decides how to mount. stays tells that a process has to stay with the mount.
func chooseWay(r mountRequest, fuse, kernel bool) (way mountWay, stays bool, err error) {
	switch {
	case !fuse && kernelHas9P():
		return mountKernel, r.relayed(), nil
	case kernel:
		return nil, false, errors.New("this kernel has no 9P (modprobe 9p, where it has that module): without --kernel FUSE is used")
	}
	return mountFUSE, true, nil
}

// kernelHas9P reports whether the kernel can mount 9P; as root it loads the module, where there is one.
func kernelHas9P() bool {
	const list = "/proc/filesystems"
	if runtime.GOOS != "linux" {
		return false
	}
	if !knows9P(list) && os.Geteuid() == 0 {
		_ = exec.Command("modprobe", "9p").Run() // what comes of it is in the list
	}
	return knows9P(list)
}

// knows9P reports whether a list of file systems as /proc/filesystems has 9p.
func knows9P(path string) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == "9p" {
			return true
		}
	}
	return false
}

// readyEnv is the number of the descriptor on which a mount in the background tells that it is there, or why not.
const readyEnv = "CLONE9P_MOUNT_READY"

// readyPipe is the pipe to the process that waits for this one, or nil.
func readyPipe() *os.File {
	if os.Getenv(readyEnv) != "3" {
		return nil
	}
	os.Unsetenv(readyEnv)
	syscall.CloseOnExec(3) // a command that is dialled would keep it open
	return os.NewFile(3, "pipe")
}

// readyWord is what comes through the pipe when the mount is there; anything else is an error.
const readyWord = "ready\n"

// mountInBackground starts this program again in a session of its own, and returns when the mount is there.
func (a *app) mountInBackground(flags *pflag.FlagSet, r mountRequest) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := []string{"mount"}
	flags.Visit(func(f *pflag.Flag) {
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		argv = append(argv, "--"+f.Name+"="+value)
	})
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command(self, append(argv, "--", r.addr, r.dir)...)
	cmd.Args[0] = "clone9p" // and not the helper of mount(8)
	cmd.Stderr = os.Stderr  // until it is ready
	cmd.Env = append(os.Environ(), readyEnv+"=3")
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return err
	}
	word, err := io.ReadAll(read)
	if err == nil && string(word) == readyWord {
		return cmd.Process.Release() // it lives on
	}
	_ = cmd.Wait() // it says why by the pipe, or has been killed
	if len(word) > 0 {
		return errors.New(string(word))
	}
	return fmt.Errorf("the mount's process ended: %v", cmd.ProcessState)
}

// mountBehind is mount in the background. What happens goes through the pipe until the mount is there, and then nobody listens.
func (a *app) mountBehind(ctx context.Context, way mountWay, r mountRequest, pipe *os.File) error {
	told := false
	r.foreground = false
	err := way(ctx, r, func() error {
		if err := detach(); err != nil {
			return err
		}
		told = true
		_, err := io.WriteString(pipe, readyWord)
		return errors.Join(err, pipe.Close())
	})
	if err != nil && !told {
		_, _ = io.WriteString(pipe, sentence(err)) // who is to hear it has gone otherwise
		return status(1)
	}
	return err
}

// detach lets go of the directory and the files of who started this process.
func detach() error {
	if err := os.Chdir("/"); err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := range 3 {
		if err := dup2(int(null.Fd()), fd); err != nil {
			return err
		}
	}
	return nil
}

// endSignals are the signals that ask this process to end, from the call on, for untilSignalled. It is to be called before anything is mounted: a signal that comes
// when the tree is there and nobody waits for it would leave a mount without its process.
func endSignals() chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	return signals
}

// untilSignalled calls end when one of the signals of endSignals comes, or has come. The function it returns stops that.
func untilSignalled(signals chan os.Signal, end func()) (stop func()) {
	done := make(chan struct{})
	go func() { // ends with stop
		select {
		case <-signals:
			end()
		case <-done:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

func (a *app) umountCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "umount DIR",
		Short: "Unmount what clone9p mount has mounted",
		Long: `Umount ends the mount at DIR. Through FUSE, calls that wait in it fail with the error "Transport endpoint is not connected", whereupon most programs end; with the
kernel's 9P they go on to wait. A mount that some still use a second later is detached: DIR is free, and the mount goes with the last of them.`,
		Args: exactly("a directory DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			unmount := unmountFUSE
			if runtime.GOOS == "linux" {
				typ, err := mountedType(dir)
				if err != nil {
					return err
				}
				way, ok := unmountWays[typ]
				switch {
				case typ == "":
					return fmt.Errorf("nothing is mounted on %s", dir)
				case !ok:
					return fmt.Errorf("what is mounted on %s is no mount of clone9p but of type %s", dir, typ)
				}
				unmount = way
			}
			detached, err := unmount(cmd.Context(), dir)
			if err != nil {
				return fmt.Errorf("cannot unmount %s: %w", dir, err)
			}
			if detached {
				fmt.Fprintf(a.stderr, "clone9p: %s was in use: it is detached, and ends with the last program that uses it\n", dir)
			}
			return nil
		},
	}
}

// mountedType is the type of what is mounted on dir, "" for nothing. The directory itself is not asked, which may not answer.
func mountedType(dir string) (string, error) {
	above, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return typeIn(string(b), filepath.Join(above, filepath.Base(dir))), nil
}

// typeIn finds the type of the last mount on dir in a list as /proc/self/mountinfo, of proc(5).
func typeIn(mountinfo, dir string) (typ string) {
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		f := strings.Fields(before)
		if !ok || len(f) < 5 || unescaper.Replace(f[4]) != dir {
			continue
		}
		typ, _, _ = strings.Cut(after, " ")
	}
	return typ
}

// unescaper undoes what the kernel does to blanks and backslashes in its lists of mounts.
var unescaper = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
