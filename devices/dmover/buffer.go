package dmover

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/internal/asuser"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// The buffers of a session, by number.
const (
	numInputs  = 8
	outBuffer  = numInputs
	numBuffers = numInputs + 1
)

var bufferNames = [numBuffers]string{"in0", "in1", "in2", "in3", "in4", "in5", "in6", "in7", "out"}

// bufferNumber is the number of a buffer by its name, -1 for what is none.
func bufferNumber(name string) int {
	switch {
	case name == "out":
		return outBuffer
	case len(name) == 3 && name[:2] == "in" && '0' <= name[2] && name[2] < '0'+numInputs:
		return int(name[2] - '0')
	}
	return -1
}

// A budget is the memory that the buffers of all sessions may have.
type budget struct {
	used atomic.Int64
	max  int64
}

// take takes n bytes, if there are so many left.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.max {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

func (b *budget) give(n int) { b.used.Add(-int64(n)) }

// A buffer is memory, or part of a file.
type buffer struct {
	index  int
	limit  int
	budget *budget

	// mu guards the fields below. It is held for reading while a piece of a request works on mem, whose bytes it may write where the request says so, and
	// for writing by everybody else; never while a file is read or written.
	mu   sync.RWMutex
	mem  []byte // its length is the buffer's; its capacity was taken from budget
	file *boundFile
	gone bool // the session has ended: there will be no more memory
}

func (b *buffer) name() string { return bufferNames[b.index] }

// A boundFile is what bind has made a buffer stand for. It is open as long as somebody refers to it: the buffer, and each request that uses it.
type boundFile struct {
	file  *os.File
	path  string
	owner asuser.Identity
	id    fileID
	off   int64
	len   int64 // -1: to the end of the file
	refs  atomic.Int32
}

// A fileID tells files from each other.
type fileID struct{ dev, ino uint64 }

func (f *boundFile) release() {
	if f != nil && f.refs.Add(-1) == 0 {
		f.file.Close()
	}
}

// size is how many bytes the buffer has now.
func (f *boundFile) size() (int64, error) {
	info, err := f.file.Stat()
	if err != nil {
		return 0, err
	}
	n := max(info.Size()-f.off, 0)
	if f.len >= 0 {
		n = min(n, f.len)
	}
	return n, nil
}

// readAt fills p from offset off of the part that is bound, as the owner.
func (f *boundFile) readAt(p []byte, off int64) (n int, err error) {
	e := asuser.Do(f.owner, func() error {
		n, err = f.file.ReadAt(p, f.off+off)
		return nil
	})
	if e != nil {
		return 0, e
	}
	return n, err
}

// writeAt writes p as the owner, whose quota it counts against.
func (f *boundFile) writeAt(p []byte, off int64) (n int, err error) {
	e := asuser.Do(f.owner, func() error {
		n, err = f.file.WriteAt(p, f.off+off)
		return nil
	})
	if e != nil {
		return 0, e
	}
	return n, err
}

// bind makes the buffer stand for f, which it then owns, or for memory again when f is nil. It reports whether it stood for a file before.
func (b *buffer) bind(f *boundFile) bool {
	b.mu.Lock()
	old := b.file
	b.file = f
	b.drop()
	b.mu.Unlock()
	old.release()
	return old != nil
}

// drop lets go of the memory. b.mu is held for writing.
func (b *buffer) drop() {
	b.budget.give(cap(b.mem))
	b.mem = nil
}

// close lets go of everything, for good. It reports what bind does.
func (b *buffer) close() bool {
	b.mu.Lock()
	b.gone = true
	b.mu.Unlock()
	return b.bind(nil)
}

// openContext is open for who waits until ctx ends. A file system that does not answer keeps one goroutine of a session, not more.
func (s *Session) openContext(ctx context.Context, path string, flags int) (*boundFile, error) {
	if !s.opening.CompareAndSwap(false, true) {
		return nil, p9ext.Errorf(linux.EBUSY, "cannot bind %s: the file system of the file before it does not answer", quote(path))
	}
	type result struct {
		f   *boundFile
		err error
	}
	done := make(chan result) // nobody takes it when ctx ends
	go func() {               // ends when the file system answers
		f, err := s.open(path, flags)
		s.opening.Store(false)
		select {
		case done <- result{f, err}:
		case <-ctx.Done():
			f.release()
		}
	}()
	select {
	case r := <-done:
		return r.f, r.err
	case <-ctx.Done():
		return nil, p9ext.ErrInterrupted
	}
}

// open opens PATH below one of the roots with the owner's rights.
func (s *Session) open(path string, flags int) (*boundFile, error) {
	refuse := func(errno linux.Errno, why string) error {
		return p9ext.Errorf(errno, "cannot bind %s: %s", quote(path), why)
	}
	if len(s.dev.roots) == 0 {
		return nil, refuse(linux.EPERM, "the server exports no files (--dmover-root)")
	}
	r, rest := s.dev.root(path)
	if r == nil {
		return nil, refuse(linux.ENOENT, "no root of that name is exported: begin with "+s.dev.rootNames())
	}
	var file *os.File
	id := asuser.Of(s.owner)
	err := asuser.Do(id, func() error {
		dir, err := os.OpenRoot(r.dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		// Not even opened: a device may act on that.
		if info, err := dir.Stat(rest); err == nil && !info.Mode().IsRegular() {
			return errNotRegular
		}
		file, err = dir.OpenFile(rest, flags|openNonblock, 0o644)
		return err
	})
	if err == nil {
		var info fs.FileInfo
		if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() { // it has become something else meanwhile
			err = errNotRegular
		}
		if err == nil {
			f := &boundFile{file: file, path: path, owner: id, id: idOf(info)}
			f.refs.Store(1)
			return f, nil
		}
		file.Close()
	}
	switch {
	case err == errNotRegular:
		return nil, refuse(linux.EINVAL, err.Error())
	case strings.Contains(err.Error(), "escapes"): // os.Root has no error value for it
		return nil, refuse(linux.EACCES, "the path leads out of what is exported")
	}
	return nil, p9ext.Errorf(errnoOf(err), "cannot bind %s: %w", quote(path), errnoOf(err))
}

var errNotRegular = errors.New("it is no regular file")

// root finds the root that a path names, and the rest of the path.
func (d *device) root(path string) (*root, string) {
	name, rest, _ := strings.Cut(path, "/")
	var plain *root
	for i := range d.roots {
		switch r := &d.roots[i]; {
		case r.name == "":
			plain = r
		case r.name == name && rest != "":
			return r, rest
		}
	}
	return plain, path
}

func (d *device) rootNames() string {
	var names []string
	for _, r := range d.roots {
		names = append(names, r.name+"/")
	}
	return strings.Join(names, ", ")
}

// A fill is an open of an input buffer for writing.
type fill struct {
	b     *buffer
	mu    sync.Mutex // guards begun
	begun bool       // the first write has been
}

// A view is an open of the output buffer for reading.
type view struct{ b *buffer }

var (
	_ p9ext.WritePoller = (*fill)(nil)
	_ p9ext.Writer      = (*fill)(nil)
	_ p9ext.Reader      = (*view)(nil)
)

func (s *Session) openInput(index int) func(context.Context, clonefs.Mode) (clonefs.Stream, error) {
	return func(context.Context, clonefs.Mode) (clonefs.Stream, error) { return &fill{b: &s.buffers[index]}, nil }
}

func (s *Session) openOutput(context.Context, clonefs.Mode) (clonefs.Stream, error) {
	return &view{&s.buffers[outBuffer]}, nil
}

func (*fill) Close() error { return nil }
func (*view) Close() error { return nil }

// PollWrite writes where nothing works on the buffer at the moment.
func (f *fill) PollWrite(p []byte, off int64, _ p9ext.Waiter) (int, error) {
	if !f.b.mu.TryLock() {
		return 0, p9ext.ErrNoPoll
	}
	defer f.b.mu.Unlock()
	return f.write(p, off)
}

// UnpollWrite does nothing: PollWrite never parks.
func (f *fill) UnpollWrite(p9ext.Waiter) {}

// WriteContext writes between two pieces of requests.
func (f *fill) WriteContext(_ context.Context, p []byte, off int64) (int, error) {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	return f.write(p, off)
}

// write does it, with f.b.mu held.
func (f *fill) write(p []byte, off int64) (int, error) {
	b := f.b
	if b.file != nil {
		return 0, p9ext.Errorf(linux.EBUSY, "%w: %s stands for the file %s: unbind it first", p9ext.ErrInUse, b.name(), quote(b.file.path))
	}
	if off < 0 || off > int64(b.limit) || len(p) > b.limit-int(off) {
		return 0, p9ext.Errorf(linux.EFBIG, "%s holds %d bytes at most (--dmover-buffer)", b.name(), b.limit)
	}
	f.mu.Lock()
	if !f.begun {
		f.begun = true
		b.mem = b.mem[:0]
	}
	f.mu.Unlock()
	if err := b.extend(int(off) + len(p)); err != nil {
		return 0, err
	}
	return copy(b.mem[off:], p), nil
}

// extend makes the buffer n bytes long at least; the new ones are zero. b.mu is held for writing.
func (b *buffer) extend(n int) error {
	old := len(b.mem)
	if n <= old {
		return nil
	}
	if b.gone {
		return p9ext.ErrHungup
	}
	if n <= cap(b.mem) {
		b.mem = b.mem[:n]
		clear(b.mem[old:])
		return nil
	}
	room := min(max(n, 2*cap(b.mem)), max(b.limit, n))
	if !b.budget.take(room - cap(b.mem)) {
		if room = n; !b.budget.take(room - cap(b.mem)) {
			return p9ext.Errorf(linux.ENOMEM, "no memory for %s: the buffers of all sessions have the %d bytes that they may (--dmover-memory)", b.name(), b.budget.max)
		}
	}
	grown := make([]byte, n, room)
	copy(grown, b.mem)
	b.mem = grown
	return nil
}

// ReadContext reads of the output buffer.
func (v *view) ReadContext(_ context.Context, p []byte, off int64) (int, error) {
	b := v.b
	b.mu.Lock()
	f := b.file
	if f == nil {
		defer b.mu.Unlock()
		if off < 0 || off >= int64(len(b.mem)) {
			return 0, io.EOF
		}
		return copy(p, b.mem[off:]), nil
	}
	f.refs.Add(1)
	b.mu.Unlock()
	defer f.release()
	size, err := f.size()
	if err != nil {
		return 0, err
	}
	if off < 0 || off >= size {
		return 0, io.EOF
	}
	n, err := f.readAt(p[:min(int64(len(p)), size-off)], off)
	if n > 0 {
		err = nil
	}
	return n, err
}
