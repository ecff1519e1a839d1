package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// An Addr is a parsed address. Its zero value is none.
type Addr struct {
	Network string // "unix", "tcp", "tls", which is TLS over TCP, or one of forms
	Path    string // unix: the socket's path, or @ and its name in the abstract namespace of Linux; exec: the command; dev: the path; systemd: the socket's name there, "" for all
	Host    string // tcp, tls: a name or a number; "*" is every address of this machine. vsock: any, host, local or a number
	Port    int    // tcp, tls, vsock: 0 asks the kernel for a free port
	In, Out int    // fd: the descriptors that are read and written
}

// ports are the service names of 9P, known here because few machines list them in /etc/services.
var ports = map[string]int{"9fs": 564, "9pfs": 564, "styx": 6666}

// maxPath is the longest path of a unix socket: the kernel's array less the NUL that ends it.
var maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// Parse reads an address in the manner of Plan 9's dial(2): unix!PATH, tcp!HOST!PORT or tls!HOST!PORT. Where ! has a meaning of its own, as
// in an interactive shell, a colon does as well: unix:PATH, tcp:HOST:PORT, tcp!HOST:PORT. HOST is a name, a number (IPv6 in
// brackets or not) or *; PORT is a number or a service name such as 9pfs; a PATH that begins with @ is an abstract socket's name. Any other form is an error that says what was expected.
//
// Further forms are for one use each; the package comment has them.
func Parse(s string) (Addr, error) {
	fail := func(format string, args ...any) (Addr, error) {
		return Addr{}, fmt.Errorf("address %q: %s", s, fmt.Sprintf(format, args...))
	}
	i := strings.IndexAny(s, "!:/")
	if i <= 0 || s[i] == '/' {
		return fail("want unix!PATH, tcp!HOST!PORT or tls!HOST!PORT")
	}
	rest := s[i+1:]
	switch s[:i] {
	case "unix":
		switch {
		case rest == "":
			return fail("no path after unix!")
		case strings.ContainsRune(rest, 0):
			return fail("the path has a NUL in it")
		case rest == "@":
			return fail("no name after unix!@")
		case len(rest) > maxPath:
			return fail("the path has %d bytes, a socket's may have %d", len(rest), maxPath)
		}
		return Addr{Network: "unix", Path: rest}, nil
	case "tcp", "tls":
		host, port, err := splitTCP(s[:i], rest)
		if err != nil {
			return fail("%v", err)
		}
		return Addr{Network: s[:i], Host: host, Port: port}, nil
	}
	if parse := forms[s[:i]]; parse != nil {
		a, err := parse(rest)
		if err != nil {
			return fail("%v", err)
		}
		return a, nil
	}
	return fail("unknown network %q: want unix!PATH, tcp!HOST!PORT or tls!HOST!PORT", s[:i])
}

// splitTCP divides HOST!PORT or HOST:PORT, which stood behind network.
func splitTCP(network, s string) (host string, port int, err error) {
	i := strings.LastIndexByte(s, '!')
	if i < 0 {
		// An IPv6 number without brackets has colons of its own, and which of them precedes the port is anybody's guess.
		if strings.Count(s, ":") > 1 && !strings.HasPrefix(s, "[") {
			return "", 0, fmt.Errorf("write an IPv6 address in brackets, or as %s!HOST!PORT", network)
		}
		i = strings.LastIndexByte(s, ':')
		if i < 0 || strings.HasSuffix(s, "]") {
			return "", 0, fmt.Errorf("no port: want %s!HOST!PORT", network)
		}
	}
	host, service := s[:i], s[i+1:]
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	if host == "" {
		return "", 0, errors.New("no host: * means every address of this machine")
	}
	if strings.ContainsAny(host, "!/[]\x00") {
		return "", 0, fmt.Errorf("bad host %q", host)
	}
	if strings.Contains(host, ":") && net.ParseIP(strings.SplitN(host, "%", 2)[0]) == nil {
		return "", 0, fmt.Errorf("bad host %q", host)
	}
	if service == "" {
		return "", 0, fmt.Errorf("no port: want %s!HOST!PORT", network)
	}
	if n, err := strconv.ParseUint(service, 10, 16); err == nil {
		return host, int(n), nil
	}
	if n, ok := ports[service]; ok {
		return host, n, nil
	}
	n, err := net.LookupPort("tcp", service)
	if err != nil || strings.ContainsAny(service[:1], "+-0123456789") {
		return "", 0, fmt.Errorf("bad port %q: want 0 to 65535 or the name of a service", service)
	}
	return host, n, nil
}

// String returns the address in its canonical form, unix!PATH, tcp!HOST!PORT, tls!HOST!PORT or as the package comment has it, which Parse reads.
func (a Addr) String() string {
	switch a.Network {
	case "unix":
		return "unix!" + a.Path
	case "tcp", "tls":
		return a.Network + "!" + a.Host + "!" + strconv.Itoa(a.Port)
	}
	return a.form()
}

// dial returns what package net calls the address.
func (a Addr) dial() string {
	if a.Network == "unix" {
		return a.Path
	}
	host := a.Host
	if host == "*" {
		host = ""
	}
	return net.JoinHostPort(host, strconv.Itoa(a.Port))
}

// Default returns the address where a server listens and a client looks when nothing else is said: /run/clone9p.sock for root
// (/var/run elsewhere than on Linux), $XDG_RUNTIME_DIR/clone9p.sock for others. Where no session has set XDG_RUNTIME_DIR, a
// directory of the user's own in the temporary directory stands in for it: it is made, mode 0700, and an error is returned when
// somebody else has taken its name.
func Default() (string, error) {
	if os.Getuid() == 0 {
		if runtime.GOOS == "linux" {
			return "unix!/run/clone9p.sock", nil
		}
		return "unix!/var/run/clone9p.sock", nil
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "clone9p-"+strconv.Itoa(os.Getuid()))
		if err := ownDir(dir); err != nil {
			return "", err
		}
	}
	return "unix!" + filepath.Join(dir, "clone9p.sock"), nil
}

// ownDir makes sure that dir is a directory which only this user can enter. In a directory where everybody may create files, a
// name that can be guessed may have been taken by somebody who would like to be mistaken for the server.
func ownDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a directory that only you can enter: set XDG_RUNTIME_DIR, or give the address", dir)
	}
	return nil
}

// abstract reports whether the address is a unix socket without a file.
func (a Addr) abstract() bool { return a.Network == "unix" && a.Path[0] == '@' }
