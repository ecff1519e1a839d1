//go:build unix

package pulse

import (
	"os"
	"syscall"
)

// ours says whether dir belongs to the user that this process acts as.
func ours(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
