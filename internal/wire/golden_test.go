package wire

import (
	"encoding/hex"
	"strings"
	"testing"
)

// golden has messages byte for byte, written down from the protocols' documents and not made by this package: the round
// trips would not notice two fields changed about. The values are chosen so that each byte says where it belongs.
var golden = []struct {
	d   Dialect
	hex string
	m   Msg
}{
	// 9P2000: intro(5)
	{P9, "13000000 64 ffff 00200000 0600 395032303030",
		Msg{Type: Tversion, Tag: NoTag, Msize: 8192, Version: []byte("9P2000")}},
	{P9, "15000000 66 0100 ffffffff 0200 6767 0400 2f646576", Msg{Type: Tauth, Tag: 1, Afid: NoFid, Uname: []byte("gg"), Aname: []byte("/dev")}},
	{P9, "17000000 68 0100 02000000 ffffffff 0200 6767 0200 2f61",
		Msg{Type: Tattach, Tag: 1, Fid: 2, Afid: NoFid, Uname: []byte("gg"), Aname: []byte("/a")}},
	{P9, "0c000000 6b 0100 0300 6e6f6f", Msg{Type: Rerror, Tag: 1, Ename: []byte("noo")}},
	{P9, "1a000000 6e 0100 02000000 03000000 0300 0100 61 0200 6262 0000",
		Msg{Type: Twalk, Tag: 1, Fid: 2, Newfid: 3, Nwname: 3, Wname: [MaxWalk][]byte{[]byte("a"), []byte("bb"), nil}}},
	{P9, "0c000000 70 0100 02000000 51", Msg{Type: Topen, Tag: 1, Fid: 2, Mode: OWRITE | OTRUNC | ORCLOSE}},
	{P9, "18000000 71 0100 80 01020304 0102030405060708 00200000",
		Msg{Type: Ropen, Tag: 1, Qid: Qid{QTDIR, 0x04030201, 0x0807060504030201}, Iounit: 8192}},
	{P9, "13000000 72 0100 02000000 0100 66 ed010080 00", Msg{Type: Tcreate, Tag: 1, Fid: 2, Name: []byte("f"), Perm: DMDIR | 0o755}},
	{P9, "17000000 74 0100 02000000 0102030405060708 10000000", Msg{Type: Tread, Tag: 1, Fid: 2, Offset: 0x0807060504030201, Count: 16}},
	{P9, "45000000 7d 0100 3c00 3a00 0102 03040506 80 00000000 0900000000000000 ed010080 01000000 02000000 0300000000000000" +
		"0100 6e 0200 7575 0300 676767 0500 6d6d6d6d6d",
		Msg{Type: Rstat, Tag: 1, Stat: Stat{DevType: 0x0201, Dev: 0x06050403, Qid: Qid{QTDIR, 0, 9}, Mode: DMDIR | 0o755, Atime: 1, Mtime: 2, Length: 3,
			Name: []byte("n"), Uid: []byte("uu"), Gid: []byte("ggg"), Muid: []byte("mmmmm"), NUid: NoUid, NGid: NoUid, NMuid: NoUid}}},

	// .u: rfc9p2000.u
	{P9u, "17000000 66 0100 ffffffff 0200 6767 0200 2f64 e8030000",
		Msg{Type: Tauth, Tag: 1, Afid: NoFid, Uname: []byte("gg"), Aname: []byte("/d"), NUname: 1000}},
	{P9u, "1b000000 68 0100 02000000 ffffffff 0200 6767 0200 2f61 ffffffff",
		Msg{Type: Tattach, Tag: 1, Fid: 2, Afid: NoFid, Uname: []byte("gg"), Aname: []byte("/a"), NUname: NoUid}},
	{P9u, "0f000000 6b 0100 0200 6e6f 02000000", Msg{Type: Rerror, Tag: 1, Ename: []byte("no"), Errno: 2}},
	{P9u, "18000000 72 0100 02000000 0100 66 ff010002 00 0300 2f7475",
		Msg{Type: Tcreate, Tag: 1, Fid: 2, Name: []byte("f"), Perm: DMSYMLINK | 0o777, Ext: []byte("/tu")}},
	{P9u, "4d000000 7e 0100 02000000 4000 3e00 0100 02000000 02 00000000 0900000000000000 ff010002 01000000 02000000 0300000000000000" +
		"0000 0000 0000 0000 0100 65 04000000 05000000 06000000",
		Msg{Type: Twstat, Tag: 1, Fid: 2, Stat: Stat{DevType: 1, Dev: 2, Qid: Qid{QTSYMLINK, 0, 9}, Mode: DMSYMLINK | 0o777, Atime: 1, Mtime: 2, Length: 3,
			Extension: []byte("e"), NUid: 4, NGid: 5, NMuid: 6}}},

	// .L: diod's protocol.md
	{P9L, "0b000000 07 0100 05000000", Msg{Type: Rlerror, Tag: 1, Errno: 5}},
	{P9L, "43000000 09 0100 01000000 02000000 0300000000000000 0400000000000000 0500000000000000 0600000000000000 0700000000000000" +
		"0800000000000000 09000000",
		Msg{Type: Rstatfs, Tag: 1, Statfs: Statfs{1, 2, 3, 4, 5, 6, 7, 8, 9}}},
	{P9L, "0f000000 0c 0100 02000000 42000000", Msg{Type: Tlopen, Tag: 1, Fid: 2, Flags: 0x42}},
	{P9L, "1a000000 0e 0100 02000000 0100 66 42000000 a4010000 e8030000",
		Msg{Type: Tlcreate, Tag: 1, Fid: 2, Name: []byte("f"), Flags: 0x42, Mode: 0o644, Gid: 1000}},
	{P9L, "16000000 10 0100 02000000 0100 66 0200 7461 e8030000",
		Msg{Type: Tsymlink, Tag: 1, Fid: 2, Name: []byte("f"), Newname: []byte("ta"), Gid: 1000}},
	{P9L, "1e000000 12 0100 02000000 0100 66 a4210000 05000000 06000000 07000000",
		Msg{Type: Tmknod, Tag: 1, Fid: 2, Name: []byte("f"), Mode: 0o20644, Major: 5, Minor: 6, Gid: 7}},
	{P9L, "12000000 14 0100 02000000 03000000 0100 66", Msg{Type: Trename, Tag: 1, Fid: 2, Newfid: 3, Name: []byte("f")}},
	{P9L, "0b000000 17 0100 0200 7461", Msg{Type: Rreadlink, Tag: 1, Newname: []byte("ta")}},
	{P9L, "13000000 18 0100 02000000 ff07000000000000", Msg{Type: Tgetattr, Tag: 1, Fid: 2, Mask: GetBasic}},
	{P9L, "a0000000 19 0100 ff07000000000000 80 00000000 0900000000000000 ed410000 01000000 02000000" +
		"0300000000000000 0400000000000000 0500000000000000 0600000000000000 0700000000000000" +
		"0800000000000000 0900000000000000 0a00000000000000 0b00000000000000 0c00000000000000 0d00000000000000 0e00000000000000 0f00000000000000" +
		"1000000000000000 1100000000000000",
		Msg{Type: Rgetattr, Tag: 1, Attr: Attr{GetBasic, Qid{QTDIR, 0, 9}, 0o40755, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}}},
	{P9L, "43000000 1a 0100 02000000 08000000 01000000 02000000 03000000 0400000000000000" +
		"0500000000000000 0600000000000000 0700000000000000 0800000000000000",
		Msg{Type: Tsetattr, Tag: 1, Fid: 2, SetAttr: SetAttr{SetSize, 1, 2, 3, 4, 5, 6, 7, 8}}},
	{P9L, "12000000 1e 0100 02000000 03000000 0100 78", Msg{Type: Txattrwalk, Tag: 1, Fid: 2, Newfid: 3, Name: []byte("x")}},
	{P9L, "0f000000 1f 0100 0300000000000000", Msg{Type: Rxattrwalk, Tag: 1, Mask: 3}},
	{P9L, "1a000000 20 0100 02000000 0100 78 0300000000000000 04000000",
		Msg{Type: Txattrcreate, Tag: 1, Fid: 2, Name: []byte("x"), Mask: 3, Flags: 4}},
	{P9L, "17000000 28 0100 02000000 0300000000000000 04000000", Msg{Type: Treaddir, Tag: 1, Fid: 2, Offset: 3, Count: 4}},
	{P9L, "0f000000 32 0100 02000000 01000000", Msg{Type: Tfsync, Tag: 1, Fid: 2, Datasync: 1}},
	{P9L, "27000000 34 0100 02000000 01 03000000 0400000000000000 0500000000000000 06000000 0100 68",
		Msg{Type: Tlock, Tag: 1, Fid: 2, LockType: LockWrite, Flags: 3, Start: 4, Length: 5, ProcID: 6, Newname: []byte("h")}},
	{P9L, "08000000 35 0100 01", Msg{Type: Rlock, Tag: 1, LockStatus: LockBlocked}},
	{P9L, "23000000 36 0100 02000000 01 0400000000000000 0500000000000000 06000000 0100 68",
		Msg{Type: Tgetlock, Tag: 1, Fid: 2, LockType: LockWrite, Start: 4, Length: 5, ProcID: 6, Newname: []byte("h")}},
	{P9L, "1f000000 37 0100 02 0400000000000000 0500000000000000 06000000 0100 68",
		Msg{Type: Rgetlock, Tag: 1, LockType: LockUnlock, Start: 4, Length: 5, ProcID: 6, Newname: []byte("h")}},
	{P9L, "12000000 46 0100 02000000 03000000 0100 66", Msg{Type: Tlink, Tag: 1, Fid: 2, Newfid: 3, Name: []byte("f")}},
	{P9L, "16000000 48 0100 02000000 0100 66 ed010000 07000000", Msg{Type: Tmkdir, Tag: 1, Fid: 2, Name: []byte("f"), Mode: 0o755, Gid: 7}},
	{P9L, "16000000 4a 0100 02000000 0100 6f 03000000 0200 6e6e",
		Msg{Type: Trenameat, Tag: 1, Fid: 2, Name: []byte("o"), Newfid: 3, Newname: []byte("nn")}},
	{P9L, "12000000 4c 0100 02000000 0100 66 00020000", Msg{Type: Tunlinkat, Tag: 1, Fid: 2, Name: []byte("f"), Flags: AtRemoveDir}},
}

func TestGolden(t *testing.T) {
	for _, tc := range golden {
		want, err := hex.DecodeString(strings.ReplaceAll(tc.hex, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if len(want) != int(want[0]) {
			t.Errorf("%v %v: the table says %d bytes and has %d", tc.d, tc.m.Type, want[0], len(want))
			continue
		}
		got, err := Append(nil, tc.d, &tc.m)
		if err != nil || string(got) != string(want) {
			t.Errorf("%v %v: %v\n got %x\nwant %x", tc.d, tc.m.Type, err, got, want)
		}
		var m Msg
		if err := m.Decode(tc.d, want); err != nil {
			t.Errorf("%v %v: %v", tc.d, tc.m.Type, err)
		} else if got, want := m.Text(tc.d), tc.m.Text(tc.d); got != want {
			t.Errorf("%v\n got %s\nwant %s", tc.d, got, want)
		}
	}
}
