package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listenUnix makes a socket file at path and listens on it.
func listenUnix(path string, o Options) (net.Listener, fileID, error) {
	mode := o.Mode.Perm()
	if mode == 0 {
		mode = 0o660
	}
	group := -1
	if o.Group != "" {
		var err error
		if group, err = parseGroup(o.Group); err != nil {
			return nil, fileID{}, err
		}
	}
	unlock, err := lockDir(path)
	if err != nil {
		return nil, fileID{}, err
	}
	defer unlock()
	if err := clearStale(path); err != nil {
		return nil, fileID{}, err
	}

	fd, err := socket()
	if err != nil {
		return nil, fileID{}, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, fileID{}, err
	}
	id, err := identify(path)
	if err != nil {
		return nil, fileID{}, err
	}
	// Nobody can connect until listen is called, so the file may have whatever mode the umask gave it up to then.
	l, err := func() (net.Listener, error) {
		if group >= 0 {
			if err := os.Lchown(path, -1, group); err != nil {
				return nil, fmt.Errorf("cannot give the socket to group %s: %w", o.Group, errors.Unwrap(err))
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			return nil, err
		}
		if err := unix.Listen(fd, backlog); err != nil {
			return nil, err
		}
		return net.FileListener(f)
	}()
	if err != nil {
		_ = unlinkIf(path, id)
		return nil, fileID{}, err
	}
	return l, id, nil
}

// socket makes a unix stream socket that children do not inherit.
func socket() (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	return fd, err
}

// clearStale makes way for a new socket at path: it removes a socket file nobody answers on. The directory is locked.
func clearStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return errors.Unwrap(err)
	}
	if fi.Mode().Type() != os.ModeSocket {
		return errors.New("the file exists and is no socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		defer c.Close()
		if pid, err := ServerPID(c); err == nil {
			return fmt.Errorf("in use by the server with process id %d", pid)
		}
		return errors.New("in use by another server")
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EAGAIN): // its backlog is full
		return errors.New("in use by another server")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("the socket exists, and whether it is in use cannot be told: %w", err)
}

// removeSocket removes the socket file at path if it is still the one that id tells.
func removeSocket(path string, id fileID) error {
	unlock, err := lockDir(path)
	if err != nil {
		return nil // the directory is gone, and the file with it
	}
	defer unlock()
	return unlinkIf(path, id)
}

// unlinkIf removes path if it is the file that id tells. The directory is locked.
func unlinkIf(path string, id fileID) error {
	now, err := identify(path)
	if err != nil || now != id {
		return nil
	}
	return os.Remove(path)
}

// identify tells which file path is at this moment.
func identify(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fileID{}, err
	}
	return fileID{Dev: uint64(st.Dev), Ino: st.Ino}, nil
}

// How long lockDir waits for a lock, and how often it looks. Who holds it does so for a probe at most.
const (
	lockWait  = 500 * time.Millisecond
	lockRetry = 5 * time.Millisecond
)

// lockDir locks the directory of path against other servers that start or stop there, so that of two that find the same stale
// socket the second finds the first. The lock is on the directory itself and leaves no file behind. Anyone who can read the
// directory can hold such a lock; so it is waited for only so long, and then done without.
func lockDir(path string) (unlock func(), err error) {
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EACCES): // may be searched and not read: then it cannot be locked either
		return func() {}, nil
	case err != nil:
		return nil, fmt.Errorf("directory %s: %w", dir, err)
	}
	for end := time.Now().Add(lockWait); time.Now().Before(end); time.Sleep(lockRetry) {
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
	}
	return func() { unix.Close(fd) }, nil
}
