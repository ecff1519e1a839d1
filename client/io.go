package client

import (
	"context"
	"io"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
)

var (
	_ io.ReadWriteCloser = (*File)(nil)
	_ io.ReaderAt        = (*File)(nil)
	_ io.WriterAt        = (*File)(nil)
	_ p9ext.Reader       = (*File)(nil)
	_ p9ext.Writer       = (*File)(nil)
)

// ReadContext reads with one message what the server has for len(p) bytes at off, or less where p is larger than MaxIO: of a
// file of records one record, or its beginning. The end of the file is io.EOF.
func (f *File) ReadContext(ctx context.Context, p []byte, off int64) (int, error) {
	if err := f.enterOpen(off); err != nil {
		return 0, err
	}
	defer f.leave()
	p = p[:min(len(p), f.MaxIO())]
	m := wire.Msg{Type: wire.Tread, Fid: f.fid, Offset: uint64(off), Count: uint32(len(p))}
	k := newCall(wire.Rread)
	k.buf = p
	err := f.c.do(ctx, &m, k)
	n := k.n
	k.release()
	if err != nil {
		return 0, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// WriteContext writes p at off with one message; a record is written whole or not at all. What is larger than MaxIO is an
// error. It returns how much the server took, which may be less without an error.
func (f *File) WriteContext(ctx context.Context, p []byte, off int64) (int, error) {
	if err := f.enterOpen(off); err != nil {
		return 0, err
	}
	defer f.leave()
	if most := f.MaxIO(); len(p) > most {
		return 0, p9ext.Errorf(p9ext.ErrTooLarge.Errno, "%w: one message carries %d bytes", p9ext.ErrTooLarge, most)
	}
	m := wire.Msg{Type: wire.Twrite, Fid: f.fid, Offset: uint64(off), Data: p}
	k := newCall(wire.Rwrite)
	err := f.c.do(ctx, &m, k)
	n := k.n
	k.release()
	if err != nil {
		return 0, err
	}
	if n > len(p) {
		return 0, p9ext.Errorf(errProtocol, "the server took %d bytes where %d were written", n, len(p))
	}
	return n, nil
}

// enterOpen is enter for a call that wants f open, and off to be an offset.
func (f *File) enterOpen(off int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return errFileClosed
	case !f.open:
		return errNotOpen
	case off < 0:
		return errNegative
	}
	f.users++
	return nil
}

// Read reads with one message from where the last Read or Write ended, as ReadContext does without a context.
func (f *File) Read(p []byte) (int, error) {
	n, err := f.ReadContext(context.Background(), p, f.offset.Load())
	f.offset.Add(int64(n))
	return n, err
}

// Write writes p where the last Read or Write ended, with one message if it fits.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.offset.Load())
	f.offset.Add(int64(n))
	return n, err
}

// ReadAt fills p from off on, with as many messages as that takes; it is for files of bytes. The other reads are for records.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := f.ReadContext(context.Background(), p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// WriteAt writes all of p at off, with one message if it fits.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for {
		n, err := f.WriteContext(context.Background(), p[done:min(len(p), done+f.MaxIO())], off+int64(done))
		done += n
		switch {
		case err != nil || done == len(p):
			return done, err
		case n == 0:
			return done, io.ErrShortWrite
		}
	}
}
