package main

import (
	"bytes"
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

	moveDeep  = 64       // requests outstanding, a quarter of them in a write,
	moveBytes = 64 << 20 // of so many bytes at most together
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
		for i := range moves {
			if err := errors.Join(b.moveOne(root, &moves[i], size), b.moveMany(root, &moves[i], size)); err != nil {
				return err
			}
		}
	}
	return errors.Join(b.moveFiles(root, dir), b.fillBuffer(), b.fairness(root))
}

// A move is what one of dmover's functions does, and the best loop that does the same.
type move struct {
	name, request string // of a request the words behind the id, given the length and the offset
	inputs        int
	loop          func(out []byte, in [][]byte)
}

var moves = []move{
	{"zero", "out=out:%[2]d:%[1]d", 0, func(out []byte, _ [][]byte) { clear(out) }},
	{"copy", "in=in0:%[2]d:%[1]d out=out:%[2]d:%[1]d", 1, func(out []byte, in [][]byte) { copy(out, in[0]) }},
	{"xor4", "in=in0:%[2]d:%[1]d in=in1:%[2]d:%[1]d in=in2:%[2]d:%[1]d in=in3:%[2]d:%[1]d out=out:%[2]d:%[1]d", 4, xor4},
	{"iscsi-crc32c", "in=in0:%[2]d:%[1]d", 1, crc},
}

// memory opens a session for a move of n bytes of memory, and returns as much memory of the process.
func (v *move) memory(root p9.File, n int, ctl ...string) (m *mover, out []byte, in [][]byte, err error) {
	if m, err = openMover(root, append(ctl, "func "+v.name)...); err != nil {
		return nil, nil, nil, err
	}
	in = make([][]byte, v.inputs)
	for k := range in {
		in[k] = filled(n)
		if err := m.fill(k, in[k]); err != nil {
			m.close()
			return nil, nil, nil, err
		}
	}
	return m, make([]byte, n), in, nil
}

// moveOne asks for one move after the other.
func (b *bench) moveOne(root p9.File, v *move, size int) error {
	m, out, in, err := v.memory(root, size)
	if err != nil {
		return err
	}
	defer m.close()
	request := []byte("1 " + fmt.Sprintf(v.request, size, 0))
	return b.compareWith(fmt.Sprintf("%s %dk", v.name, size>>10), "loop", minMove, float64(size),
		func() error { return m.ask(request) },
		func() error { v.loop(out, in); return nil })
}

// moveMany keeps requests outstanding that lie side by side, several in a write.
func (b *bench) moveMany(root p9.File, v *move, size int) error {
	deep := min(moveDeep, moveBytes/size)
	if deep < 2 {
		return nil
	}
	m, out, in, err := v.memory(root, deep*size, fmt.Sprint("depth ", deep))
	if err != nil {
		return err
	}
	defer m.close()
	lines := make([]string, deep)
	for i := range lines {
		lines[i] = fmt.Sprintf("%d ", i) + fmt.Sprintf(v.request, size, i*size) + "\n"
	}
	const times = 16
	part := make([][]byte, len(in))
	return b.compareWith(fmt.Sprintf("%s %dk, %d deep", v.name, size>>10, deep), "loop", minMove, float64(times*deep*size),
		func() error { return m.askAll(lines, times*deep) },
		func() error {
			for range times {
				for at := 0; at < deep*size; at += size {
					for k := range in {
						part[k] = in[k][at : at+size]
					}
					v.loop(out[at:at+size], part)
				}
			}
			return nil
		})
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
func (m *mover) ask(request []byte) error {
	if err := m.send(request); err != nil {
		return err
	}
	_, err := m.answer()
	return err
}

// askAll sends the lines, whose ids are their numbers, again and again until n requests have been answered.
func (m *mover) askAll(lines []string, n int) error {
	free := make([]int, len(lines)) // ids
	for i := range free {
		free[i] = i
	}
	var text []byte
	for sent, answered := 0, 0; answered < n; {
		if few := max(len(lines)/4, 1); sent < n && len(free) >= few {
			text = text[:0]
			for _, id := range free[:few] {
				text = append(text, lines[id]...)
			}
			if err := m.send(text); err != nil {
				return err
			}
			free = append(free[:0], free[few:]...)
			sent += few
			continue
		}
		id, err := m.answer()
		if err != nil {
			return err
		}
		free = append(free, id)
		answered++
	}
	return nil
}

// send writes as the server does: without waiting where that is possible.
func (m *mover) send(text []byte) error {
	_, err := m.tx.(p9ext.WritePoller).PollWrite(text, 0, m)
	if errors.Is(err, p9ext.ErrNoPoll) {
		_, err = m.tx.WriteAt(text, 0)
	}
	return err
}

// answer reads a response, which says for whom it is.
func (m *mover) answer() (id int, err error) {
	n, err := m.rx.(p9ext.ReadPoller).PollRead(m.response, 0, m)
	if errors.Is(err, p9ext.ErrWait) {
		<-m.woken
		n, err = m.rx.(p9ext.ReadPoller).PollRead(m.response, 0, m)
	}
	if err != nil {
		return 0, err
	}
	word, rest, _ := bytes.Cut(m.response[:n], []byte(" "))
	for _, c := range word {
		id = 10*id + int(c-'0')
	}
	if !bytes.HasPrefix(rest, []byte("ok ")) {
		return 0, fmt.Errorf("the response is %s", m.response[:n])
	}
	return id, nil
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
	request := fmt.Appendf(nil, "1 in=in0:0:%[1]d out=out:0:%[1]d", moverFile)
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
				for !stop.Load() {
					k, err := m.rx.ReadAt(m.response, 0)
					if err != nil {
						return err
					}
					if counts[i].Add(1) == 1 {
						ready.Done() // its memory is there
					}
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
