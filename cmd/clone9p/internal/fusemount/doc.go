// Package fusemount shows the tree of a 9P server as a directory of this machine, through FUSE: for kernels without 9P of their own, and for
// whoever may not mount with them.
//
//	m, err := fusemount.New(ctx, conn, "/n/clone", fusemount.Options{Attach: client.Attach{Name: "/?records=off"}})
//	...
//	m.Wait() // until somebody has unmounted it
//
// # What a system call becomes
//
// A file that the kernel knows is a fid that was walked, and no more: looking a name up, stat(2) and access(2) open nothing, so no
// conversation begins by them. Each open(2) is a fid of its own, which the last close(2) clunks, once. (The kernel reports that close a moment
// after close(2) has returned: what goes with it, goes then.) A fid that was opened at clone stays the control file that it has become, while
// fstat(2) of the descriptor still tells of clone. Nothing is cached, neither names nor attributes nor data.
//
// A read(2) is one Tread and gives what that brings: of a file of records one record, or its beginning. A write(2) is one Twrite where it fits a message.
// The attach name has to say records=off to a server that helps Linux's own client: this one needs no help, and would see false ends.
//
// sendfile(2) and splice(2) believe the size of a file, which is 0, and give nothing: cat of busybox, which uses them, shows an empty file where dd does not.
//
// # Signals
//
// A signal to a process that waits for a read becomes Tflush, and the read fails with EINTR; it has lost nothing, and is read again. (That is
// any signal which the process does not ignore; the kernel does not say which, so there is no restarting either.) Other calls are
// short, and programs do not expect EINTR from them: they are given a second to end by themselves before they are flushed.
//
// # Reading beside writing
//
// Linux lets one system call at a time use the offset of a descriptor: a read that waits keeps writes waiting that use the same open of the
// file. So what is named data, as Plan 9's devices call their traffic, has no offset where it is opened for both; pread(2) and lseek(2) fail there.
//
// # Behind QEMU
//
// QEMU's -virtfs opens with O_NONBLOCK and O_NOFOLLOW, refills short reads, as does the guest's kernel, and can cancel no read. An open with both flags
// gets what helps against that, see qemu.go.
//
// # Who is who
//
// All go by the identity of the one attach, and where others than its owner may enter the mount the kernel checks the modes of the files. With
// Options.PerUser each user attaches as himself and the server alone decides; that needs a server that believes the mounter.
package fusemount
