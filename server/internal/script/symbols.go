package script

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/hugelgupf/p9/linux"
)

// errnos are Linux's, which is what .L and .u carry on every platform.
var errnos = map[string]linux.Errno{
	"EPERM": linux.EPERM, "ENOENT": linux.ENOENT, "EINTR": linux.EINTR, "EIO": linux.EIO, "ENXIO": linux.ENXIO, "E2BIG": linux.E2BIG,
	"EBADF": linux.EBADF, "EAGAIN": linux.EAGAIN, "ENOMEM": linux.ENOMEM, "EACCES": linux.EACCES, "EFAULT": linux.EFAULT, "EBUSY": linux.EBUSY,
	"EEXIST": linux.EEXIST, "EXDEV": linux.EXDEV, "ENODEV": linux.ENODEV, "ENOTDIR": linux.ENOTDIR, "EISDIR": linux.EISDIR,
	"EINVAL": linux.EINVAL, "ENFILE": linux.ENFILE, "EMFILE": linux.EMFILE, "ENOTTY": linux.ENOTTY, "EFBIG": linux.EFBIG,
	"ENOSPC": linux.ENOSPC, "ESPIPE": linux.ESPIPE, "EROFS": linux.EROFS, "EMLINK": linux.EMLINK, "EPIPE": linux.EPIPE, "ERANGE": linux.ERANGE,
	"ENAMETOOLONG": linux.ENAMETOOLONG, "ENOSYS": linux.ENOSYS, "ENOTEMPTY": linux.ENOTEMPTY, "ELOOP": linux.ELOOP, "ENODATA": linux.ENODATA,
	"EPROTO": linux.EPROTO, "EBADMSG": linux.EBADMSG, "EOVERFLOW": linux.EOVERFLOW, "EUSERS": linux.EUSERS, "EMSGSIZE": linux.EMSGSIZE,
	"EPROTONOSUPPORT": linux.EPROTONOSUPPORT, "EOPNOTSUPP": linux.EOPNOTSUPP, "ENOTSUP": linux.EOPNOTSUPP, "EADDRINUSE": linux.EADDRINUSE,
	"ENETDOWN": linux.ENETDOWN, "ECONNABORTED": linux.ECONNABORTED, "ECONNRESET": linux.ECONNRESET, "ENOBUFS": linux.ENOBUFS,
	"ETIMEDOUT": linux.ETIMEDOUT, "ECONNREFUSED": linux.ECONNREFUSED, "EHOSTDOWN": linux.EHOSTDOWN, "EALREADY": linux.EALREADY,
	"ESTALE": linux.ESTALE, "EDQUOT": linux.EDQUOT, "ECANCELED": linux.ECANCELED, "ESRCH": linux.ESRCH,
}

// symbols are the other names that may stand for a number.
var symbols = map[string]uint64{
	"NOTAG": wire.NoTag, "NOFID": wire.NoFid, "NOUID": wire.NoUid, "NOBODY": 65534,

	"OREAD": wire.OREAD, "OWRITE": wire.OWRITE, "ORDWR": wire.ORDWR, "OEXEC": wire.OEXEC,
	"OTRUNC": wire.OTRUNC, "OCEXEC": wire.OCEXEC, "ORCLOSE": wire.ORCLOSE,

	// Linux's open(2) on amd64, which is what .L carries.
	"O_RDONLY": 0, "O_WRONLY": 1, "O_RDWR": 2, "O_CREAT": 0o100, "O_EXCL": 0o200, "O_NOCTTY": 0o400, "O_TRUNC": 0o1000, "O_APPEND": 0o2000,
	"O_NONBLOCK": 0o4000, "O_DSYNC": 0o10000, "O_DIRECT": 0o40000, "O_LARGEFILE": 0o100000, "O_DIRECTORY": 0o200000,
	"O_NOFOLLOW": 0o400000, "O_NOATIME": 0o1000000, "O_CLOEXEC": 0o2000000, "O_SYNC": 0o4010000,

	"DMDIR": wire.DMDIR, "DMAPPEND": wire.DMAPPEND, "DMEXCL": wire.DMEXCL, "DMAUTH": wire.DMAUTH, "DMTMP": wire.DMTMP,
	"DMSYMLINK": wire.DMSYMLINK, "DMLINK": wire.DMLINK, "DMDEVICE": wire.DMDEVICE, "DMNAMEDPIPE": wire.DMNAMEDPIPE, "DMSOCKET": wire.DMSOCKET,
	"DMSETUID": wire.DMSETUID, "DMSETGID": wire.DMSETGID, "DMSETVTX": wire.DMSETVTX,

	"S_IFIFO": 0o010000, "S_IFCHR": 0o020000, "S_IFDIR": 0o040000, "S_IFBLK": 0o060000, "S_IFREG": 0o100000, "S_IFLNK": 0o120000, "S_IFSOCK": 0o140000,
	"DT_UNKNOWN": 0, "DT_FIFO": 1, "DT_CHR": 2, "DT_DIR": 4, "DT_BLK": 6, "DT_REG": 8, "DT_LNK": 10, "DT_SOCK": 12,

	"GETATTR_MODE": wire.GetMode, "GETATTR_NLINK": wire.GetNlink, "GETATTR_UID": wire.GetUid, "GETATTR_GID": wire.GetGid,
	"GETATTR_RDEV": wire.GetRdev, "GETATTR_ATIME": wire.GetAtime, "GETATTR_MTIME": wire.GetMtime, "GETATTR_CTIME": wire.GetCtime,
	"GETATTR_INO": wire.GetIno, "GETATTR_SIZE": wire.GetSize, "GETATTR_BLOCKS": wire.GetBlocks, "GETATTR_BTIME": wire.GetBtime,
	"GETATTR_GEN": wire.GetGen, "GETATTR_DATA_VERSION": wire.GetDataVersion, "GETATTR_BASIC": wire.GetBasic, "GETATTR_ALL": wire.GetAll,

	"SETATTR_MODE": wire.SetMode, "SETATTR_UID": wire.SetUid, "SETATTR_GID": wire.SetGid, "SETATTR_SIZE": wire.SetSize,
	"SETATTR_ATIME": wire.SetAtime, "SETATTR_MTIME": wire.SetMtime, "SETATTR_CTIME": wire.SetCtime,
	"SETATTR_ATIME_SET": wire.SetAtimeSet, "SETATTR_MTIME_SET": wire.SetMtimeSet,

	"AT_REMOVEDIR": wire.AtRemoveDir,
	"RDLCK":        wire.LockRead, "WRLCK": wire.LockWrite, "UNLCK": wire.LockUnlock, "LOCK_BLOCK": wire.LockBlock, "LOCK_RECLAIM": wire.LockReclaim,
	"LOCK_SUCCESS": wire.LockSuccess, "LOCK_BLOCKED": wire.LockBlocked, "LOCK_ERROR": wire.LockError, "LOCK_GRACE": wire.LockGrace,
}

// parseNumber reads a number of so many bits: see the package comment.
func parseNumber(s string, bits int) (uint64, error) {
	if s == "~0" {
		return 1<<bits - 1, nil
	}
	var n uint64
	for part := range strings.SplitSeq(s, "|") {
		v, err := strconv.ParseUint(part, 0, bits)
		if err != nil {
			var ok bool
			var e linux.Errno
			if v, ok = symbols[part]; !ok {
				if e, ok = errnos[part]; !ok {
					return 0, fmt.Errorf("%q is no number of %d bits and no name of one", part, bits)
				}
				v = uint64(e)
			}
		}
		if v>>(bits-1)>>1 != 0 {
			return 0, fmt.Errorf("%s does not fit %d bits", part, bits)
		}
		n |= v
	}
	return n, nil
}

// errnoName returns the name of e, for messages.
func errnoName(e uint32) string {
	for name, n := range errnos {
		if n == linux.Errno(e) && name != "ENOTSUP" {
			return name
		}
	}
	return linux.Errno(e).Error()
}
