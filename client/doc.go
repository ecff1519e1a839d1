// Package client is a 9P client for files that may wait. It speaks 9P2000.u, 9P2000.L and 9P2000, whichever the server knows, over
// any connection, and makes no difference between a server of ours and another.
//
//	conn, err := client.New(ctx, nc, client.Options{})
//	root, err := conn.Attach(ctx, client.Attach{Name: "/?records=off"})
//	f, err := root.OpenFile(ctx, "ethfoo/clone", p9.ReadWrite)
//	n, err := f.ReadContext(ctx, buf, 0)
//
// # Cancelling
//
// A call whose context ends sends Tflush and returns when the server has confirmed it: with the call's own result if that was quicker,
// otherwise with EINTR (and the context's error as cause). So a read that is cancelled has lost nothing, and a write that is cancelled has
// either been done or not begun. A server that does not confirm within [Options].FlushTimeout is not waited for; the call's
// tag stays taken until it does, and what it still brings is undone: the file of a late walk or open is clunked, a late record is lost.
//
// # Many at once
//
// A blocked call holds a tag and the goroutine that made it, nothing else. There are 65,534 tags for calls, and one more kept
// back so that a call can always be cancelled; who finds none waits for one. One goroutine writes, several messages a
// system call, and one reads; both end with the connection.
//
// # Errors
//
// What the server says is a *p9ext.Error: the errno, and the server's own sentence, which 9P2000.L does not carry and for which the system's
// words for the errno stand in. Plain 9P2000 carries only the sentence; the errno is then found from the texts that Plan 9, Linux and this
// module use, and is EIO for any other. A walk that fails says at which name, by a [*WalkError] around it. When the connection is lost, every call that waits and every later one fails with [ErrLost].
package client
