package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	ptydev "github.com/clone9p/clone9p/devices/pty"
	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/creack/pty"
)

// The figures of pty: what a program prints, and the echo of a key, through 9P and from a terminal of our own.

const (
	catBytes = 100_000_000
	catRead  = 64 << 10 // of one read, on both sides
	keys     = 2000     // of a round

	minCat = 0.8
)

// The fids of a terminal's files, beside openFid, which has clone.
const (
	ctlFid = 10 + iota
	rxFid
	txFid
)

// pty measures both.
func (b *bench) pty() error {
	if f, tty, err := pty.Open(); err != nil {
		fmt.Fprintf(b.out, "no terminal is to be had (%v): pty is SKIPPED\n", err)
		return nil
	} else {
		f.Close()
		tty.Close()
	}
	file := filepath.Join(b.dir, "bytes")
	if err := os.WriteFile(file, filled(catBytes), 0o644); err != nil {
		return err
	}
	defer os.Remove(file)
	p, err := start("pty", b.dir)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := b.cat(p, file); err != nil {
		return err
	}
	return b.key(p)
}

// newPty is the server that serves it.
func newPty(socket string) error {
	c := ptydev.DefaultConfig()
	c.Exec = []string{ptydev.AnyLocal}
	d, err := ptydev.New(c)
	if err != nil {
		return err
	}
	fs, err := clonefs.New(clonefs.Config{}, d)
	if err != nil {
		return err
	}
	l, err := listen.Listen("unix!"+socket, listen.Options{})
	if err != nil {
		return err
	}
	return server.New(fs, server.Config{}).Serve(l)
}

// terminal opens one of the server's, with its ctl, rx and tx.
func terminal(p *process) (*client, error) {
	c, err := dial(p.socket, "/?records=off", []string{"pty", "clone"}, load{})
	if err != nil {
		return nil, err
	}
	n, err := c.data(openFid, 16)
	if err == nil {
		dir := strings.TrimSpace(string(n))
		for _, f := range []struct {
			fid, mode uint32
			name      string
		}{{ctlFid, uint32(os.O_WRONLY), "ctl"}, {rxFid, uint32(os.O_RDONLY), "rx"}, {txFid, uint32(os.O_WRONLY), "tx"}} {
			err = errors.Join(err,
				c.ask(encode(twalk, 0, uint32(rootFid), f.fid, []string{"pty", dir, f.name})),
				c.ask(encode(tlopen, 0, f.fid, f.mode)))
		}
	}
	if err != nil {
		c.conn.Close()
		return nil, err
	}
	return c, nil
}

// data reads from a fid and returns what came, until the next call.
func (c *client) data(fid, count uint32) ([]byte, error) {
	if err := c.ask(encode(tread, 0, fid, uint64(0), count)); err != nil {
		return nil, err
	}
	return c.in[dataHeader:le.Uint32(c.in)], nil
}

// write is Twrite of text to fid.
func write(tag uint16, fid uint32, text string) []byte {
	m := append(encode(twrite, tag, fid, uint64(0), uint32(len(text))), text...)
	le.PutUint32(m, uint32(len(m)))
	return m
}

// catScript prints a file as it is, on either side.
const catScript = `stty raw -echo && exec cat "$0"`

// cat measures how fast a large file is printed: bytes a second from its start to the end of the output.
func (b *bench) cat(p *process, file string) error {
	ours := func() (int64, error) {
		c, err := terminal(p)
		if err != nil {
			return 0, err
		}
		defer c.conn.Close()
		line := fmt.Sprintf("exec sh -c %s %s", clonefs.Quote(catScript), clonefs.Quote(file))
		if err := c.ask(write(0, ctlFid, line)); err != nil {
			return 0, err
		}
		for total := int64(0); ; {
			got, err := c.data(rxFid, catRead)
			if err != nil || len(got) == 0 {
				return total, err
			}
			total += int64(len(got))
		}
	}
	theirs := func() (int64, error) {
		cmd := exec.Command("sh", "-c", catScript, file)
		master, err := pty.Start(cmd)
		if err != nil {
			return 0, err
		}
		defer master.Close()
		buf := make([]byte, catRead)
		for total := int64(0); ; {
			n, err := master.Read(buf)
			total += int64(n)
			if errors.Is(err, syscall.EIO) || err == io.EOF { // Linux and others
				return total, cmd.Wait()
			}
			if err != nil {
				return total, err
			}
		}
	}
	rate := func(f func() (int64, error)) (float64, error) {
		begin := time.Now()
		n, err := f()
		if err == nil && n != catBytes {
			err = fmt.Errorf("%d bytes came of %d", n, catBytes)
		}
		return float64(n) / time.Since(begin).Seconds(), err
	}
	var mine, other, ratios []float64
	for range b.rounds {
		m, err := rate(ours)
		if err != nil {
			return fmt.Errorf("cat: %w", err)
		}
		o, err := rate(theirs)
		if err != nil {
			return fmt.Errorf("cat on a terminal of our own: %w", err)
		}
		mine, other, ratios = append(mine, m), append(other, o), append(ratios, m/o)
	}
	show := func(v []float64) string { return fmt.Sprintf("%.0f MB/s", median(v)/1e6) }
	b.line("pty cat 100 MB", show(mine), "local", show(other), median(ratios), minCat, false)
	return nil
}

// drain is who has the terminals on which keys are typed: the line discipline holds but 4 KiB for a program that does not read.
const drain = "exec cat >/dev/null"

// key measures the time from a key to its echo, which the line discipline makes: through 9P, with a read that waits; on a terminal of our own; and of a
// Tgetattr, which is what a round trip of 9P costs.
func (b *bench) key(p *process) error {
	c, err := terminal(p)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.ask(write(0, ctlFid, "exec sh -c "+clonefs.Quote(drain))); err != nil {
		return err
	}
	cmd := exec.Command("sh", "-c", drain)
	master, err := pty.Start(cmd)
	if err != nil {
		return err
	}
	defer func() {
		master.Close()
		_ = cmd.Wait() // hung up
	}()
	const line = 100 // keys of a line; the end of one is a key as well
	stroke := func(i int) (typed, shown string) {
		if i%line == line-1 {
			return "\n", "\r\n"
		}
		return "x", "x"
	}
	buf := make([]byte, 64)
	var trips, mine, locals, ratios []float64
	for range b.rounds {
		var trip, far, near []float64
		since := func(list *[]float64, begin time.Time) { *list = append(*list, time.Since(begin).Seconds()) }
		for i := range keys {
			typed, shown := stroke(i)

			begin := time.Now()
			if err := c.ask(encode(tgetattr, 0, uint32(walkFid), uint64(0x7ff))); err != nil {
				return err
			}
			since(&trip, begin)

			if _, err := c.conn.Write(encode(tread, 1, uint32(rxFid), uint64(0), uint32(len(buf)))); err != nil {
				return err
			}
			begin = time.Now()
			if _, err := c.conn.Write(write(2, txFid, typed)); err != nil {
				return err
			}
			if err := c.receive(headerSize + 4 + dataHeader + len(shown)); err != nil {
				return err
			}
			since(&far, begin)

			begin = time.Now()
			if _, err := io.WriteString(master, typed); err != nil {
				return err
			}
			if _, err := io.ReadFull(master, buf[:len(shown)]); err != nil {
				return err
			}
			since(&near, begin)
		}
		t, m, l := p50(trip), p50(far), p50(near)
		trips, mine, locals, ratios = append(trips, t), append(mine, m), append(locals, l), append(ratios, m/(t+l))
	}
	show := func(v float64) string { return fmt.Sprintf("%.1f us", v*1e6) }
	b.line("pty key to echo p50", show(median(mine)), "sum", show(median(locals)+median(trips)), median(ratios), 0, true)
	return nil
}

// p50 is the median of very many.
func p50(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
