package dmover

import (
	"os"

	"github.com/clone9p/clone9p/internal/asuser"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"
)

const (
	hasKernel = true

	openReadWrite = os.O_RDWR
	openCreate    = os.O_CREATE

	// kernelPieceBytes are given to the kernel at a time: it looks for no end of the session in between.
	kernelPieceBytes = 8 << 20

	// cloneAlign is the largest block of the file systems that share blocks.
	cloneAlign = 64 << 10
)

// kernelPiece has the kernel copy or clear the bytes from at on, left of them at most. ok is false when the file system will not.
func (r *request) kernelPiece(at, left int64) (n int64, err error, ok bool) {
	err = asuser.Do(r.out.file.owner, func() error {
		if r.f.Name == "zero" {
			n, ok = r.out.clearFile(at, min(left, kernelPieceBytes))
		} else {
			n, ok, err = r.in[0].copyFile(&r.out, at, left)
		}
		return err
	})
	return n, err, ok
}

// clearFile makes the bytes zero without writing them.
func (o *operand) clearFile(at, n int64) (int64, bool) {
	fd, off := int(o.file.file.Fd()), o.file.off+o.off+at
	if unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, off, n) == nil {
		return n, true
	}
	// A hole reads as zeros too, but does not make the file longer.
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0, false
	}
	if off+n > st.Size && unix.Ftruncate(fd, off+n) != nil {
		return 0, false
	}
	return n, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n) == nil
}

// copyFile copies to another file: all at once by sharing the blocks where the file system can, or a piece.
func (o *operand) copyFile(to *operand, at, left int64) (n int64, ok bool, err error) {
	from, dst := int(o.file.file.Fd()), int(to.file.file.Fd())
	offIn, offOut := o.file.off+o.off+at, to.file.off+to.off+at
	if at == 0 && offIn%cloneAlign == 0 && offOut%cloneAlign == 0 {
		whole := left - left%cloneAlign
		if whole > 0 && unix.IoctlFileCloneRange(dst, &unix.FileCloneRange{Src_fd: int64(from), Src_offset: uint64(offIn), Src_length: uint64(whole), Dest_offset: uint64(offOut)}) == nil {
			return whole, true, nil
		}
	}
	m, err := unix.CopyFileRange(from, &offIn, dst, &offOut, int(min(left, kernelPieceBytes)), 0)
	switch {
	case err == unix.EINTR:
		return 0, true, nil
	case err == unix.ENOSYS || err == unix.EXDEV || err == unix.EINVAL || err == unix.EOPNOTSUPP || err == unix.EPERM || err == unix.EIO:
		return 0, false, nil // an unreadable block is found again, and named, by reading
	case err != nil:
		return 0, true, p9ext.Errorf(errnoOf(err), "%w", errnoOf(err))
	case m == 0:
		return 0, true, p9ext.Errorf(linux.EIO, "%s ended after %d bytes: the file was made shorter", o.buffer.name(), at)
	}
	return int64(m), true, nil
}
