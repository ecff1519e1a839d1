package fusemount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// endIoctl asks the process behind a mount to end it, on any of its directories: _IO('9', 'u').
const endIoctl = '9'<<8 | 'u'

// Ioctl implements fuse.RawFileSystem. Root and the mounter may end the mount.
func (m *Mount) Ioctl(_ <-chan struct{}, in *fuse.IoctlIn, _ []byte, _ *fuse.IoctlOut, _ []byte) fuse.Status {
	switch {
	case in.Cmd != endIoctl:
		return fuse.Status(unix.ENOTTY)
	case in.Uid != 0 && in.Uid != m.uid:
		return fuse.EPERM
	}
	m.end()
	return fuse.OK
}

// endTimeout is how long a mount may take to answer that it is to end.
const endTimeout = 5 * time.Second

// Unmount unmounts a directory on which another process has mounted a tree. Unless nobody uses it, the process ends its session with the server, by which
// calls that wait fail with ENOTCONN; a mount that is still in use a moment later is detached: it is gone from dir, and ends with the
// last process that uses it.
func Unmount(ctx context.Context, dir string) (detached bool, err error) {
	if dir, err = mountPoint(dir); err != nil {
		return false, err
	}
	if err := unmountOnce(dir, false); !errors.Is(err, errBusy) {
		return false, err
	}
	asked := make(chan error, 1)
	go func() { asked <- askEnd(dir) }() // ends with the mount, or with this process
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	select {
	case err = <-asked:
	case <-ctx.Done():
		err = nil // what does not answer is detached
	}
	if errors.Is(err, unix.EPERM) {
		return false, err
	}
	return unmount(dir, unmountPatience)
}

// askEnd asks for the end of the mount at dir. A mount whose server is gone cannot be asked, and needs not.
func askEnd(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), endIoctl, 0); errno != 0 {
		return errno
	}
	return nil
}

// unmountOnce tries to unmount dir, or detaches it.
func unmountOnce(dir string, detach bool) error {
	if os.Geteuid() == 0 {
		flags := unix.UMOUNT_NOFOLLOW
		if detach {
			flags |= unix.MNT_DETACH
		}
		return busy(unix.Unmount(dir, flags))
	}
	bin, err := fusermount()
	if err != nil {
		return err
	}
	if detach {
		return run(bin, "-u", "-z", dir)
	}
	return run(bin, "-u", dir)
}

// fusermount is the program that mounts for ordinary users.
func fusermount() (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("an ordinary user needs the program fusermount3 to mount and unmount (Debian's package fuse3), or root does it")
}

// Possible says why nothing can be mounted here by this user; nil when there is no reason known.
func Possible() error {
	const device = "/dev/fuse"
	_, err := os.Stat(device)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s is missing: as root, modprobe fuse, or mknod %s c 10 229", device, device)
	case err != nil:
		return err
	}
	if os.Geteuid() == 0 {
		return nil
	}
	if unix.Access(device, unix.R_OK|unix.W_OK) != nil {
		return fmt.Errorf("no permission for %s: chmod 0666 it as root, as most systems have it, or mount as root", device)
	}
	_, err = fusermount()
	return err
}

// explain says why dir could not be mounted on.
func explain(dir string, err error) error {
	if why := Possible(); why != nil {
		return why
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("cannot mount on %s: %w (in a container, that takes the capability CAP_SYS_ADMIN and the device /dev/fuse)", dir, err)
	case strings.HasPrefix(err.Error(), "fusermount exited"): // which has said why, on standard error
		return fmt.Errorf("cannot mount on %s: fusermount3 refused", dir)
	}
	return fmt.Errorf("cannot mount on %s: %w", dir, err)
}
