// Package server speaks 9P on connections: 9P2000.L, 9P2000.u and 9P2000, whichever the client asks for. It serves any [p9.Attacher], and
// serves well those whose files wait for devices: a request that waits costs other requests nothing, can be cancelled at any moment,
// and goes with its connection.
//
//	srv := server.New(tree, server.Config{Log: log})
//	go srv.Serve(listener)
//	...
//	srv.Shutdown(ctx)
//
// # Trees
//
// A tree written for p9.Server works unchanged, with the exclusion of reads, writes and renames that p9.File's documentation
// promises; each call runs on a goroutine of its own. A file that implements p9ext.Prompt is answered on the
// receiving goroutine, several messages a system call. A file that may wait implements p9ext.Reader, p9ext.Writer or p9ext.Opener and
// gets a context; one that implements p9ext.ReadPoller as well waits without a goroutine.
//
// # Cancelling
//
// Tflush is handled as it is received. The request it names is answered with EINTR, or was answered before, and Rflush follows; what a
// handler brings afterwards is given back (p9ext.Unreader) or undone. The same happens, without the answers, when a fid is clunked, when
// Tversion comes again, and when the connection ends; then all fids are closed at once, side by side, whatever their handlers are doing.
//
// # Linux
//
// Linux's v9fs refills short reads and believes in sizes. In sessions of 9P2000.L and 9P2000.u a file that may wait is read record by record, and the
// end of a text file is padded with newlines up to where the client wrote it; see records.go. The attach name decides otherwise:
//
//	/subtree?records=off&sizes=on&patience=45s
//
// sizes has text padded or not where that is to differ from records. With patience a read of a file of records that has waited so long is answered with
// nothing, as at the end of a file: for FUSE stacks that give up a mount when one request takes a minute.
//
// # Who attaches
//
// The transport says who the other side is ([Peer]); uname and n_uname of Tattach choose among the users that this peer may be. The tree is told
// the outcome (p9ext.Attacher) and decides what that user may do.
package server
