package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// listenAbstract listens on a name of the abstract namespace, @NAME. See unix(7).
func listenAbstract(name string) (net.Listener, error) {
	fd, err := socket()
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: name})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, inUse(name)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		return nil, err
	}
	return net.FileListener(f)
}

// inUse says who has taken the name.
func inUse(name string) error {
	if c, err := net.DialTimeout("unix", name, time.Second); err == nil {
		defer c.Close()
		if pid, err := ServerPID(c); err == nil {
			return fmt.Errorf("in use by the server with process id %d", pid)
		}
	}
	return errors.New("in use by another server")
}
