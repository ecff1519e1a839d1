// Package dmover is a device whose conversations are data-mover sessions, after NetBSD's dmover(4): pick a function once, write requests, read
// responses. The data and the cores are the server's: no byte of what is copied, cleared, added or summed crosses the wire.
//
//	dmover/functions      name, inputs, bytes of the immediate, backends and their speed here
//	dmover/N/in0..in7     input buffers
//	dmover/N/out          the output buffer
//	dmover/N/data rx tx   requests in, responses out, a line each
//
// A checksum of what is written, and a copy between two files below an exported directory:
//
//	exec 3<>/n/clone/dmover/clone; read n <&3; cd /n/clone/dmover/$n
//	echo func iscsi-crc32c >&3; printf 123456789 >in0
//	echo '1 in=in0:0:9' >tx; head -n1 rx                 # 1 ok imm=839206e3 bytes=9
//
//	exec 4<>/n/clone/dmover/clone; read n <&4; cd /n/clone/dmover/$n
//	echo func copy >&4; echo bind in0 disk.img >&4; echo bind out copy.img create >&4
//	echo '1 in=in0:0:1073741824 out=out:0:1073741824' >tx; head -n1 rx
//
// # Buffers
//
// A buffer is memory of the session up to [Config.Buffer] bytes, all together up to [Config.Memory], or after bind a part of a regular file below one of the exported roots. Of an open for
// writing alone the first write empties the buffer, as > empties a file; its length is what was written. A request that writes to out extends it.
//
// bind opens the file with the rights of the session's owner (package asuser), beneath the root whatever links and dots the path has
// (os.Root), and nothing but regular files. What is written there counts against the owner's quota.
//
// # Requests
//
//	ID [out=BUF:OFF:LEN] [in=BUF:OFF:LEN]... [imm=HEX]
//
// ID is a number that is not outstanding. imm is in memory order; zeros at its end may be left out. The lengths of inputs and output must agree (of pq the
// output has twice as much: P, then Q), no input may overlap the output, a fold takes no output. Requests run side by side, and responses come in the
// order in which they end:
//
//	ID ok [imm=HEX] [bytes=N]
//	ID error ERRNO TEXT
//
// A request that fails half way has written what its text says; nothing is taken back. Requests that overlap each other
// give the result of some order of their pieces.
//
// A line that is no request, or has an id that is outstanding, ends its write with EINVAL; those before it stand. A request counts until its response is read; with
// depth of them the writer waits. Readers of one session compete for responses.
//
// # Fairness
//
// All sessions share as many workers as there are processors, and each session with work gets a turn after the other: a megabyte of one request, or of
// several. (Of 32 MiB that are cleared in memory it is all, which takes a millisecond.) What takes a few microseconds, or some hundred where the
// session has no other request outstanding, the writer does itself when nobody waits for a turn. The end of a session takes its requests away between two
// turns.
//
// # Speed
//
// A request costs some 0.3 microseconds, and a worker that sleeps takes 25 to come. So many requests in a write, several writes outstanding, are faster than
// one after the other, and keep all processors at work.
package dmover
