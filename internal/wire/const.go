package wire

// Numbers that mean "none", and sizes the protocol fixes.
const (
	NoTag   = 0xffff     // the tag of Tversion and Rversion
	NoFid   = 0xffffffff // afid of a client that did not authenticate
	NoUid   = 0xffffffff // n_uname of a client that names no number
	MaxWalk = 16         // names in one Twalk

	HeaderSize = 7   // size[4] type[1] tag[2]
	IOHeader   = 24  // the room clients keep for the header of Twrite and Rread: the largest count is msize-24
	MinMsize   = 256 // the smallest msize a session may agree on: room for every reply that is not data, names of common length included

	// MaxEname is where AppendRerror cuts an error's text, so that Rerror fits the smallest msize in each dialect.
	MaxEname = MinMsize - HeaderSize - 2 - 4
)

// Bits of Qid.Type.
const (
	QTDIR     = 0x80
	QTAPPEND  = 0x40
	QTEXCL    = 0x20
	QTMOUNT   = 0x10
	QTAUTH    = 0x08
	QTTMP     = 0x04
	QTSYMLINK = 0x02 // .u, .L
	QTLINK    = 0x01 // .u
	QTFILE    = 0x00
)

// Bits of Stat.Mode and of Tcreate's perm, above the nine permission bits. Those from DMSYMLINK on are .u's.
const (
	DMDIR       = 0x80000000
	DMAPPEND    = 0x40000000
	DMEXCL      = 0x20000000
	DMMOUNT     = 0x10000000
	DMAUTH      = 0x08000000
	DMTMP       = 0x04000000
	DMSYMLINK   = 0x02000000
	DMLINK      = 0x01000000
	DMDEVICE    = 0x00800000
	DMNAMEDPIPE = 0x00200000
	DMSOCKET    = 0x00100000
	DMSETUID    = 0x00080000
	DMSETGID    = 0x00040000
	DMSETVTX    = 0x00010000
)

// Modes of Topen and Tcreate: one of the first four, with the flags below them.
const (
	OREAD   = 0
	OWRITE  = 1
	ORDWR   = 2
	OEXEC   = 3
	OTRUNC  = 0x10
	OCEXEC  = 0x20
	ORCLOSE = 0x40
	OAPPEND = 0x80 // .u, as Linux sends it
)

// Bits of Tgetattr's request mask and of Attr.Valid.
const (
	GetMode        = 0x0001
	GetNlink       = 0x0002
	GetUid         = 0x0004
	GetGid         = 0x0008
	GetRdev        = 0x0010
	GetAtime       = 0x0020
	GetMtime       = 0x0040
	GetCtime       = 0x0080
	GetIno         = 0x0100
	GetSize        = 0x0200
	GetBlocks      = 0x0400
	GetBtime       = 0x0800
	GetGen         = 0x1000
	GetDataVersion = 0x2000
	GetBasic       = 0x07ff // what stat(2) shows
	GetAll         = 0x3fff
)

// Bits of SetAttr.Valid. Without the ...Set bit a time becomes the server's now.
const (
	SetMode     = 0x0001
	SetUid      = 0x0002
	SetGid      = 0x0004
	SetSize     = 0x0008
	SetAtime    = 0x0010
	SetMtime    = 0x0020
	SetCtime    = 0x0040
	SetAtimeSet = 0x0080
	SetMtimeSet = 0x0100
)

// Tunlinkat's flag for a directory, and the numbers of Tlock and Rlock; see diod's protocol.md.
const (
	AtRemoveDir = 0x200

	LockRead   = 0 // LockType
	LockWrite  = 1
	LockUnlock = 2

	LockBlock   = 1 // Flags
	LockReclaim = 2

	LockSuccess = 0 // LockStatus
	LockBlocked = 1
	LockError   = 2
	LockGrace   = 3
)
