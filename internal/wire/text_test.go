package wire

import "testing"

func TestText(t *testing.T) {
	for _, tc := range []struct {
		d    Dialect
		m    Msg
		max  int
		want string
	}{
		{P9, Msg{Type: Tversion, Tag: NoTag, Msize: 8192, Version: []byte("9P2000")}, -1, "Tversion tag ~0 msize 8192 version '9P2000'"},
		{P9, Msg{Type: Tattach, Afid: NoFid, Uname: []byte("o'neill")}, -1, `Tattach tag 0 fid 0 afid ~0 uname 'o\'neill' aname ''`},
		{P9u, Msg{Type: Tattach, NUname: NoUid}, -1, `Tattach tag 0 fid 0 afid 0 uname '' aname '' n_uname ~0`},
		{P9, Msg{Type: Twalk, Fid: 1, Newfid: 2, Nwname: 2, Wname: [MaxWalk][]byte{[]byte("ethfoo"), []byte("0")}}, -1,
			"Twalk tag 0 fid 1 newfid 2 wname ['ethfoo' '0']"},
		{P9, Msg{Type: Rwalk, Nwqid: 2, Wqid: [MaxWalk]Qid{{QTDIR, 0, 18}, {0, 7, 0}}}, -1, "Rwalk tag 0 wqid [0x12.0.d 0x0.7]"},
		{P9, Msg{Type: Rwalk}, -1, "Rwalk tag 0 wqid []"},
		{P9, Msg{Type: Topen, Mode: OREAD}, -1, "Topen tag 0 fid 0 mode 0"},
		{P9L, Msg{Type: Tlopen, Flags: 0x8042}, -1, "Tlopen tag 0 fid 0 flags 0x8042"},
		{P9L, Msg{Type: Tlcreate, Name: []byte("f"), Mode: 0o644}, -1, "Tlcreate tag 0 fid 0 name 'f' flags 0x0 mode 0644 gid 0"},
		{P9, Msg{Type: Rread, Data: []byte("up\n\x00\xff\\ж\u200b")}, -1, `Rread tag 0 data 'up\n\x00\xff\\ж\xe2\x80\x8b'`},
		{P9, Msg{Type: Rread, Data: []byte("hello, world")}, 5, `Rread tag 0 data 'hello'...12`},
		{P9, Msg{Type: Rread, Data: []byte("hello")}, 5, `Rread tag 0 data 'hello'`},
		{P9, Msg{Type: Rclunk}, 0, "Rclunk tag 0"},
		{P9u, Msg{Type: Rerror, Ename: []byte("no"), Errno: 2}, -1, "Rerror tag 0 ename 'no' errno 2"},
		{P9, Msg{Type: Twstat, Stat: NoStat()}, -1,
			"Twstat tag 0 fid 0 stat (type ~0 dev ~0 qid 0xffffffffffffffff.4294967295.daxmAtsl mode ~0 atime ~0 mtime ~0 length ~0 name '' uid '' gid '' muid '')"},
		{P9L, Msg{Type: Tsetattr, SetAttr: SetAttr{Valid: SetSize}}, -1,
			"Tsetattr tag 0 fid 0 valid 0x8 mode 0 uid 0 gid 0 size 0 atime 0 atime_ns 0 mtime 0 mtime_ns 0"},
		{P9, Msg{Type: Tlopen, Tag: 3}, -1, "Tlopen tag 3"}, // of no such dialect: what is known
		{P9, Msg{Type: 200, Tag: 3}, -1, "type 200 tag 3"},
	} {
		if got := string(tc.m.AppendText(nil, tc.d, tc.max)); got != tc.want {
			t.Errorf("\n got %s\nwant %s", got, tc.want)
		}
	}
	e := Dirent{Qid: Qid{QTDIR, 0, 5}, Offset: 2, Type: 4, Name: []byte("0")}
	if got, want := string(e.AppendText(nil, -1)), "qid 0x5.0.d offset 2 type 4 name '0'"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// TestVisitSeesEveryField holds the text form to the layout: what has a place on the wire has a name.
func TestVisitSeesEveryField(t *testing.T) {
	for _, d := range dialects {
		for i := range 256 {
			m := &Msg{Type: Type(i)}
			names := map[string]bool{}
			m.Visit(d, func(name string, p any) {
				if name == "" || names[name] {
					t.Errorf("%v %v: the name %q twice or empty", d, m.Type, name)
				}
				names[name] = true
			})
			composite := map[Field]bool{FAttr: true, FSetAttr: true, FStatfs: true}
			for _, f := range Fields(d, m.Type) {
				if !composite[f] && !names[f.String()] {
					t.Errorf("%v %v: field %q is not visited", d, m.Type, f)
				}
			}
		}
	}
}

func TestQidTypeLetters(t *testing.T) {
	for i := range 256 {
		q := Qid{Type: uint8(i)}
		letters := q.String()[len("0x0.0"):]
		if letters != "" {
			letters = letters[1:]
		}
		if back, ok := ParseQidType(letters); !ok || back != q.Type {
			t.Errorf("%#x: %q, back %#x %v", i, letters, back, ok)
		}
	}
	if _, ok := ParseQidType("dq"); ok {
		t.Error("q is a qid type")
	}
}
