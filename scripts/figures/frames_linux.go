package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/ethfoo"
	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/p9"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The figures of ethfoo: frames a second through 9P, 32 requests outstanding, against read(2) and write(2) on a TAP's own descriptor.
// Everything runs in one process in a network namespace of its own: what sends the frames, the server, the load.

// frames starts that process and passes on what it prints.
func (b *bench) frames() error {
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		fmt.Fprintf(b.out, "no TAP is to be had (%v): frames is SKIPPED\n", err)
		return nil
	} else {
		f.Close()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, framesRole, strconv.Itoa(b.rounds), b.time.String())
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(b.out, "no network namespace is to be had (%v): frames is SKIPPED\n", err)
		return nil
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasSuffix(lines.Text(), "MISSED") {
			b.missed++
		}
		fmt.Fprintln(b.out, lines.Text())
	}
	return cmd.Wait()
}

// framesInside measures, in the namespace.
func framesInside(rounds, length string) error {
	n, err1 := strconv.Atoi(rounds)
	d, err2 := time.ParseDuration(length)
	dir, err3 := os.MkdirTemp("", "frames")
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{out: os.Stdout, rounds: n, time: d, dir: dir}
	t, err := newWire(filepath.Join(dir, "sock"))
	if err != nil {
		return err
	}
	for _, size := range []int{64, 1514} {
		for _, batch := range []int{1, 64} {
			mode, bound := "", 0.70
			if batch > 1 {
				mode, bound = " batch", 0.90
			}
			if err := b.compare(fmt.Sprintf("frames in %d%s", size, mode), bound, t.reads(size, batch), t.rawReads(size)); err != nil {
				return err
			}
			if err := b.compare(fmt.Sprintf("frames out %d%s", size, mode), bound, t.writes(size, batch), t.rawWrites(size)); err != nil {
				return err
			}
		}
	}
	if err := b.segments(t); err != nil {
		return err
	}
	return b.many()
}

// What TCP sends in one go: a segment of segmentData bytes, which is segmentFrames frames of 1514 bytes and less on a link that carries none.
const (
	segmentMSS    = 1448
	segmentFrames = 44
	segmentData   = segmentMSS * segmentFrames
	segmentHead   = 14 + 20 + 32 // Ethernet, IPv4, TCP with a time stamp
	vnetHeader    = 10
)

// segment is such a segment as a packet socket takes it, behind a struct virtio_net_hdr (linux/virtio_net.h).
func segment() []byte {
	b := make([]byte, vnetHeader, vnetHeader+segmentHead+segmentData)
	b[0], b[1] = 1, 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4
	le.PutUint16(b[2:], segmentHead)
	le.PutUint16(b[4:], segmentMSS)
	le.PutUint16(b[6:], 14+20) // the checksum begins at TCP's header
	le.PutUint16(b[8:], 16)    // and lies there
	b = append(b, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x00"...)
	ip := []byte{0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	binary.BigEndian.PutUint16(ip[2:], 20+32+segmentData)
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	b = append(b, ip...)
	b = append(b, 0, 9, 0, 10, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1)
	return append(b, filled(segmentData)...)
}

// segments measures the bytes a second that come out of an interface of ours that carries segments, in batches, against read(2) on a TAP that does
// not, where the kernel cuts the same segments.
func (b *bench) segments(t *wire) error {
	d, err := ethfoo.New(ethfoo.Config{Prefix: "gso", Limit: 1, PerUser: 1, Queue: 256, MaxQueue: 256})
	if err != nil {
		return err
	}
	socket := filepath.Join(b.dir, "gso")
	w, err := newInterface(d, socket, "bind gso\nconnect 0x800\nbatch on\nup")
	if err != nil {
		return err
	}
	sockets := make(map[string]int)
	for _, name := range []string{"gso0", "raw0"} {
		fd, err := packetSocket(name)
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
		}
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		sockets[name] = fd
	}
	const room = 8 // segments on their way, fewer than the queues hold
	flow := func(fd int, receive func(*atomic.Int64) error) (float64, error) {
		n, err := flowing(fd, segment(), room*segmentData, segmentData, receive)
		return n / 1e6, err
	}
	ours := func(d time.Duration) (float64, error) {
		c, err := dial(w.socket, "/?records=off", []string{"ethfoo", "0", "rx"}, read(4, largest))
		if err != nil {
			return 0, err
		}
		defer c.conn.Close()
		return flow(sockets["gso0"], func(received *atomic.Int64) error {
			c.replied = func(n int) {
				received.Add(int64((n-dataHeader)/(clonefs.BatchHeader+vnetHeader+segmentHead+segmentData)) * segmentData)
			}
			_, err := c.run(d)
			return err
		})
	}
	theirs := func(d time.Duration) (float64, error) {
		return flow(sockets["raw0"], func(received *atomic.Int64) error {
			p := make([]byte, 2048)
			for until := time.Now().Add(d); time.Now().Before(until); {
				for range segmentFrames {
					n, err := unix.Read(t.raw, p)
					if err != nil {
						return err
					}
					received.Add(int64(n - segmentHead))
				}
			}
			return nil
		})
	}
	return b.compareIn("MB/s", "segments in", 1.0, ours, theirs)
}

// compare has ours and theirs take turns; each returns frames a second.
func (b *bench) compare(name string, bound float64, ours, theirs func(time.Duration) (float64, error)) error {
	return b.compareIn("/s", name, bound, ours, theirs)
}

func (b *bench) compareIn(unit, name string, bound float64, ours, theirs func(time.Duration) (float64, error)) error {
	var mine, other, ratios []float64
	for range b.rounds {
		m, err := ours(b.time)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		o, err := theirs(b.time)
		if err != nil {
			return fmt.Errorf("%s: the descriptor: %w", name, err)
		}
		mine, other, ratios = append(mine, m), append(other, o), append(ratios, m/o)
	}
	b.line(name, fmt.Sprintf("%.0f"+unit, median(mine)), "tap", fmt.Sprintf("%.0f"+unit, median(other)), median(ratios), bound, false)
	return nil
}

// A wire is an interface of ours with the server that serves it, and a TAP beside it.
type wire struct {
	socket string
	ctl    p9.File // of the conversation
	raw    int     // the TAP's descriptor
	ours   int     // a packet socket that sends out of our interface
	theirs int     // and one out of the TAP
}

const benchType = 0x88b5 // for local experiments: the kernel neither sends nor takes it

func newWire(socket string) (*wire, error) {
	d, err := ethfoo.New(ethfoo.DefaultConfig())
	if err != nil {
		return nil, err
	}
	w, err := newInterface(d, socket, fmt.Sprintf("connect %d\nqueue 1024\nup", benchType))
	if err != nil {
		return nil, err
	}
	if w.raw, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq("raw0")
	if err != nil {
		return nil, err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(w.raw, unix.TUNSETIFF, req); err != nil {
		return nil, err
	}
	link, err := netlink.LinkByName("raw0")
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, err
	}
	if w.theirs, err = packetSocket("raw0"); err != nil {
		return nil, err
	}
	w.ours, err = packetSocket("ethfoo0")
	return w, err
}

// newInterface makes interface 0 of a device, served at socket, and sends it control messages.
func newInterface(d clonefs.Driver, socket, ctl string) (*wire, error) {
	fs, err := clonefs.New(clonefs.Config{}, d)
	if err != nil {
		return nil, err
	}
	root, err := fs.Attach()
	if err != nil {
		return nil, err
	}
	w := &wire{socket: socket}
	if _, w.ctl, err = root.Walk([]string{"ethfoo", "clone"}); err != nil {
		return nil, err
	}
	if _, _, err := w.ctl.Open(p9.ReadWrite); err != nil {
		return nil, err
	}
	if err := w.say(ctl); err != nil {
		return nil, err
	}
	l, err := listen.Listen("unix!"+socket, listen.Options{})
	if err != nil {
		return nil, err
	}
	go server.New(fs, server.Config{}).Serve(l) // ends with the process
	return w, nil
}

func (w *wire) say(text string) error {
	_, err := w.ctl.WriteAt([]byte(text), 0)
	return err
}

// packetSocket makes a socket that sends out of an interface and takes nothing.
func packetSocket(name string) (int, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index})
}

func benchFrame(size int) []byte {
	return append(append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01"), benchType>>8, benchType&0xff), filled(size-14)...)
}

// window is how many frames are on their way at most: fewer than our queue and the kernel's hold, so that none is lost.
const window = 512

// flow sends f into fd, never more than a window ahead of what was received, until ctx ends. Each f counts as each.
func flow(ctx context.Context, fd int, f []byte, window, each int64, received *atomic.Int64) error {
	for sent := int64(0); ctx.Err() == nil; {
		if sent-received.Load() >= window {
			time.Sleep(20 * time.Microsecond) // what is on its way lasts longer
			continue
		}
		if _, err := unix.Write(fd, f); err != nil {
			return err
		}
		sent += each
	}
	return nil
}

// under runs receive while frames flow into fd, and returns how many it received a second.
func under(fd, size int, receive func(*atomic.Int64) error) (float64, error) {
	return flowing(fd, benchFrame(size), window, 1, receive)
}

// flowing runs receive while f flows into fd, and returns how much it received a second.
func flowing(fd int, f []byte, window, each int64, receive func(*atomic.Int64) error) (float64, error) {
	var received atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- flow(ctx, fd, f, window, each, &received) }()
	begin := time.Now()
	err := receive(&received)
	took := time.Since(begin)
	cancel()
	return float64(received.Load()) / took.Seconds(), errors.Join(err, <-ended)
}

// reads reads frames through 9P.
func (w *wire) reads(size, batch int) func(time.Duration) (float64, error) {
	return func(d time.Duration) (float64, error) {
		if err := w.batch(batch); err != nil {
			return 0, err
		}
		count, record := uint32(2048), size
		if batch > 1 {
			count, record = 64<<10, clonefs.BatchHeader+size
		}
		c, err := dial(w.socket, "/?records=off", []string{"ethfoo", "0", "rx"}, read(32, count))
		if err != nil {
			return 0, err
		}
		defer c.conn.Close()
		return under(w.ours, size, func(received *atomic.Int64) error {
			c.replied = func(n int) { received.Add(int64((n - dataHeader) / record)) }
			_, err := c.run(d)
			return err
		})
	}
}

// rawReads reads them with read(2).
func (w *wire) rawReads(size int) func(time.Duration) (float64, error) {
	return func(d time.Duration) (float64, error) {
		return under(w.theirs, size, func(received *atomic.Int64) error {
			p := make([]byte, 2048)
			for until := time.Now().Add(d); time.Now().Before(until); {
				for range 32 {
					n, err := unix.Read(w.raw, p)
					if err != nil {
						return err
					}
					if n == size {
						received.Add(1)
					}
				}
			}
			return nil
		})
	}
}

// writes writes frames through 9P.
func (w *wire) writes(size, batch int) func(time.Duration) (float64, error) {
	return func(d time.Duration) (float64, error) {
		if err := w.batch(batch); err != nil {
			return 0, err
		}
		data := benchFrame(size)
		if batch > 1 {
			data = nil
			for range batch {
				data = clonefs.AppendBatch(data, benchFrame(size))
			}
		}
		l := load{32, func(i int) [][]byte {
			m := append(encode(twrite, uint16(i), uint32(writeFid), uint64(0), uint32(len(data))), data...)
			le.PutUint32(m, uint32(len(m)))
			return [][]byte{m}
		}}
		c, err := dial(w.socket, "/?records=off", []string{"ethfoo", "0", "ifname"}, l)
		if err != nil {
			return 0, err
		}
		defer c.conn.Close()
		if err := errors.Join(c.ask(encode(twalk, 0, uint32(rootFid), uint32(writeFid), []string{"ethfoo", "0", "tx"})),
			c.ask(encode(tlopen, 0, uint32(writeFid), uint32(os.O_WRONLY)))); err != nil {
			return 0, err
		}
		begin := time.Now()
		ops, err := c.run(d)
		return float64(ops*batch) / time.Since(begin).Seconds(), err
	}
}

// rawWrites writes them with write(2).
func (w *wire) rawWrites(size int) func(time.Duration) (float64, error) {
	return func(d time.Duration) (float64, error) {
		f, n, begin := benchFrame(size), 0, time.Now()
		for time.Since(begin) < d {
			for range 32 {
				if _, err := unix.Write(w.raw, f); err != nil {
					return 0, err
				}
			}
			n += 32
		}
		return float64(n) / time.Since(begin).Seconds(), nil
	}
}

func (w *wire) batch(n int) error {
	if n > 1 {
		return w.say("batch on")
	}
	return w.say("batch off")
}
