// Package plan lists the cases that a guest carries out, for the host, which makes a subtest of each, and for the guest, which
// has a function for each.
package plan

// The dialects of 9P, as Linux's mount option version wants them.
const (
	Linux = "9P2000.L"
	Unix  = "9P2000.u"
	Plain = "9P2000"
)

// The sizes of a message that mounts ask for: the kernel's default, and the most it takes over tcp.
const (
	DefaultMsize = 128 << 10
	MaxMsize     = 1 << 20
)

// A Case is one case.
type Case struct {
	Name string
	What string // one line: what holds when it passes

	// Only, unless empty, is the one dialect in which the case is carried out.
	Only string
	// Identity is what the server makes of a peer over tcp: "nobody", or "trust" when empty.
	Identity string
	// SmallToo has the case carried out with the kernel's default msize of 128 KiB as well as with the largest of 1 MiB.
	SmallToo bool
	// Recipe has TestRecipes carry the case out, and nobody else: it is about what the README says to type.
	Recipe bool
	// Kernel, unless empty, is why the case is about the kernel's own client alone: TestFUSE leaves it out.
	Kernel string
}

const kernelMount = "it is about clone9p mount with the kernel's own client"

// Cases are carried out in this order.
var Cases = []Case{
	{Name: "mount", What: "mount, read README, umount"},
	{Name: "mount-cache-mmap", What: "a mount that caches reads the same", Kernel: "FUSE mounts have no such option, and cache nothing"},
	{Name: "attach-name", What: "aname takes a subtree and options, and refuses unknown ones"},
	{Name: "ls", What: "ls -lR shows the tree; files are regular and have size 0"},
	{Name: "looks-plain", What: "xattr probes, truncation and access answer as on a plain file", Only: Linux},

	{Name: "clone-in-a-shell", What: "exec 3<>clone; read n <&3: the interface is there while fd 3 is open, and no longer"},
	{Name: "clone-number", What: "one read of 4096 gives the number; fstat of the descriptor still shows clone"},
	{Name: "clone-lowest", What: "the lowest free number is taken; a hundred opens, all gone at the end", Only: Linux},
	{Name: "no-clone-by-accident", What: "stat, access and open for reading of other files make no conversation"},
	{Name: "ctl-forms", What: "echo up > ctl, >> ctl, 1<> ctl"},
	{Name: "ctl-errors", What: "bad control messages fail with their errno and change nothing"},
	{Name: "close", What: "closing the last descriptor takes the interface away"},
	{Name: "kill-holder", What: "the death of the process that holds it takes the interface away"},
	{Name: "hangup", What: "hangup ends a blocked read with EIO"},
	{Name: "stale", What: "a file of a dead conversation never turns into one of the next with its number"},

	{Name: "ping", What: "a real ping: each frame comes out of one read of rx, the answers go in by tx"},
	{Name: "tx", What: "a frame written to tx is seen on the interface, exactly"},
	{Name: "stream", What: "cat of rx hands on each frame when it comes"},
	{Name: "nonblock", What: "a read of rx opened with O_NONBLOCK waits or is whole, and never fails with EAGAIN", Only: Linux},
	{Name: "killed-reader", What: "killed blocked readers leave the mount fully usable and lose nothing"},
	{Name: "killed-reader-flood", What: "readers killed while frames pour in leave the mount fully usable"},
	{Name: "beside-blocked-reader", What: "while a reader blocks everything else works at once"},
	{Name: "truncate-beside-reader", What: "> tx beside a reader of rx works; > data beside a reader of data ends with the next frame"},

	{Name: "trap-second-clone", What: "while one process holds clone and has written to it, another opens clone and reads its number"},
	{Name: "trap-cat-ctl", What: "cat ctl beside a writer of ctl"},
	{Name: "trap-write-pread", What: "64 bytes written, then pread: the right answer"},

	// Buffers smaller than msize, as large and larger: 1 MiB is the one msize, 128 KiB the other.
	{Name: "records-4k", What: "one record a read, buffer of 4 KiB", SmallToo: true},
	{Name: "records-128k", What: "one record a read, buffer of 128 KiB", SmallToo: true},
	{Name: "records-1m", What: "one record a read, buffer of 1 MiB", SmallToo: true},
	{Name: "records-off", What: "with records=off in aname a read is filled from several records", Kernel: "FUSE makes one read of a read(2), whatever the server does"},
	{Name: "threads-4k", What: "four threads on one descriptor, buffers of 4 KiB", SmallToo: true},
	{Name: "threads-128k", What: "four threads on one descriptor, buffers of 128 KiB", SmallToo: true},
	{Name: "threads-1m", What: "four threads on one descriptor, buffers of 1 MiB", SmallToo: true},

	{Name: "pty-keys", What: "the echo of each key comes out of one read of a terminal; its window has a size"},
	{Name: "pty-killed-reader", What: "killed readers of a terminal lose nothing"},
	{Name: "pty-shell", What: "cat rx &, echo > tx with a shell on the terminal; its exit status", Only: Linux},
	{Name: "pty-screen", What: "an editor on a terminal is started, resized and left", Only: Linux},
	{Name: "pty-twenty", What: "twenty terminals at once, each by itself", Only: Linux},

	{Name: "dmover-copy", What: "echo and cat copy 256 MiB between two files of the host, without a byte on the wire"},
	{Name: "dmover-xor", What: "three files of the host become a fourth"},
	{Name: "dmover-crc", What: "a CRC chained over pieces is that of the whole; in0 is filled by cat"},
	{Name: "audio-wav", What: "cat plays a WAV file, and the host's WAV file has its samples, each of them"},
	{Name: "unix", What: "the README's line mounts a server on the same machine; two users are each themselves", Only: Linux, Kernel: "it is about the README's line for mount(8)"},
	{Name: "mount-command", What: "clone9p mount over unix, tcp, vsock and exec; each user over unix is himself", Only: Linux, Kernel: kernelMount},
	{Name: "mount-command-table", What: "mount.clone9p by itself, by /etc/fstab and over TLS; what is refused is told in words", Only: Linux, Kernel: kernelMount},
	{Name: "mount-command-ends", What: "clone9p umount beside a reader, and without a server; a signal unmounts", Only: Linux, Kernel: kernelMount},
	{Name: "users", What: "trust, access=user: each user has conversations of his own, closed to others", Only: Linux},
	{Name: "users-nobody", What: "nobody, access=any: whoever can attach shares them", Identity: "nobody"},
	{Name: "umount-busy", What: "umount with a read pending is EBUSY; umount -l works and the interface goes with the reader"},
	{Name: "server-gone", What: "the server's death ends pending reads with an error; umount works"},

	// TestRecipes boots a guest for these.
	{Name: "recipe-slirp", What: "a guest mounts over its user network", Recipe: true},
	{Name: "recipe-guestfwd", What: "a guest mounts over a command that QEMU starts, without a port on the host", Recipe: true},
	{Name: "recipe-serial", What: "a guest mounts over a port of virtio-serial, also after a client there was killed", Recipe: true},
	{Name: "recipe-vsock", What: "a server of a guest's own is reached and mounted over vsock", Recipe: true},
	{Name: "recipe-virtfs", What: "a guest mounts a directory of the host in which clone9p mount shows the tree", Recipe: true},

	// Last, since it takes a guest.
	{Name: "guest-killed", What: "killing the guest outright takes every interface away within a second", Only: Linux, Kernel: "there is no guest"},
}
