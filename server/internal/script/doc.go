// Package script runs scripted conversations with a 9P server: files of lines, most of them messages, that say what a client sends and
// what it must get, in any dialect, on any number of connections. The idea is that of plan9/srv9p in 9fans.net/go.
//
//	# a read that waits is flushed
//	serve console
//	version 9P2000.L
//	attach 1
//	walk 1 2 line
//	open 2 r
//	Tread tag 3 fid 2 offset 0 count 64
//	quiet
//	Tflush tag 4 oldtag 3
//	?Rlerror tag 3 errno EINTR
//	Rflush tag 4
//
// A test calls [Run] with the pattern of its files and a function that starts the server a file asks for.
//
// # Lines
//
// Blank lines and lines that begin with # say nothing. A line that begins with [9P2000.L] is for that dialect alone, with
// [!9P2000.L] for the others.
//
//	dialects D...           first line only: run the file once in each of these dialects; `all` is all three
//	serve TREE OPTION...    start a server of that tree, once
//	conn NAME OPTION...     go on on that connection; it is made when it is new, the options then go to Server.Dial. The one that is
//	                        there without this line is called main
//	T... FIELD VALUE ...    send this message
//	R... FIELD VALUE ...    the next reply must be this one
//	?R...                   this reply may come before the next one that must
//	{ and }                 the replies between come in any order
//	Rfail ...               the error of the dialect: Rlerror, of which errno is compared; Rerror, of which ename is, and errno in .u
//	raw HEX...              send these bytes; XX*N repeats one
//	quiet                   no reply is due: a Tflush of an unused tag is answered, and nothing before it
//	end                     the server ends the connection, without another reply
//	close                   this side ends it; shut ends only what this side sends
//	do NAME ARG...          call a function of the test, Server.Do
//	for VAR FROM TO, done   run the lines between with $VAR counting, both ends included
//	dialect D               encode and decode so from here on, without a Tversion
//	timeout DURATION        how long a reply may take from here on; 5s at first
//
// Shorthands that send a request with tag 65000, and require that it succeeds:
//
//	version [D] [msize N]   Tversion; without D the dialect in which `dialects` runs the file. msize is 8192 unless given
//	attach FID FIELD VALUE...
//	walk FID NEWFID PATH    names divided by slashes; no path copies the fid
//	open FID r|w|rw FLAG... Topen or Tlopen; the flags are trunc and, in .L, create, append, nonblock
//	clunk FID
//
// # Messages
//
// Fields have the names of wire's text form, in any order. One that is not named is zero or empty, with these exceptions: tag is
// NOTAG in Tversion and Rversion, afid NOFID, n_uname NOUID, and a Twstat changes nothing. In a reply `...` at the end of the
// line leaves the fields that are not named uncompared.
//
// A number is written as in Go, an octal one also with a bare zero before it, as ~0 (all ones), or as names joined by |: NOTAG, NOFID,
// NOUID, OREAD, OTRUNC, O_RDWR, DMDIR, S_IFREG, DT_DIR, GETATTR_BASIC, SETATTR_SIZE, ENOENT and so on, see symbols.go. A string is a bare
// word, or anything in single quotes with Go's escapes; 'x'*100 repeats it. Quoted, it is compared as it stands; in a bare word of
// a reply * stands for anything.
//
// A qid is PATH.VERSION or PATH.VERSION.LETTERS (wire.Qid.AppendText); each part may be *, as may any whole value. A list is [A B], and
// one element needs no brackets. A stat is (FIELD VALUE ...). The data of a directory read may be written [(FIELD VALUE ...) ...], one for
// each stat or entry.
//
// $NAME in a word stands for a value. In a reply a $NAME that has none yet takes the value found there, also as the
// path of a qid; elsewhere it must have one. $dialect is the dialect in which `dialects` runs the file.
//
// # End of a script
//
// At its end each connection that is still there must be quiet; then all are closed and Server.Close is called, where the test looks whether
// anything is left.
package script
