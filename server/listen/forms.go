package listen

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// forms reads what follows the network in the addresses that are neither a unix socket nor a TCP port.
var forms = map[string]func(rest string) (Addr, error){
	"stdio":   parseStdio,
	"fd":      parseFD,
	"systemd": parseSystemd,
	"vsock":   parseVsock,
	"exec":    parseExec,
	"dev":     parseDevice,
}

// form is the canonical form of an address that forms reads.
func (a Addr) form() string {
	switch a.Network {
	case "stdio":
		return "stdio!"
	case "fd":
		if a.In == a.Out {
			return "fd!" + strconv.Itoa(a.In)
		}
		return fmt.Sprintf("fd!%d,%d", a.In, a.Out)
	case "vsock":
		return fmt.Sprintf("vsock!%s:%d", a.Host, uint32(a.Port))
	case "systemd", "exec", "dev":
		return a.Network + "!" + a.Path
	}
	return ""
}

func parseStdio(rest string) (Addr, error) {
	if rest != "" {
		return Addr{}, fmt.Errorf("nothing may follow stdio!, and %q does", rest)
	}
	return Addr{Network: "stdio"}, nil
}

// maxFD bounds the numbers of descriptors: it is the most that Linux lets a process have, unless its administrator says otherwise.
const maxFD = 1 << 20

// parseFD reads R or R,W.
func parseFD(rest string) (Addr, error) {
	r, w, two := strings.Cut(rest, ",")
	if !two {
		w = r
	}
	a := Addr{Network: "fd"}
	for _, n := range []struct {
		text string
		to   *int
	}{{r, &a.In}, {w, &a.Out}} {
		fd, err := strconv.ParseUint(n.text, 10, 31)
		switch {
		case err != nil || fd > maxFD:
			return Addr{}, fmt.Errorf("bad descriptor %q: want fd!R or fd!R,W with the numbers of open descriptors", n.text)
		case fd < 3:
			return Addr{}, errors.New("descriptors 0 to 2 are standard input, output and error: want stdio! or a number from 3 on")
		}
		*n.to = int(fd)
	}
	return a, nil
}

func parseExec(rest string) (Addr, error) {
	switch {
	case strings.TrimSpace(rest) == "":
		return Addr{}, errors.New("exec! needs a command")
	case strings.ContainsRune(rest, 0):
		return Addr{}, errors.New("the command has a NUL in it")
	}
	return Addr{Network: "exec", Path: rest}, nil
}

func parseDevice(rest string) (Addr, error) {
	switch {
	case rest == "":
		return Addr{}, errors.New("dev! needs the path of a device")
	case strings.ContainsRune(rest, 0):
		return Addr{}, errors.New("the path has a NUL in it")
	}
	return Addr{Network: "dev", Path: rest}, nil
}
