package main

import (
	"bufio"
	"context"
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
	return b.many()
}

// compare has ours and theirs take turns; each returns frames a second.
func (b *bench) compare(name string, bound float64, ours, theirs func(time.Duration) (float64, error)) error {
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
	b.line(name, fmt.Sprintf("%.0f/s", median(mine)), "tap", fmt.Sprintf("%.0f/s", median(other)), median(ratios), bound, false)
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
	if err := w.say(fmt.Sprintf("connect %d\nqueue 1024\nup", benchType)); err != nil {
		return nil, err
	}
	l, err := listen.Listen("unix!"+socket, listen.Options{})
	if err != nil {
		return nil, err
	}
	go server.New(fs, server.Config{}).Serve(l) // ends with the process

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

// flow sends frames into fd, never more than a window ahead of what was received, until ctx ends.
func flow(ctx context.Context, fd, size int, received *atomic.Int64) error {
	f := benchFrame(size)
	for sent := int64(0); ctx.Err() == nil; {
		if sent-received.Load() >= window {
			time.Sleep(20 * time.Microsecond) // what is on its way lasts longer
			continue
		}
		if _, err := unix.Write(fd, f); err != nil {
			return err
		}
		sent++
	}
	return nil
}

// under runs receive while frames flow into fd, and returns how many it received a second.
func under(fd, size int, receive func(*atomic.Int64) error) (float64, error) {
	var received atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- flow(ctx, fd, size, &received) }()
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

// writeFid is the load's fid of tx.
const writeFid = 4

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
