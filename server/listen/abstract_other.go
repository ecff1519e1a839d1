//go:build !linux

package listen

import (
	"errors"
	"net"
)

// listenAbstract fails: abstract sockets are Linux's.
func listenAbstract(string) (net.Listener, error) {
	return nil, errors.New("only Linux has abstract sockets: want a path")
}
