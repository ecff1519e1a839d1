package client

import (
	"fmt"
	"strings"
	"sync"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// errProtocol is the errno of what a server must not send.
const errProtocol = linux.EPROTO

// What the client itself answers.
var (
	errFileClosed = &p9ext.Error{Errno: linux.EBADF, Text: "the file is closed"}
	errNotOpen    = &p9ext.Error{Errno: linux.EBADF, Text: "the file is not open"}
	errNegative   = &p9ext.Error{Errno: linux.EINVAL, Text: "negative offset"}
)

func errSize(size, msize uint32) error {
	return fmt.Errorf("the server sent a message of %d bytes: %d to %d were agreed on", size, wire.HeaderSize, msize)
}

// unsupported is the error of a call for which the dialect has no message.
func (c *Conn) unsupported(what string) error {
	return p9ext.Errorf(linux.EOPNOTSUPP, "%v has no %s", c.dialect, what)
}

// maxErrno is the highest number that Linux takes for an error.
const maxErrno = 4095

// replyError makes an error of Rerror or Rlerror.
func replyError(d wire.Dialect, m *wire.Msg) error {
	text := ""
	errno := linux.Errno(m.Errno)
	if d != wire.P9L {
		text = string(m.Ename)
	}
	switch {
	case d == wire.P9 || d == wire.P9u && errno == 0:
		errno = errnoOf(text)
	case errno == 0 || errno > maxErrno: // an error that is none, to the programs that look at the number
		errno = linux.EIO
	}
	if text == "" {
		text = errno.Error()
	}
	return &p9ext.Error{Errno: errno, Text: text}
}

// texts are the sentences of Plan 9's kernel, of its file servers and of this module, where they are not Linux's words for the errno.
var texts = map[string]linux.Errno{
	// Plan 9: /sys/src/9/port/error.h, lib9p, and what Linux's net/9p/error.c knows of other servers.
	"file does not exist":                               linux.ENOENT,
	"file not found":                                    linux.ENOENT,
	"directory entry not found":                         linux.ENOENT,
	"file already exists":                               linux.EEXIST,
	"file exists":                                       linux.EEXIST,
	"file or directory already exists":                  linux.EEXIST,
	"file already open":                                 linux.EBUSY,
	"file in use":                                       linux.EBUSY,
	"device or object already in use":                   linux.EBUSY,
	"exclusive use file already open":                   linux.EBUSY,
	"file is in use":                                    linux.EBUSY,
	"exclusive lock":                                    linux.EAGAIN,
	"not a directory":                                   linux.ENOTDIR,
	"walk in non-directory":                             linux.ENOTDIR,
	"file is a directory":                               linux.EISDIR,
	"is a directory":                                    linux.EISDIR,
	"directory is not empty":                            linux.ENOTEMPTY,
	"directory not empty":                               linux.ENOTEMPTY,
	"permission denied":                                 linux.EACCES,
	"access permission denied":                          linux.EACCES,
	"not owner":                                         linux.EPERM,
	"only owner can change group in wstat":              linux.EPERM,
	"only the owner can change the group":               linux.EPERM,
	"wstat prohibited":                                  linux.EPERM,
	"remove prohibited":                                 linux.EPERM,
	"create prohibited":                                 linux.EPERM,
	"write prohibited":                                  linux.EPERM,
	"wstat can't convert between files and directories": linux.EPERM,
	"wstat cannot change that":                          linux.EPERM,
	"wstat -- not owner":                                linux.EPERM,
	"i/o error":                                         linux.EIO,
	"i/o on hungup channel":                             linux.EIO,
	"read error":                                        linux.EIO,
	"write to hungup channel":                           linux.EPIPE,
	"no free devices":                                   linux.ENOSPC,
	"file system is full":                               linux.ENOSPC,
	"no free blocks":                                    linux.ENOSPC,
	"disk full":                                         linux.ENOSPC,
	"interrupted":                                       linux.EINTR,
	"read or write too small":                           linux.EINVAL,
	"read or write too large":                           linux.EMSGSIZE,
	"bad arg in system call":                            linux.EINVAL,
	"bad process or channel control request":            linux.EINVAL,
	"bad offset":                                        linux.EINVAL,
	"bad offset in directory read":                      linux.EINVAL,
	"bad character in file name":                        linux.EINVAL,
	"illegal name":                                      linux.EINVAL,
	"illegal mode":                                      linux.EINVAL,
	"illegal offset":                                    linux.EINVAL,
	"bad open mode":                                     linux.EINVAL,
	"unknown open mode":                                 linux.EINVAL,
	"bad attach specifier":                              linux.EINVAL,
	"file name too long":                                linux.ENAMETOOLONG,
	"path too deep":                                     linux.ENAMETOOLONG,
	"unknown fid":                                       linux.EBADF,
	"fid unknown or out of range":                       linux.EBADF,
	"fid already in use":                                linux.EBADF,
	"fid in use":                                        linux.EBADF,
	"fid is not open for this":                          linux.EBADF,
	"bad use of fid":                                    linux.EBADF,
	"inappropriate use of fd":                           linux.EBADF,
	"fd out of range or not open":                       linux.EBADF,
	"cannot walk, clone or open an open fid":            linux.EBUSY,
	"cannot clone open fid":                             linux.EBUSY,
	"read only file system":                             linux.EROFS,
	"read-only file system":                             linux.EROFS,
	"file is read only":                                 linux.EROFS,
	"no free memory":                                    linux.ENOMEM,
	"kernel allocate failed":                            linux.ENOMEM,
	"unknown message":                                   linux.EOPNOTSUPP,
	"unknown message type":                              linux.EOPNOTSUPP,
	"bad fcall number":                                  linux.EOPNOTSUPP,
	"not implemented":                                   linux.EOPNOTSUPP,
	"operation not supported":                           linux.EOPNOTSUPP,
	"authentication not required":                       linux.EOPNOTSUPP,
	"authentication failed":                             linux.ECONNREFUSED,
	"unknown user":                                      linux.EINVAL,
	"unknown group":                                     linux.EINVAL,
	"too many open files":                               linux.EMFILE,
	"too many fids in this session":                     linux.ENFILE,
	"too many attaches in this session":                 linux.ENFILE,
	"too many requests in flight":                       linux.EAGAIN,
	"connection refused":                                linux.ECONNREFUSED,
	"connection timed out":                              linux.ETIMEDOUT,
}

// allTexts are texts and Linux's words, which Unix servers of 9P2000 send.
var allTexts = sync.OnceValue(func() map[string]linux.Errno {
	all := make(map[string]linux.Errno, len(texts)+133)
	for e := linux.Errno(133); e > 0; e-- {
		all[strings.ToLower(e.Error())] = e
	}
	for t, e := range texts {
		all[t] = e
	}
	return all
})

// errnoOf finds the errno of a sentence: that of the whole, or of the first part between colons which is known, since servers
// put the context before or after. Of others it is EIO.
func errnoOf(text string) linux.Errno {
	all := allTexts()
	text = strings.ToLower(text)
	if e, ok := all[text]; ok {
		return e
	}
	for part := range strings.SplitSeq(text, ":") {
		if e, ok := all[strings.TrimSpace(part)]; ok {
			return e
		}
	}
	return linux.EIO
}
