package ethfoo

import (
	"crypto/rand"
	"strings"

	"golang.org/x/sys/unix"
)

// A seal is the mark of one server on the links that outlive it when it is killed, an ifalias (`ip link` shows it), together with the proof
// that the server lives: an abstract unix socket of the same name, bound in the network namespace in which the links are. It ends with the process
// however that ends. A process id would not do: another server of the same network namespace may be in another container, with
// process ids of its own.
type seal struct {
	text string
	sock int
}

const (
	sealPrefix = "clone9p ethfoo of server "
	sealRandom = 26 // characters of rand.Text
)

// newSeal makes a seal like no other.
func newSeal() (*seal, error) { return takeSeal(sealPrefix + rand.Text()[:sealRandom]) }

// takeSeal makes the seal of that text. It fails with EADDRINUSE when its owner lives.
func takeSeal(text string) (*seal, error) {
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(sock, &unix.SockaddrUnix{Name: "@" + text}); err != nil {
		unix.Close(sock)
		return nil, err
	}
	return &seal{text, sock}, nil
}

// isSeal reports whether an ifalias is one of ours.
func isSeal(alias string) bool {
	id, ok := strings.CutPrefix(alias, sealPrefix)
	return ok && len(id) == sealRandom
}

func (s *seal) close() { unix.Close(s.sock) }
