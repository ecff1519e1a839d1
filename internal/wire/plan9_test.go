package wire

import (
	"bytes"
	"testing"

	"9fans.net/go/plan9"
)

// TestAgainstPlan9 has each message of 9P2000 made and read by plan9port's Go library as well, both ways.
func TestAgainstPlan9(t *testing.T) {
	n := 0
	for i := range 256 {
		typ := Type(i)
		if !P9.Has(typ) {
			continue
		}
		n++
		m := sample(P9, typ)
		ours, err := Append(nil, P9, m)
		if err != nil {
			t.Fatal(err)
		}
		want := plan9Fcall(t, m)
		theirs, err := want.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%v\n  ours %x\ntheirs %x", typ, ours, theirs)
			continue
		}
		f, err := plan9.UnmarshalFcall(ours)
		if err != nil {
			t.Errorf("%v: plan9 does not read it: %v", typ, err)
			continue
		}
		if f.String() != want.String() || f.Aqid != want.Aqid {
			t.Errorf("%v\ntheirs of ours %v\n          want %v", typ, f, want)
		}
		var back Msg
		if err := back.Decode(P9, theirs); err != nil {
			t.Errorf("%v: we do not read theirs: %v", typ, err)
		} else if back.Text(P9) != m.Text(P9) {
			t.Errorf("%v\nours of theirs %s\n          want %s", typ, back.Text(P9), m.Text(P9))
		}
	}
	if n != 27 {
		t.Errorf("compared %d messages, 9P2000 has 27", n)
	}
}

func plan9Fcall(t *testing.T, m *Msg) *plan9.Fcall {
	qid := func(q Qid) plan9.Qid { return plan9.Qid{Path: q.Path, Vers: q.Version, Type: q.Type} }
	f := &plan9.Fcall{
		Type: uint8(m.Type), Tag: m.Tag, Fid: m.Fid, Newfid: m.Newfid, Afid: m.Afid, Oldtag: m.Oldtag, Msize: m.Msize, Version: string(m.Version),
		Ename: string(m.Ename), Qid: qid(m.Qid), Iounit: m.Iounit, Uname: string(m.Uname), Aname: string(m.Aname),
		Perm: plan9.Perm(m.Perm), Name: string(m.Name), Mode: uint8(m.Mode), Offset: m.Offset, Count: m.Count, Data: m.Data,
	}
	if m.Type == Rauth {
		f.Qid, f.Aqid = plan9.Qid{}, f.Qid
	}
	for _, n := range m.Wname[:m.Nwname] {
		f.Wname = append(f.Wname, string(n))
	}
	for _, q := range m.Wqid[:m.Nwqid] {
		f.Wqid = append(f.Wqid, qid(q))
	}
	if m.Type == Rstat || m.Type == Twstat {
		s := &m.Stat
		d := &plan9.Dir{
			Type: s.DevType, Dev: s.Dev, Qid: qid(s.Qid), Mode: plan9.Perm(s.Mode), Atime: s.Atime, Mtime: s.Mtime, Length: s.Length,
			Name: string(s.Name), Uid: string(s.Uid), Gid: string(s.Gid), Muid: string(s.Muid),
		}
		var err error
		if f.Stat, err = d.Bytes(); err != nil {
			t.Fatal(err)
		}
		back, err := plan9.UnmarshalDir(f.Stat)
		if err != nil || *back != *d {
			t.Fatalf("plan9 does not read its own stat: %v", err)
		}
	}
	return f
}
