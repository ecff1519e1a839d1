package fusemount

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
)

// hostErrno is this system's number of an error that 9P2000.L has by Linux's.
func hostErrno(e linux.Errno) syscall.Errno { return syscall.Errno(e) }

// inGroup reports whether who calls is in a group, and whether that can be known: the kernel tells of the first group only, and proc(5) of the others.
func inGroup(c *fuse.Caller, gid uint32) (in, known bool) {
	if c.Gid == gid {
		return true, true
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Pid))
	if err != nil {
		return false, false
	}
	for line := range strings.Lines(string(b)) {
		if list, ok := strings.CutPrefix(line, "Groups:"); ok {
			return slices.Contains(strings.Fields(list), strconv.FormatUint(uint64(gid), 10)), true
		}
	}
	return false, false
}
