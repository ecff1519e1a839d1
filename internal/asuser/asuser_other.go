//go:build !linux || 386 || arm || mips || mipsle

package asuser

import (
	"os"
	"runtime"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

func do(id Identity, f func() error) error {
	if uid := os.Geteuid(); id.UID != uint32(uid) {
		return p9ext.Errorf(linux.EPERM, "the server runs as user %d and cannot act for user %d on %s: run it as that user", uid, id.UID, runtime.GOOS+"/"+runtime.GOARCH)
	}
	return f()
}
