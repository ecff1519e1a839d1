// Package client is a 9P client for files that may wait. It speaks 9P2000.u, 9P2000.L and 9P2000, whichever the server knows, over
// any connection, and makes no difference between a server of ours and another.
//
// A [Conn] is a session. [Conn.Attach] gives the root of a tree, [File.Walk] and [File.OpenFile] the files below it; a [File] is a fid, and
// whoever got one closes it. A conversation with a device that clones is three steps (error handling left out):
//
//	conn, err := client.New(ctx, nc, client.Options{})
//	root, err := conn.Attach(ctx, client.Attach{Name: "/ethfoo?records=off"})
//
//	ctl, err := root.OpenFile(ctx, "clone", p9.ReadWrite) // a new interface; ctl is its control file now
//	defer ctl.Close()                                     // the last open file takes it along
//	n, err := ctl.ReadContext(ctx, buf, 0)                // "0\n": the directory is 0
//	_, err = ctl.WriteContext(ctx, []byte("up"), 0)
//
//	rx, err := root.OpenFile(ctx, "0/rx", p9.ReadOnly)
//	n, err = rx.ReadContext(ctx, buf, 0)                  // one frame, whenever it comes, or the end of ctx
//
// # Reading and writing
//
// [File.ReadContext] and [File.WriteContext] are one message each: of a file of records one record, of a control file one command. They are
// the calls for devices. The others are for what knows files of bytes by the interfaces of package io: [File.ReadAt] and [File.WriteAt] send as
// many messages as it takes, [File.Read] and [File.Write] go on where the last one ended, and have no context. The calls for devices never ask
// for the rest of a record, as Linux does: records=off among the attach options tells a server of ours so.
//
// # Cancelling
//
// A call whose context ends sends Tflush and returns when the server has confirmed it: with the call's own result if that was quicker,
// otherwise with EINTR (and the context's error as cause). So a read that is cancelled has lost nothing, and a write that is cancelled has
// either been done or not begun. A server that does not confirm within [Options].FlushTimeout is not waited for; the call's
// tag stays taken until it does, and what it still brings is undone: the file of a late walk or open is clunked, a late record is lost.
//
// [File.Close] has no context: it waits until the device has closed. [Conn.Close] waits for nothing of the server's; all files end with it.
//
// # Many at once
//
// All methods are safe for concurrent use. A blocked call holds a tag and the goroutine that made it, nothing else. There are 65,534 tags for
// calls, and one more kept back so that a call can always be cancelled; who finds none waits for one. One goroutine writes, several messages a
// system call, and one reads; both end with the connection.
//
// # Dialects
//
// What a dialect has no message for is an error that says so (EOPNOTSUPP), and what it does not carry is left out of what comes back:
//
//	           errors             users             attributes              beside
//	9P2000.L   number             numbers           all of stat(2)          StatFS
//	9P2000.u   number and words   numbers, names    seconds, no links       directories with attributes
//	9P2000     words              names             the same                the same; no append, no access time
//
// # Errors
//
// What the server says is a *p9ext.Error: the errno, and the server's own sentence, which 9P2000.L does not carry and for which the system's
// words for the errno stand in. Plain 9P2000 carries only the sentence; the errno is then found from the texts that Plan 9, Linux and this
// module use, and is EIO for any other. A walk that fails says at which name, by a [*WalkError] around it. When the connection is lost, every
// call that waits and every later one fails with [ErrLost].
//
//	errors.Is(err, linux.ENOENT)               // the file, or the conversation, is not there
//	errors.Is(err, context.DeadlineExceeded)   // it took too long, and was taken back
//	errors.Is(err, client.ErrLost)             // begin again with New
package client
