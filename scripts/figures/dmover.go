package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/dmover"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sync/errgroup"
)

const (
	minMove  = 0.90 // of the best loop over the same bytes
	minFiles = 1.0  // of cp
	minFill  = 0.9  // of a plain write through 9P
	minFair  = 0.9  // the session that got least to the one that got most

	moverFile = 256 << 20
	fairDepth = 32 // requests of a session: it always has some queued
)

// dmover measures requests over memory against the best loop in this process, a copy of a file against cp, in0 against another file's writes, and
// how evenly many sessions are served.
func (b *bench) dmover() error {
	dir := filepath.Join(b.dir, "files")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := newMovers(dir)
	if err != nil {
		return err
	}
	for _, size := range []int{64 << 10, 1 << 20, 16 << 20, 64 << 20} {
		for _, f := range []struct {
			name, request string
			inputs        int
			loop          func(out []byte, in [][]byte)
		}{
			{"zero", "out=out:0:%[1]d", 0, func(out []byte, _ [][]byte) { clear(out) }},
			{"copy", "in=in0:0:%[1]d out=out:0:%[1]d", 1, func(out []byte, in [][]byte) { copy(out, in[0]) }},
			{"xor4", "in=in0:0:%[1]d in=in1:0:%[1]d in=in2:0:%[1]d in=in3:0:%[1]d out=out:0:%[1]d", 4, xor4},
			{"iscsi-crc32c", "in=in0:0:%[1]d", 1, crc},
		} {
			m, err := openMover(root, "func "+f.name)
			if err != nil {
				return err
			}
			in := make([][]byte, f.inputs)
			for k := range in {
				in[k] = filled(size)
				if err := m.fill(k, in[k]); err != nil {
					return err
				}
			}
			out := make([]byte, size)
			request := fmt.Sprintf("1 "+f.request, size)
			err = b.compareWith(fmt.Sprintf("%s %dk", f.name, size>>10), "loop", minMove, float64(size),
				func() error { return m.ask(request) },
				func() error { f.loop(out, in); return nil })
			m.close()
			if err != nil {
				return err
			}
		}
	}
	return errors.Join(b.moveFiles(root, dir), b.fillBuffer(), b.fairness(root))
}

// xor4 adds blocks that stay in the nearest cache.
func xor4(out []byte, in [][]byte) {
	const block = 16 << 10
	for at := 0; at < len(out); at += block {
		end := min(at+block, len(out))
		o := out[at:end]
		subtle.XORBytes(o, in[0][at:end], in[1][at:end])
		subtle.XORBytes(o, o, in[2][at:end])
		subtle.XORBytes(o, o, in[3][at:end])
	}
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	crcSum     uint32 // keeps the loop from being left out
)

func crc(_ []byte, in [][]byte) { crcSum = crc32.Update(crcSum, castagnoli, in[0]) }

// compareWith has ours and theirs take turns, each again and again for the length of a round; each call moves n bytes.
func (b *bench) compareWith(name, other string, bound, n float64, ours, theirs func() error) error {
	speed := func(f func() error) (float64, error) {
		calls := 0
		begin := time.Now()
		for ; time.Since(begin) < b.time; calls++ {
			if err := f(); err != nil {
				return 0, err
			}
		}
		return float64(calls) * n / time.Since(begin).Seconds() / 1e6, nil
	}
	var mine, yours, ratios []float64
	for range b.rounds {
		m, err := speed(ours)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		t, err := speed(theirs)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", name, other, err)
		}
		mine, yours, ratios = append(mine, m), append(yours, t), append(ratios, m/t)
	}
	b.line(name, fmt.Sprintf("%.0f MB/s", median(mine)), other, fmt.Sprintf("%.0f MB/s", median(yours)), median(ratios), bound, false)
	return nil
}

// newMovers makes a tree of the device alone, with one exported directory.
func newMovers(dir string) (p9.File, error) {
	c := dmover.DefaultConfig()
	c.Limit, c.PerUser, c.Buffer, c.Memory = 2000, 2000, 64<<20, 4<<30
	c.Roots = []string{dir}
	d, err := dmover.New(c)
	if err != nil {
		return nil, err
	}
	fs, err := clonefs.New(clonefs.Config{}, d)
	if err != nil {
		return nil, err
	}
	return fs.Attach()
}

// A mover is a session.
type mover struct {
	root     p9.File
	dir      []string
	ctl      p9.File
	rx, tx   p9.File
	response []byte
	woken    chan struct{}
}

// Wake is p9ext.Waiter's.
func (m *mover) Wake() { m.woken <- struct{}{} }

func openMover(root p9.File, ctl ...string) (*mover, error) {
	m := &mover{root: root, response: make([]byte, 256), woken: make(chan struct{}, 1)}
	var err error
	if m.ctl, err = openFile(root, []string{"dmover", "clone"}, p9.ReadWrite); err != nil {
		return nil, err
	}
	n, err := m.ctl.ReadAt(m.response, 0)
	if err != nil {
		return nil, err
	}
	m.dir = []string{"dmover", strings.TrimSpace(string(m.response[:n]))}
	for _, line := range ctl {
		if _, err := m.ctl.WriteAt([]byte(line), 0); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
	}
	if m.rx, err = openFile(root, append(slices.Clone(m.dir), "rx"), p9.ReadOnly); err != nil {
		return nil, err
	}
	m.tx, err = openFile(root, append(slices.Clone(m.dir), "tx"), p9.WriteOnly)
	return m, err
}

func openFile(root p9.File, path []string, flags p9.OpenFlags) (p9.File, error) {
	_, f, err := root.Walk(path)
	if err != nil {
		return nil, err
	}
	_, _, err = f.Open(flags)
	return f, err
}

func (m *mover) close() { m.rx.Close(); m.tx.Close(); m.ctl.Close() }

func (m *mover) fill(k int, p []byte) error {
	f, err := openFile(m.root, append(slices.Clone(m.dir), fmt.Sprint("in", k)), p9.WriteOnly)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(p, 0)
	return err
}

// ask sends a request and waits for its response.
func (m *mover) ask(request string) error {
	// As the server does: without waiting where that is possible.
	_, err := m.tx.(p9ext.WritePoller).PollWrite([]byte(request), 0, m)
	if errors.Is(err, p9ext.ErrNoPoll) {
		_, err = m.tx.WriteAt([]byte(request), 0)
	}
	if err != nil {
		return err
	}
	n, err := m.rx.(p9ext.ReadPoller).PollRead(m.response, 0, m)
	if errors.Is(err, p9ext.ErrWait) {
		<-m.woken
		n, err = m.rx.(p9ext.ReadPoller).PollRead(m.response, 0, m)
	}
	if err == nil && !strings.Contains(string(m.response[:n]), " ok ") {
		err = fmt.Errorf("the response is %s", m.response[:n])
	}
	return err
}

// moveFiles copies a file by the device and by cp.
func (b *bench) moveFiles(root p9.File, dir string) error {
	from, to := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(from, filled(moverFile), 0o644); err != nil {
		return err
	}
	defer func() { os.Remove(from); os.Remove(to) }()
	m, err := openMover(root, "func copy", "bind in0 a")
	if err != nil {
		return err
	}
	defer m.close()
	request := fmt.Sprintf("1 in=in0:0:%[1]d out=out:0:%[1]d", moverFile)
	return b.compareWith("copy of a file", "cp", minFiles, moverFile, func() error {
		os.Remove(to)
		if _, err := m.ctl.WriteAt([]byte("bind out b create"), 0); err != nil {
			return err
		}
		return m.ask(request)
	}, func() error {
		os.Remove(to)
		return exec.Command("cp", "--reflink=never", from, to).Run()
	})
}

// fillBuffer writes to in0 and to a file that takes everything, through 9P.
func (b *bench) fillBuffer() error {
	socket := filepath.Join(b.dir, "fill")
	d, err := dmover.New(dmover.DefaultConfig())
	if err != nil {
		return err
	}
	fs, err := clonefs.New(clonefs.Config{}, d, memoryDevice())
	if err != nil {
		return err
	}
	l, err := listen.Listen("unix!"+socket, listen.Options{})
	if err != nil {
		return err
	}
	srv := server.New(fs, server.Config{})
	go srv.Serve(l) // ends with Shutdown
	defer srv.Shutdown(context.Background())
	root, err := fs.Attach()
	if err != nil {
		return err
	}
	m, err := openMover(root)
	if err != nil {
		return err
	}
	defer m.close()
	mem, err := openFile(root, clonePath, p9.ReadWrite)
	if err != nil {
		return err
	}
	defer mem.Close()
	writer := func(path []string) (func() error, error) {
		data := filled(largest)
		w := load{4, func(i int) [][]byte {
			msg := append(encode(twrite, uint16(i), uint32(writeFid), uint64(0), uint32(len(data))), data...)
			le.PutUint32(msg, uint32(len(msg)))
			return [][]byte{msg}
		}}
		c, err := dial(socket, "/?records=off", []string{"README"}, w)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(c.ask(encode(twalk, 0, uint32(rootFid), uint32(writeFid), path)),
			c.ask(encode(tlopen, 0, uint32(writeFid), uint32(os.O_WRONLY)))); err != nil {
			return nil, err
		}
		return func() error { _, err := c.run(0); return err }, nil
	}
	ours, err := writer(append(slices.Clone(m.dir), "in0"))
	if err != nil {
		return err
	}
	theirs, err := writer(dataPath)
	if err != nil {
		return err
	}
	return b.compareWith("in0 through 9P", "write", minFill, 4*largest, ours, theirs)
}

// fairness has many sessions ask without end, and compares the one that got least with the one that got most.
func (b *bench) fairness(root p9.File) error {
	for _, n := range []int{1, 10, 100, 1000} {
		movers := make([]*mover, n)
		for i := range movers {
			m, err := openMover(root, "func zero", fmt.Sprint("depth ", fairDepth))
			if err != nil {
				return err
			}
			movers[i] = m
		}
		counts := make([]atomic.Int64, n)
		var all errgroup.Group
		var stop atomic.Bool
		var ready sync.WaitGroup
		ready.Add(n)
		for i, m := range movers {
			all.Go(func() error {
				for id := range fairDepth {
					if _, err := m.tx.WriteAt(fmt.Appendf(nil, "%d out=out:0:1048576", id), 0); err != nil {
						return err
					}
				}
				ready.Done()
				for !stop.Load() {
					k, err := m.rx.ReadAt(m.response, 0)
					if err != nil {
						return err
					}
					counts[i].Add(1)
					id, _, _ := strings.Cut(string(m.response[:k]), " ")
					if _, err := m.tx.WriteAt([]byte(id+" out=out:0:1048576"), 0); err != nil {
						return err
					}
				}
				return nil
			})
		}
		ready.Wait()
		before := make([]int64, n)
		for i := range counts {
			before[i] = counts[i].Load()
		}
		begin := time.Now()
		time.Sleep(b.time * time.Duration(max(4, n/50)))
		got := make([]int64, n)
		sum := int64(0)
		for i := range counts {
			got[i] = counts[i].Load() - before[i]
			sum += got[i]
		}
		took := time.Since(begin)
		stop.Store(true)
		if err := all.Wait(); err != nil {
			return err
		}
		for _, m := range movers {
			m.close()
		}
		least, most := float64(slices.Min(got)), float64(slices.Max(got))
		b.line(fmt.Sprintf("fair among %d", n), fmt.Sprintf("%.0f MB/s", float64(sum<<20)/1e6/took.Seconds()), "most", fmt.Sprintf("%.0f", most), least/max(most, 1), minFair, false)
	}
	return nil
}
