//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clone9p/clone9p/scripts/e2e/internal/frame"
	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
	"golang.org/x/sys/unix"
)

// A host does on this side what a case asks for. It lives as long as the case.
type host struct {
	t      *testing.T
	server *server
	guest  *guest

	captures  map[string]int // packet socket by interface
	others    []*server      // started for this case
	stopFlood func()
}

// end ends all that the case had started.
func (h *host) end() {
	for _, fd := range h.captures {
		unix.Close(fd)
	}
	for _, s := range h.others {
		s.kill()
		s.clean()
	}
	if h.stopFlood != nil {
		h.stopFlood()
	}
}

// answer does what the guest calls name and returns the reply to it.
func (h *host) answer(name string, body []byte) (any, error) {
	var args talk.Args
	if len(body) > 0 {
		if err := json.Unmarshal(body, &args); err != nil {
			return nil, err
		}
	}
	switch name {
	case "ifaces":
		return h.ifaces()
	case "capture":
		return nil, h.capture(args.Iface)
	case "captured":
		return h.captured(args.Iface)
	case "send":
		return nil, h.send(args)
	case "flood":
		return nil, h.flood(args.Iface, args.Every)
	case "ping":
		return h.ping(args.Addr, int(args.Count))
	case "server":
		s, err := startServer(h.server.identity)
		if err != nil {
			return nil, err
		}
		h.others = append(h.others, s)
		return talk.Args{Port: s.port}, nil
	case "server-kill":
		for _, s := range h.others {
			if s.port == args.Port {
				s.kill()
				return nil, nil
			}
		}
		return nil, fmt.Errorf("no server at port %d", args.Port)
	case "sh":
		return h.sh(args.Script)
	case "guest-kill":
		h.guest.kill()
		h.wantNoIfaces(time.Second)
		return nil, errGuestKilled
	}
	return nil, fmt.Errorf("the host knows no %q", name)
}

// ifaces is the reply to a guest that asks for the interfaces of all conversations.
func (h *host) ifaces() (any, error) {
	all, err := h.server.ifaces()
	list := []talk.Iface{}
	for _, i := range all {
		list = append(list, talk.Iface{Name: i.Name, Up: i.Flags&net.FlagUp != 0, MTU: i.MTU, MAC: i.HardwareAddr.String()})
	}
	return list, err
}

// wantNoIfaces wants every interface gone before limit is over, and reports whether that is so.
func (h *host) wantNoIfaces(limit time.Duration) bool {
	begin := time.Now()
	for ; ; time.Sleep(time.Millisecond) {
		all, err := h.server.ifaces()
		took := time.Since(begin)
		switch {
		case err != nil:
			h.t.Error(err)
			return false
		case len(all) == 0:
			if took > limit/10 {
				h.t.Logf("the last interface went after %v", took.Round(time.Millisecond))
			}
			return true
		case took > limit:
			h.t.Errorf("%d interfaces are left after %v, %s among them", len(all), limit, all[0].Name)
			return false
		}
	}
}

// htons is the byte order in which packet(7) wants protocol numbers.
func htons(n uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(n >> 8), byte(n)})
}

// packetSocket opens a packet socket on an interface; it sees frames of the given protocol only.
func (h *host) packetSocket(iface string, proto uint16) (fd int, err error) {
	err = h.server.inNetns(func() error {
		i, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		// Protocol 0 until it is bound: else it would gather the frames of all interfaces in between.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) // a larger buffer is a convenience
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(proto), Ifindex: i.Index}); err != nil {
			unix.Close(fd)
			return fmt.Errorf("packet socket on %s: %w", iface, err)
		}
		return nil
	})
	return fd, err
}

// capture begins to gather the frames that pass an interface. They wait in the socket until captured asks for them.
func (h *host) capture(iface string) error {
	fd, err := h.packetSocket(iface, unix.ETH_P_ALL)
	if err != nil {
		return err
	}
	if h.captures == nil {
		h.captures = map[string]int{}
	}
	h.captures[iface] = fd
	return nil
}

// captured is what has passed since the last call.
func (h *host) captured(iface string) (any, error) {
	fd, ok := h.captures[iface]
	if !ok {
		return nil, fmt.Errorf("nothing captures %s", iface)
	}
	list := []talk.Seen{}
	buf := make([]byte, 1<<17)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EAGAIN {
			return list, nil
		}
		if err == unix.ENETDOWN {
			continue // says once that the interface is down, or was
		}
		if err != nil {
			return nil, fmt.Errorf("packet socket on %s: %w", iface, err)
		}
		ll, _ := from.(*unix.SockaddrLinklayer)
		list = append(list, talk.Seen{Len: n, Sum: talk.Sum(buf[:n]), Out: ll != nil && ll.Pkttype == unix.PACKET_OUTGOING})
	}
}

// send sends frames out of an interface, that is, into rx.
func (h *host) send(a talk.Args) error {
	fd, err := h.packetSocket(a.Iface, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var p []byte
	for seq := a.From; seq < a.From+a.Count; seq++ {
		p = frame.Append(p[:0], a.Stream, seq, frame.Size(a.Stream, seq, a.Min, a.Max))
		if err := unix.Send(fd, p, 0); err != nil {
			return fmt.Errorf("frame %d of %d bytes into %s: %w", seq, len(p), a.Iface, err)
		}
	}
	return nil
}

// floodStream is the number of the stream that flood sends, which no case uses otherwise.
const floodStream = 0xf100d

// flood sends a frame at every tick until it is called with 0, or the case ends.
func (h *host) flood(iface string, every time.Duration) error {
	if h.stopFlood != nil {
		h.stopFlood()
		h.stopFlood = nil
	}
	if every == 0 {
		return nil
	}
	fd, err := h.packetSocket(iface, 0)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer unix.Close(fd)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for seq := uint32(0); ; seq++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if unix.Send(fd, frame.Append(nil, floodStream, seq, frame.Size(floodStream, seq, 60, 1514)), 0) != nil {
				return // the interface is gone or down; the case will tell
			}
		}
	})
	h.stopFlood = func() {
		close(stop)
		wg.Wait()
	}
	return nil
}

// sh has a shell carry out a script in the server's directory, and returns what it printed.
func (h *host) sh(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	cmd.Dir = h.server.dir
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("sh -c %q: %w\n%s", script, err, out)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// ping pings an address from within the server's namespace and returns what the program printed; every echo must be answered.
func (h *host) ping(addr string, count int) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(count+10)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, built.busybox, "ping", "-c", fmt.Sprint(count), "-W", "5", addr)
	var out []byte
	err := h.server.inNetns(func() (err error) {
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return string(out), nil
}
