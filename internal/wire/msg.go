package wire

// A Qid is the server's unique identification of a file.
type Qid struct {
	Type    uint8
	Version uint32
	Path    uint64
}

// A Stat is the directory entry of 9P2000 and .u, see stat(5). The numeric fields at the end are .u's.
type Stat struct {
	DevType              uint16 // called type in stat(5)
	Dev                  uint32
	Qid                  Qid
	Mode                 uint32
	Atime, Mtime         uint32
	Length               uint64
	Name, Uid, Gid, Muid []byte
	Extension            []byte // .u
	NUid, NGid, NMuid    uint32 // .u
}

// NoStat is the stat of a Twstat that changes nothing: numbers of all ones and empty strings mean "leave it", see stat(5). A Twstat that is
// only that asks for what fsync does.
func NoStat() Stat {
	return Stat{
		DevType: 0xffff, Dev: 0xffffffff, Qid: Qid{Type: 0xff, Version: 0xffffffff, Path: 1<<64 - 1},
		Mode: 0xffffffff, Atime: 0xffffffff, Mtime: 0xffffffff, Length: 1<<64 - 1,
		NUid: NoUid, NGid: NoUid, NMuid: NoUid,
	}
}

// Attr is what Rgetattr carries of a file. Valid says which fields mean something; see diod's protocol.md.
type Attr struct {
	Valid                                    uint64
	Qid                                      Qid
	Mode, Uid, Gid                           uint32
	Nlink, Rdev                              uint64
	Size, Blksize, Blocks                    uint64
	AtimeSec, AtimeNsec, MtimeSec, MtimeNsec uint64
	CtimeSec, CtimeNsec, BtimeSec, BtimeNsec uint64
	Gen, DataVersion                         uint64
}

// SetAttr is what Tsetattr carries; Valid says what to change.
type SetAttr struct {
	Valid, Mode, Uid, Gid                    uint32
	Size                                     uint64
	AtimeSec, AtimeNsec, MtimeSec, MtimeNsec uint64
}

// Statfs is what Rstatfs carries.
type Statfs struct {
	FsType, Bsize                             uint32
	Blocks, Bfree, Bavail, Files, Ffree, Fsid uint64
	Namelen                                   uint32
}

// A Msg is one message of any type and dialect, in the manner of Plan 9's Fcall: which fields mean something depends on Type (see layout.go), the
// others hold what they held. Byte slices of a decoded Msg point into the buffer it was decoded from and live as long as that. A
// Msg is meant to be used again for the next message. It is not safe for concurrent use.
type Msg struct {
	Type Type
	Tag  uint16

	Fid     uint32 // the fid the message is about; dfid of the .L messages on directories; olddirfid of Trenameat
	Newfid  uint32 // Twalk, Txattrwalk; fid of Tlink; dfid of Trename; newdirfid of Trenameat
	Afid    uint32 // Tauth, Tattach
	Oldtag  uint16 // Tflush
	Msize   uint32 // Tversion, Rversion
	Version []byte

	Uname, Aname []byte // Tauth, Tattach
	NUname       uint32 // the same in .u and .L; NoUid in 9P2000

	Nwname int // Twalk
	Wname  [MaxWalk][]byte
	Nwqid  int // Rwalk
	Wqid   [MaxWalk]Qid

	Mode         uint32 // Topen, Tcreate (one byte there); mode of Tlcreate, Tmkdir, Tmknod
	Perm         uint32 // Tcreate
	Flags        uint32 // Tlopen, Tlcreate, Tunlinkat, Tlock; Txattrcreate
	Name         []byte // Tcreate, Tlcreate, Tsymlink, Tmknod, Trename, Tlink, Tmkdir, Tunlinkat, Txattrwalk, Txattrcreate; oldname of Trenameat
	Newname      []byte // Trenameat; target of Tsymlink, Rreadlink; client_id of Tlock and Tgetlock
	Ext          []byte // extension of .u's Tcreate
	Gid          uint32 // Tlcreate, Tsymlink, Tmknod, Tmkdir
	Major, Minor uint32 // Tmknod

	Offset uint64 // Tread, Twrite, Treaddir
	Count  uint32 // Tread, Twrite, Rwrite, Treaddir; of Rread and Rreaddir it is len(Data)
	Data   []byte // Twrite, Rread, Rreaddir

	Qid    Qid    // of Rattach, Ropen, Rcreate, and so on; aqid of Rauth
	Iounit uint32 // Ropen, Rcreate, Rlopen, Rlcreate

	Ename []byte // Rerror
	Errno uint32 // Rlerror; .u's Rerror

	Stat    Stat    // Rstat, Twstat
	Attr    Attr    // Rgetattr
	SetAttr SetAttr // Tsetattr
	Statfs  Statfs  // Rstatfs
	Mask    uint64  // Tgetattr's request mask; size of Rxattrwalk and Txattrcreate

	LockType      uint8  // Tlock, Tgetlock, Rgetlock
	LockStatus    uint8  // Rlock
	Start, Length uint64 // Tlock, Tgetlock, Rgetlock
	ProcID        uint32 // Tlock, Tgetlock, Rgetlock
	Datasync      uint32 // Tfsync: absent in old clients, then 0
}
