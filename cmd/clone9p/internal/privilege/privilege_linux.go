package privilege

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// own asks for the calling thread's capabilities.
func own() (data [2]unix.CapUserData, err error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return data, fmt.Errorf("cannot read own capabilities: %w", err)
	}
	return data, nil
}

// Held returns the capabilities that the calling thread has in effect.
func Held() (Set, error) {
	data, err := own()
	return Set(data[0].Effective) | Set(data[1].Effective)<<32, err
}

// Droppable reports whether Drop would do anything here: for root, who may reduce the bounding set. The capabilities of others were given to them one by one.
func Droppable() bool {
	held, err := Held()
	return err == nil && os.Geteuid() == 0 && os.Getuid() == 0 && held.Has(unix.CAP_SETPCAP)
}

// Drop prepares the calling thread, which its goroutine is locked to for good, for the exec after which all of the program has the capabilities in keep that
// it has now, and no others; nor has anything that it executes. The caller executes it, and does nothing else on this thread.
func Drop(keep Set) error {
	for c := 0; c < 64; c++ {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil { // beyond the last one that this kernel has
			break
		}
		if in == 0 || keep.Has(c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("cannot take %v out of the bounding set of capabilities: %w", Set(1)<<c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && err != unix.EINVAL { // a kernel before 4.3 has none
		return fmt.Errorf("cannot clear the ambient capabilities: %w", err)
	}
	data, err := own()
	if err != nil {
		return err
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("cannot give up the inheritable capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot forbid new privileges: %w", err)
	}
	return nil
}
