// Package wire is the codec of 9P: one message in, one message out, in any of the three dialects. It does no I/O, keeps
// no state and, once the caller's buffers have grown, allocates nothing.
//
// A message on the wire is
//
//	size[4] type[1] tag[2] ...
//
// little-endian, size counting itself; the fields that follow are the table in layout.go, which Decode, Append, MinSize and the text
// form share. Strings are a 16-bit length and that many bytes. The codec does not look into them: whether a name is empty, holds
// a slash or a NUL, or is no UTF-8, is for the session to judge, which knows what to answer.
//
// A session reads with [Peek] and [Msg.Decode], and answers with [Append]; the replies that make up nearly all traffic have
// functions of their own (AppendRlerror, AppendRgetattr, ... in reply.go), and the data of a read is put by the driver straight
// into the reply between [BeginRread] and [EndRread].
//
// Sources: Plan 9's intro(5) and stat(5) for 9P2000; ericvh.github.io/9p-rfc/rfc9p2000.u.html for .u;
// github.com/chaos/diod/blob/master/protocol.md and Linux's net/9p for .L.
package wire
