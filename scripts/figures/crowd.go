package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	crowdSize  = 100_000
	crowdConns = 2 // a session may have 65,535 requests that wait, and as many fids

	maxFlush    = time.Millisecond // p99
	maxBlocked  = 2 << 10          // bytes of memory a read that waits
	maxIdle     = 4 << 10          // and a conversation
	minClone    = 0.3              // clones and releases, to opens and closes of /dev/ptmx
	flushRounds = 5000
	batchBytes  = 64 << 10 // of messages that are sent together
)

// crowd measures what many cost that do nothing, and what others feel of them.
func (b *bench) crowd() error {
	if err := b.blocked(); err != nil {
		return err
	}
	return b.conversations()
}

// blocked has very many reads wait and then cancels one of another connection, again and again.
func (b *bench) blocked() error {
	p, err := start(ours, b.dir)
	if err != nil {
		return err
	}
	defer p.stop()
	idle := load{1, func(int) [][]byte { return nil }}
	lone, err := dial(p.socket, p.aname, waitPath, idle)
	if err != nil {
		return err
	}
	defer lone.conn.Close()
	before, err := p.memory()
	if err != nil {
		return err
	}
	for range crowdConns {
		c, err := dial(p.socket, p.aname, waitPath, idle)
		if err != nil {
			return err
		}
		defer c.conn.Close()
		if err := c.sendMany(crowdSize/crowdConns, func(i int) []byte {
			return encode(tread, uint16(i), uint32(openFid), uint64(0), uint32(4096))
		}); err != nil {
			return err
		}
		// An answered Tgetattr says that the server has seen all that came before.
		if err := c.ask(encode(tgetattr, noTag-1, uint32(walkFid), uint64(0x7ff))); err != nil {
			return err
		}
	}
	after, err := p.memory()
	if err != nil {
		return err
	}
	b.limit("memory a blocked read", bytesOf(after-before, crowdSize), maxBlocked, "bytes")

	var times []float64
	for range flushRounds {
		if _, err := lone.conn.Write(encode(tread, 1, uint32(openFid), uint64(0), uint32(4096))); err != nil {
			return err
		}
		begin := time.Now()
		if _, err := lone.conn.Write(encodeFlush(2, 1)); err != nil {
			return err
		}
		// Rlerror of the read, EINTR, and Rflush.
		if err := lone.receive(headerSize + 4 + headerSize); err != nil {
			return err
		}
		times = append(times, time.Since(begin).Seconds())
	}
	slices.Sort(times)
	b.limit("Tflush p99", times[len(times)*99/100]*1e3, maxFlush.Seconds()*1e3, "ms")
	return nil
}

// conversations opens very many and measures the clone of one more when there are few and when there are many.
func (b *bench) conversations() error {
	p, err := start(ours, b.dir)
	if err != nil {
		return err
	}
	defer p.stop()
	const cloneFid = 50
	lone, err := dial(p.socket, p.aname, textPath, load{})
	if err != nil {
		return err
	}
	defer lone.conn.Close()
	// clone walks and opens. The walk is answered before the open is looked at, so all walks can have one tag.
	clone := func(tag uint16, fid uint32) []byte {
		return append(encode(twalk, noTag-1, uint32(rootFid), fid, clonePath), encode(tlopen, tag, fid, uint32(2))...)
	}
	cloned := headerSize + 2 + qidSize*len(clonePath) + headerSize + qidSize + 4 // bytes of its replies
	clones := func() (float64, error) {
		n := 0
		begin := time.Now()
		for ; time.Since(begin) < b.time; n++ {
			if _, err := lone.conn.Write(clone(0, cloneFid)); err != nil {
				return 0, err
			}
			if err := lone.receive(cloned); err != nil {
				return 0, err
			}
			if err := lone.ask(encode(tclunk, 0, uint32(cloneFid))); err != nil {
				return 0, err
			}
		}
		return float64(n) / time.Since(begin).Seconds(), nil
	}

	var ratios, mine, theirs []float64
	for range b.rounds {
		m, err := clones()
		if err != nil {
			return err
		}
		t, err := b.ptmx()
		if err != nil {
			return err
		}
		mine, theirs, ratios = append(mine, m), append(theirs, t), append(ratios, m/t)
	}
	b.line("clone+release", fmt.Sprintf("%.0f/s", median(mine)), "ptmx", fmt.Sprintf("%.0f/s", median(theirs)), median(ratios), minClone, false)

	before, err := p.memory()
	if err != nil {
		return err
	}
	for range crowdConns {
		c, err := dial(p.socket, p.aname, textPath, load{})
		if err != nil {
			return err
		}
		defer c.conn.Close()
		const each = crowdSize / crowdConns
		done := make(chan error, 1)
		go func() { done <- c.receive(each * cloned) }() // ends with the answers, or with the connection
		if err := c.sendMany(each, func(i int) []byte {
			return clone(uint16(i), uint32(slotFids+i))
		}); err != nil {
			return err
		}
		if err := <-done; err != nil {
			return err
		}
	}
	after, err := p.memory()
	if err != nil {
		return err
	}
	b.limit("memory a conversation", bytesOf(after-before, crowdSize), maxIdle, "bytes")
	many, err := clones()
	if err != nil {
		return err
	}
	b.line(fmt.Sprintf("clone at %d", crowdSize), fmt.Sprintf("%.0f/s", many), "at 1", fmt.Sprintf("%.0f/s", median(mine)), many/median(mine), 0, false)
	return nil
}

// ptmx opens and closes a terminal's master, again and again, and returns how often a second.
func (b *bench) ptmx() (float64, error) {
	n := 0
	begin := time.Now()
	for ; time.Since(begin) < b.time; n++ {
		f, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
		if err != nil {
			return 0, err
		}
		if err := f.Close(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}

// sendMany sends n messages, many at a time.
func (c *client) sendMany(n int, msg func(i int) []byte) error {
	var out []byte
	for i := range n {
		out = append(out, msg(i)...)
		if len(out) >= batchBytes || i == n-1 {
			if _, err := c.conn.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	return nil
}

// receive takes n bytes of replies. It looks at no more than that: an error has another length than what is expected, and shows as a wait.
func (c *client) receive(n int) error {
	if err := c.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	for n > 0 {
		m, err := c.conn.Read(c.in[:min(n, len(c.in))])
		if err != nil {
			return fmt.Errorf("%d bytes of replies are missing: %w", n, err)
		}
		n -= m
	}
	return nil
}

// encodeFlush is Tflush.
func encodeFlush(tag, old uint16) []byte {
	b := append(encode(tflush, tag), byte(old), byte(old>>8))
	le.PutUint32(b, uint32(len(b)))
	return b
}

// memory returns the bytes that the process has in memory, see proc_pid_status(5).
func (p *process) memory() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(b), "VmRSS:")
	if f := strings.Fields(rest); found && len(f) > 0 {
		n, err := strconv.ParseInt(f[0], 10, 64)
		return n << 10, err
	}
	return 0, fmt.Errorf("/proc/PID/status has no VmRSS")
}

func bytesOf(n int64, of int) float64 { return float64(n) / float64(of) }

// limit prints a figure that is to stay below a bound.
func (b *bench) limit(name string, value, bound float64, unit string) {
	b.line(name, fmt.Sprintf("%.4g %s", value, unit), "aim", fmt.Sprintf("%.4g %s", bound, unit), value/bound, 1, true)
}
