//go:build !linux

package fusemount

import (
	"context"
	"fmt"
)

// Unmount unmounts a directory on which another process has mounted a tree.
func Unmount(_ context.Context, dir string) (detached bool, err error) {
	if dir, err = mountPoint(dir); err != nil {
		return false, err
	}
	return unmount(dir, unmountPatience)
}

// unmountOnce tries to unmount dir, also from under those who use it.
func unmountOnce(dir string, force bool) error {
	if force {
		return run("umount", "-f", dir)
	}
	return run("umount", dir)
}

// Possible says why nothing can be mounted here by this user; nil when there is no reason known.
func Possible() error { return nil }

// explain says why dir could not be mounted on.
func explain(dir string, err error) error {
	return fmt.Errorf("cannot mount on %s: %w (macOS needs macFUSE)", dir, err)
}
