package wire

// A Field is one field of a message, named as the manual pages name it. It stands for the fields of [Msg] that hold it
// and for its form on the wire.
type Field uint8

const (
	FNone       Field = iota
	FFid              // [4]
	FNewfid           // [4]
	FAfid             // [4]
	FOldtag           // [2]
	FMsize            // [4]
	FVersion          // [s]
	FUname            // [s]
	FAname            // [s]
	FNUname           // [4], not in 9P2000
	FWname            // [2] and as many [s]
	FWqid             // [2] and as many [13]
	FMode             // [4]
	FMode8            // [1]
	FPerm             // [4]
	FFlags            // [4]
	FName             // [s]
	FNewname          // [s]
	FExt              // [s], in .u only
	FGid              // [4]
	FMajor            // [4]
	FMinor            // [4]
	FOffset           // [8]
	FCount            // [4]
	FData             // count[4] and as many bytes
	FQid              // [13]
	FIounit           // [4]
	FEname            // [s]
	FErrno            // [4]
	FErrnoU           // [4], in .u only
	FStat             // [2], the size of what follows, which is a stat with its own size first
	FAttr             // [153]
	FSetAttr          // [56]
	FStatfs           // [60]
	FMask             // [8]
	FLockType         // [1]
	FLockStatus       // [1]
	FStart            // [8]
	FLength           // [8]
	FProcID           // [4]
	FDatasync         // [4], absent in old clients
)

// fieldInfo says of each field what it is called in the text form and how many bytes it has at least.
var fieldInfo = [...]struct {
	name string
	min  int
}{
	FFid: {"fid", 4}, FNewfid: {"newfid", 4}, FAfid: {"afid", 4}, FOldtag: {"oldtag", 2},
	FMsize: {"msize", 4}, FVersion: {"version", 2},
	FUname: {"uname", 2}, FAname: {"aname", 2}, FNUname: {"n_uname", 4},
	FWname: {"wname", 2}, FWqid: {"wqid", 2},
	FMode: {"mode", 4}, FMode8: {"mode", 1}, FPerm: {"perm", 4}, FFlags: {"flags", 4},
	FName: {"name", 2}, FNewname: {"newname", 2}, FExt: {"extension", 2}, FGid: {"gid", 4}, FMajor: {"major", 4}, FMinor: {"minor", 4},
	FOffset: {"offset", 8}, FCount: {"count", 4}, FData: {"data", 4},
	FQid: {"qid", 13}, FIounit: {"iounit", 4}, FEname: {"ename", 2}, FErrno: {"errno", 4}, FErrnoU: {"errno", 4},
	FStat: {"stat", 2 + 2 + statFixed}, FAttr: {"attr", attrSize}, FSetAttr: {"setattr", setAttrSize}, FStatfs: {"statfs", statfsSize},
	FMask: {"mask", 8}, FLockType: {"type", 1}, FLockStatus: {"status", 1}, FStart: {"start", 8}, FLength: {"length", 8}, FProcID: {"proc_id", 4},
	FDatasync: {"datasync", 0},
}

// String returns the field's name in the text form of a message.
func (f Field) String() string { return fieldInfo[f].name }

// in reports whether f is on the wire in dialect d.
func (f Field) in(d Dialect) bool {
	switch f {
	case FNUname:
		return d != P9
	case FExt, FErrnoU:
		return d == P9u
	}
	return true
}

// Sets of dialects, as bits.
const (
	inP9  = 1 << P9
	inU   = 1 << P9u
	inL   = 1 << P9L
	inOld = inP9 | inU
	inAll = inP9 | inU | inL
)

type layout struct {
	dialects uint8
	fields   []Field
}

// layouts is the protocol: which messages there are in which dialect, and the fields of each in their order on the wire, after
// size, type and tag. A field that a dialect lacks (Field.in) is passed over. Indexed by Type; an unused number has no dialects.
var layouts = [256]layout{
	Tversion: {inAll, []Field{FMsize, FVersion}},
	Rversion: {inAll, []Field{FMsize, FVersion}},
	Tauth:    {inAll, []Field{FAfid, FUname, FAname, FNUname}},
	Rauth:    {inAll, []Field{FQid}},
	Tattach:  {inAll, []Field{FFid, FAfid, FUname, FAname, FNUname}},
	Rattach:  {inAll, []Field{FQid}},
	Tflush:   {inAll, []Field{FOldtag}},
	Rflush:   {inAll, nil},
	Twalk:    {inAll, []Field{FFid, FNewfid, FWname}},
	Rwalk:    {inAll, []Field{FWqid}},
	Tread:    {inAll, []Field{FFid, FOffset, FCount}},
	Rread:    {inAll, []Field{FData}},
	Twrite:   {inAll, []Field{FFid, FOffset, FData}},
	Rwrite:   {inAll, []Field{FCount}},
	Tclunk:   {inAll, []Field{FFid}},
	Rclunk:   {inAll, nil},
	Tremove:  {inAll, []Field{FFid}},
	Rremove:  {inAll, nil},

	Rerror:  {inOld, []Field{FEname, FErrnoU}},
	Topen:   {inOld, []Field{FFid, FMode8}},
	Ropen:   {inOld, []Field{FQid, FIounit}},
	Tcreate: {inOld, []Field{FFid, FName, FPerm, FMode8, FExt}},
	Rcreate: {inOld, []Field{FQid, FIounit}},
	Tstat:   {inOld, []Field{FFid}},
	Rstat:   {inOld, []Field{FStat}},
	Twstat:  {inOld, []Field{FFid, FStat}},
	Rwstat:  {inOld, nil},

	Rlerror:      {inL, []Field{FErrno}},
	Tstatfs:      {inL, []Field{FFid}},
	Rstatfs:      {inL, []Field{FStatfs}},
	Tlopen:       {inL, []Field{FFid, FFlags}},
	Rlopen:       {inL, []Field{FQid, FIounit}},
	Tlcreate:     {inL, []Field{FFid, FName, FFlags, FMode, FGid}},
	Rlcreate:     {inL, []Field{FQid, FIounit}},
	Tsymlink:     {inL, []Field{FFid, FName, FNewname, FGid}},
	Rsymlink:     {inL, []Field{FQid}},
	Tmknod:       {inL, []Field{FFid, FName, FMode, FMajor, FMinor, FGid}},
	Rmknod:       {inL, []Field{FQid}},
	Trename:      {inL, []Field{FFid, FNewfid, FName}},
	Rrename:      {inL, nil},
	Treadlink:    {inL, []Field{FFid}},
	Rreadlink:    {inL, []Field{FNewname}},
	Tgetattr:     {inL, []Field{FFid, FMask}},
	Rgetattr:     {inL, []Field{FAttr}},
	Tsetattr:     {inL, []Field{FFid, FSetAttr}},
	Rsetattr:     {inL, nil},
	Txattrwalk:   {inL, []Field{FFid, FNewfid, FName}},
	Rxattrwalk:   {inL, []Field{FMask}},
	Txattrcreate: {inL, []Field{FFid, FName, FMask, FFlags}},
	Rxattrcreate: {inL, nil},
	Treaddir:     {inL, []Field{FFid, FOffset, FCount}},
	Rreaddir:     {inL, []Field{FData}},
	Tfsync:       {inL, []Field{FFid, FDatasync}},
	Rfsync:       {inL, nil},
	Tlock:        {inL, []Field{FFid, FLockType, FFlags, FStart, FLength, FProcID, FNewname}},
	Rlock:        {inL, []Field{FLockStatus}},
	Tgetlock:     {inL, []Field{FFid, FLockType, FStart, FLength, FProcID, FNewname}},
	Rgetlock:     {inL, []Field{FLockType, FStart, FLength, FProcID, FNewname}},
	Tlink:        {inL, []Field{FFid, FNewfid, FName}},
	Rlink:        {inL, nil},
	Tmkdir:       {inL, []Field{FFid, FName, FMode, FGid}},
	Rmkdir:       {inL, []Field{FQid}},
	Trenameat:    {inL, []Field{FFid, FName, FNewfid, FNewname}},
	Rrenameat:    {inL, nil},
	Tunlinkat:    {inL, []Field{FFid, FName, FFlags}},
	Runlinkat:    {inL, nil},
}

// Has reports whether dialect d has messages of type t.
func (d Dialect) Has(t Type) bool { return layouts[t].dialects&(1<<d) != 0 }

// Fields returns the fields of messages of type t in dialect d, in their order on the wire after size, type and tag; nil when
// there are none, or no such message.
func Fields(d Dialect, t Type) []Field {
	if !d.Has(t) {
		return nil
	}
	var fs []Field
	for _, f := range layouts[t].fields {
		if f.in(d) {
			fs = append(fs, f)
		}
	}
	return fs
}

// MinSize is how many bytes a message of type t in dialect d has at least, its header included; 0 when d has no such message.
func MinSize(d Dialect, t Type) int {
	if !d.Has(t) {
		return 0
	}
	n := HeaderSize
	for _, f := range layouts[t].fields {
		if f.in(d) {
			n += fieldInfo[f].min
			if f == FStat && d == P9u {
				n += statFixedU - statFixed
			}
		}
	}
	return n
}
