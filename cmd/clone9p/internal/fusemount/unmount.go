package fusemount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errBusy is why a file system cannot be unmounted that processes use.
var errBusy = errors.New("the mount is in use")

// unmount unmounts dir, which processes may still be about to leave; after a while it detaches it from the tree of names instead, and says so.
func unmount(dir string, patience time.Duration) (detached bool, err error) {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // nobody announces when a mount is free
		if err = unmountOnce(dir, false); !errors.Is(err, errBusy) {
			return false, err
		}
		if time.Now().After(end) {
			return true, unmountOnce(dir, true)
		}
	}
}

// run carries out one of the programs that unmount for an ordinary user.
func run(argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	words := strings.Join(strings.Fields(string(out)), " ")
	switch {
	case strings.Contains(strings.ToLower(words), "busy"):
		return errBusy
	case words == "":
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	return errors.New(strings.TrimPrefix(words, argv[0]+": "))
}

// busy makes errBusy of EBUSY.
func busy(err error) error {
	if errors.Is(err, unix.EBUSY) {
		return errBusy
	}
	return err
}
