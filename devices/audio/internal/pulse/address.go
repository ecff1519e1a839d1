package pulse

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// An address is where a server may be, as package net wants it.
type address struct{ network, address string }

// addresses reads a server string as PulseAudio's programs do: addresses parted by blanks, of which the first that answers is taken. An
// address is a path or unix:PATH, or HOST, tcp:HOST, tcp4:HOST or tcp6:HOST with :PORT or without; {NAME} before it makes it count on the
// machine of that host name or machine ID only. "" is the default: PULSE_SERVER, else the user's own server, else that of the system.
func addresses(server string) ([]address, error) {
	if server == "" {
		if server = os.Getenv("PULSE_SERVER"); server == "" {
			return defaults(), nil
		}
	}
	var found []address
	for s := range strings.FieldsSeq(server) {
		if rest, ok := strings.CutPrefix(s, "{"); ok {
			var machine string
			if machine, s, ok = strings.Cut(rest, "}"); !ok {
				return nil, fmt.Errorf("pulse: server %q: the { before the name of a machine wants a } behind it", server)
			}
			if !isHere(machine) {
				continue
			}
		}
		network, addr, ok := strings.Cut(s, ":")
		switch {
		case strings.HasPrefix(s, "/"):
			network, addr = "unix", s
		case ok && (network == "tcp" || network == "tcp4" || network == "tcp6"):
			addr = withPort(addr)
		case !ok || network != "unix":
			network, addr = "tcp", withPort(s)
		}
		if addr == "" {
			return nil, fmt.Errorf("pulse: server %q: %q names no server", server, s)
		}
		found = append(found, address{network, addr})
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("pulse: server %q names no server for this machine", server)
	}
	return found, nil
}

// withPort adds PulseAudio's port to a host that comes without one.
func withPort(host string) string {
	if host == "" {
		return ""
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "4713")
}

// isHere says whether a server string's {machine} is this one.
func isHere(machine string) bool {
	if host, err := os.Hostname(); err == nil && machine == host {
		return true
	}
	id, err := os.ReadFile("/etc/machine-id")
	return err == nil && machine == strings.TrimSpace(string(id))
}

// defaults is where libpulse looks when nobody says otherwise. It passes over a run-time directory of somebody else's, as that of the user
// whose sudo made us root is; so a server of the superuser's finds the one of the system.
func defaults() []address {
	var found []address
	add := func(dir ...string) {
		found = append(found, address{"unix", filepath.Join(append(dir, "native")...)})
	}
	if dir := os.Getenv("PULSE_RUNTIME_PATH"); dir != "" {
		add(dir)
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && ours(dir) {
		add(dir, "pulse")
	}
	if home, err := os.UserHomeDir(); err == nil && runtime.GOOS == "darwin" {
		if host, err := os.Hostname(); err == nil {
			add(home, ".config", "pulse", host+"-runtime")
		}
	}
	add("/run", "pulse")
	add("/var", "run", "pulse")
	return found
}

// cookieSize is the length of the secret that clients of a user's share.
const cookieSize = 256

// cookie is the secret that shows the server that we may speak to it: $PULSE_COOKIE, ~/.config/pulse/cookie or ~/.pulse-cookie. Where there
// is none it is of zeros, for a server that knows us otherwise (by the user of the socket), or takes anybody.
func cookie() []byte {
	names := []string{os.Getenv("PULSE_COOKIE")}
	if dir, err := os.UserConfigDir(); err == nil {
		names = append(names, filepath.Join(dir, "pulse", "cookie"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		names = append(names, filepath.Join(home, ".config", "pulse", "cookie"), filepath.Join(home, ".pulse-cookie"))
	}
	secret := make([]byte, cookieSize)
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			continue
		}
		_, err = io.ReadFull(file, secret)
		file.Close()
		if err == nil {
			return secret
		}
		clear(secret)
	}
	return secret
}
