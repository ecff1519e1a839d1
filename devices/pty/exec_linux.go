package pty

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/clone9p/clone9p/internal/asuser"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"
)

// exec runs a command on the slave as the owner.
func (p *Pair) exec(_ context.Context, argv []string) error {
	if err := p.config.mayExec(p.owner); err != nil {
		return p9ext.Errorf(linux.EPERM, "cannot run %s: %w", quote(argv[0]), err)
	}
	p.mu.Lock()
	busy := p.command != nil && p.command.running() // control messages run one at a time: nobody else starts one
	p.mu.Unlock()
	if busy {
		return p9ext.Errorf(linux.EBUSY, "%w: a command is running on this terminal, one at a time", p9ext.ErrInUse)
	}
	c, err := p.start(argv)
	if err != nil {
		return err
	}
	p.mu.Lock()
	held := p.held
	if p.command != nil {
		p.left = append(slices.DeleteFunc(p.left, (*command).forgotten), p.command)
	}
	p.command, p.held = c, nil
	p.started++
	p.mu.Unlock()
	if held != nil {
		held.Close() // now the command's end can be seen
	}
	return nil
}

// start starts the command.
func (p *Pair) start(argv []string) (*command, error) {
	who, err := p.identity()
	if err != nil {
		return nil, err
	}
	program, err := who.find(argv[0])
	if err != nil {
		return nil, err
	}
	slave, err := p.openSlave()
	if err != nil {
		return nil, p.refused(err, "open the slave")
	}
	defer slave.Close()
	cmd := &exec.Cmd{
		Path: program, Args: argv, Env: who.environment(), Dir: who.dir,
		Stdin: slave, Stdout: slave, Stderr: slave,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0, Credential: who.credential},
	}
	// What the server was started with and does not know of is not for its users. A kernel before 5.11 cannot say so.
	unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err := cmd.Start(); err != nil {
		return nil, cannotRun(argv[0], err)
	}
	return watch(argv[0], cmd), nil
}

// cannotRun says why a command did not start.
func cannotRun(name string, err error) error {
	errno := errnoOf(err)
	switch errno {
	case linux.ENOENT:
		return p9ext.Errorf(errno, "cannot run %s: there is no such command", quote(name))
	case linux.ENOEXEC:
		return p9ext.Errorf(errno, "cannot run %s: it is no program (exec format error); is its first line #! and an interpreter?", quote(name))
	}
	return p9ext.Errorf(errno, "cannot run %s: %w", quote(name), errno)
}

// A runAs is whom a command runs as.
type runAs struct {
	name, home, shell string
	dir               string // where it begins: home, or / where that is closed to him
	identity          asuser.Identity
	credential        *syscall.Credential // nil: as the server
}

// identity finds out whom the owner's commands run as.
func (p *Pair) identity() (*runAs, error) {
	u := p.owner
	w := &runAs{name: u.Name, home: "/", shell: "/bin/sh", dir: "/", identity: asuser.Of(u)}
	account, err := user.LookupId(strconv.FormatUint(uint64(u.UID), 10))
	if err == nil {
		w.name, w.home = account.Username, account.HomeDir
		if gid, err := strconv.ParseUint(account.Gid, 10, 32); err == nil {
			w.identity.GID = uint32(gid)
		}
		if u.Groups == nil {
			w.identity.Groups = groupsOf(account)
		}
		if shell := shellOf(account.Username); shell != "" {
			w.shell = shell
		}
	}
	if os.Geteuid() == 0 {
		w.credential = &syscall.Credential{Uid: u.UID, Gid: w.identity.GID, Groups: w.identity.Groups}
	} else if uint32(os.Geteuid()) != u.UID {
		return nil, p9ext.Errorf(linux.EPERM, "cannot run commands as %s: the server is not root", u.Name)
	}
	if asuser.Do(w.identity, func() error { return enter(w.home) }) == nil {
		w.dir = w.home
	}
	return w, nil
}

// groupsOf are the groups that the machine's files say a user is in.
func groupsOf(account *user.User) (groups []uint32) {
	ids, err := account.GroupIds()
	if err != nil {
		return nil
	}
	for _, id := range ids {
		if gid, err := strconv.ParseUint(id, 10, 32); err == nil {
			groups = append(groups, uint32(gid))
		}
	}
	return groups
}

// shellOf is the login shell of a user, passwd(5), "" where that file does not tell.
func shellOf(name string) string {
	b, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 7 && f[0] == name {
			return f[6]
		}
	}
	return ""
}

// enter tells whether a directory may be entered.
func enter(dir string) error {
	fd, err := unix.Open(path.Join(dir)+"/.", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// searchPath is where commands are looked for.
func (w *runAs) searchPath() string {
	if w.identity.UID == 0 {
		return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return "/usr/local/bin:/usr/bin:/bin"
}

// environment is what login(1) gives.
func (w *runAs) environment() []string {
	return []string{
		"HOME=" + w.home, "USER=" + w.name, "LOGNAME=" + w.name, "SHELL=" + w.shell,
		"PATH=" + w.searchPath(), "TERM=xterm", "LANG=C.UTF-8",
	}
}

// find finds the program of a command; a name with a slash is its path, from where the command begins.
func (w *runAs) find(name string) (string, error) {
	if name == "" {
		return "", p9ext.Errorf(linux.EINVAL, "bad control message: exec wants CMD [ARGS...]: the command has no name")
	}
	var tried []string
	if strings.Contains(name, "/") {
		tried = []string{name}
		if !path.IsAbs(name) {
			tried = []string{path.Join(w.dir, name)}
		}
	} else {
		for dir := range strings.SplitSeq(w.searchPath(), ":") {
			tried = append(tried, dir+"/"+name)
		}
	}
	var found string
	reason := error(unix.ENOENT)
	err := asuser.Do(w.identity, func() error {
		for _, at := range tried {
			info, err := os.Stat(at)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				reason = err
			case info.IsDir():
				reason = unix.EISDIR
			case info.Mode()&0o111 == 0:
				reason = unix.EACCES
			default:
				found = at
				return nil
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return "", p9ext.Errorf(errnoOf(err), "cannot look for %s: %w", quote(name), err)
	case found != "":
		return found, nil
	case reason == unix.EISDIR:
		return "", p9ext.Errorf(linux.EISDIR, "cannot run %s: it is a directory", quote(name))
	case reason == unix.EACCES:
		return "", p9ext.Errorf(linux.EACCES, "cannot run %s: it is not executable", quote(name))
	}
	return "", cannotRun(name, fmt.Errorf("%w", reason))
}
