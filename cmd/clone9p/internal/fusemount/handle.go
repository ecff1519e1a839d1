package fusemount

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

var errNoHandle = &p9ext.Error{Errno: linux.EBADF, Text: "the file is not open"}

// A handle is an open file.
type handle struct {
	file *client.File

	stream          bool // it has no offset in the kernel, but these
	readAt, writeAt atomic.Int64
	qemu            *refills   // for who refills short reads; otherwise nil
	listing         sync.Mutex // held by who reads the directory, during its calls: it guards what follows
	pending         []client.Dirent
	next            uint64 // number of the first one pending, in the kernel's count; dot and dot-dot are 0 and 1
	from            uint64 // where the server goes on after them
}

// hold gives a handle its number.
func (m *Mount) hold(h *handle) uint64 {
	m.handles.Lock()
	defer m.handles.Unlock()
	m.handles.last++
	m.handles.byID[m.handles.last] = h
	return m.handles.last
}

func (m *Mount) handle(id uint64) (*handle, error) {
	m.handles.Lock()
	defer m.handles.Unlock()
	if h := m.handles.byID[id]; h != nil {
		return h, nil
	}
	return nil, errNoHandle
}

// release ends an open. It returns when the server has closed the file, which may take a device its time.
func (m *Mount) release(id uint64) {
	m.handles.Lock()
	h := m.handles.byID[id]
	delete(m.handles.byID, id)
	m.handles.Unlock()
	if h == nil {
		return
	}
	if err := h.file.Close(); err != nil {
		m.log.Debug().Err(err).Msg("close")
	}
}

// opened answers an open of the file name with these flags of open(2).
func (m *Mount) opened(f *client.File, flags uint32, name string, out *fuse.OpenOut) {
	const qemus = syscall.O_NONBLOCK | syscall.O_NOFOLLOW
	h := &handle{file: f}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH // there is nothing to do at each close(2), but at the last
	switch {
	case flags&qemus == qemus:
		h.qemu = &refills{largest: maxIO}
	case flags&syscall.O_ACCMODE == syscall.O_RDWR && name == "data":
		h.stream = true
		out.OpenFlags |= fuse.FOPEN_STREAM | fuse.FOPEN_NONSEEKABLE
	}
	out.Fh = m.hold(h)
}

// read is one read(2), or what the kernel makes of it.
func (h *handle) read(ctx context.Context, p []byte, off int64) (int, error) {
	if h.qemu != nil {
		return h.qemu.read(ctx, h.file, p, off)
	}
	if h.stream {
		off = h.readAt.Load()
	}
	n, err := h.file.ReadContext(ctx, short(p), off)
	h.readAt.Add(int64(n))
	return n, err
}

// short is as much of a request's buffer as may be filled. Of a larger read the kernel makes requests of [maxIO] bytes, or up to a page less where the
// buffer begins amid a page; one that was answered whole it would go on with, and wait for another record.
func short(p []byte) []byte {
	if len(p) > maxIO-syscall.Getpagesize() {
		return p[:len(p)-1]
	}
	return p
}

// write is one write(2), with one message where it fits.
func (h *handle) write(ctx context.Context, p []byte, off int64) (done int, err error) {
	if h.stream {
		off = h.writeAt.Load()
	}
	defer func() { h.writeAt.Add(int64(done)) }()
	for {
		n, err := h.file.WriteContext(ctx, p[done:min(len(p), done+h.file.MaxIO())], off+int64(done))
		done += n
		switch {
		case err != nil || done == len(p):
			return done, err
		case n == 0:
			return done, io.ErrShortWrite
		}
	}
}

// ReadDir implements fuse.RawFileSystem. The kernel takes what fits its buffer and comes back with the number of the next; a number that
// is not the next one is looked for from the beginning, by which a directory that was read anew is read as it is now.
func (m *Mount) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	h, err := m.handle(in.Fh)
	if err != nil {
		return status(err)
	}
	ctx, end := graceful(cancel)
	defer end()
	h.listing.Lock()
	defer h.listing.Unlock()
	if in.Offset == 0 || in.Offset != h.next {
		h.pending, h.next, h.from = []client.Dirent{{Name: ".", QID: h.file.QID()}, {Name: "..", QID: p9.QID{Type: p9.TypeDir}}}, 0, 0
	}
	for {
		for i, e := range h.pending {
			if h.next < in.Offset { // was given before
				h.next++
				continue
			}
			d := fuse.DirEntry{Name: e.Name, Mode: syscall.S_IFREG, Off: h.next + 1}
			if e.Name != ".." {
				d.Ino = ino(e.QID)
			}
			switch {
			case e.QID.Type&p9.TypeDir != 0:
				d.Mode = syscall.S_IFDIR
			case e.QID.Type&p9.TypeSymlink != 0:
				d.Mode = syscall.S_IFLNK
			}
			if !out.AddDirEntry(d) {
				h.pending = h.pending[i:]
				return fuse.OK
			}
			h.next++
		}
		h.pending = h.pending[:0]
		some, err := h.file.ReadDirAt(ctx, h.from)
		if err != nil {
			if h.next > in.Offset { // what there is goes first
				return fuse.OK
			}
			return status(err)
		}
		if len(some) == 0 {
			return fuse.OK
		}
		h.from = some[len(some)-1].Offset
		for _, e := range some {
			if e.Name != "." && e.Name != ".." {
				h.pending = append(h.pending, e)
			}
		}
	}
}
