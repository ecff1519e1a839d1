package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

var dialects = []Dialect{P9, P9u, P9L}

// sample returns a message of type t with a different value in every field that the type has in d, and with none in the others.
func sample(d Dialect, t Type) *Msg {
	m := &Msg{Type: t, Tag: 0x1234}
	next := uint64(0x0102030405060708)
	num := func() uint64 {
		next = next*2862933555777941757 + 3037000493
		return next
	}
	qid := func() Qid { return Qid{Type: uint8(num() >> 40), Version: uint32(num()), Path: num()} }
	var set func(name string, p any)
	set = func(name string, p any) {
		switch p := p.(type) {
		case *uint8:
			*p = uint8(num() >> 32)
		case *uint16:
			*p = uint16(num() >> 32)
		case *uint32:
			*p = uint32(num() >> 16)
		case *uint64:
			*p = num()
		case *[]byte:
			*p = fmt.Appendf(nil, "%s %d\x00\xff'\n", name, num()%1000)
		case *Qid:
			*p = qid()
		case *Stat:
			p.Visit(d, set)
		case Names:
			*p.N = 3
			for i := range *p.N {
				p.List[i] = fmt.Appendf(nil, "name%d", i)
			}
		case Qids:
			*p.N = MaxWalk
			for i := range *p.N {
				p.List[i] = qid()
			}
		default:
			panic(fmt.Sprintf("%T", p))
		}
	}
	m.Visit(d, set)
	if t == Topen || t == Tcreate {
		m.Mode &= 0xff // one byte on the wire
	}
	return m
}

// samples calls f for a sample of each message of each dialect and its bytes.
func samples(t testing.TB, f func(d Dialect, m *Msg, b []byte)) {
	for _, d := range dialects {
		for i := range 256 {
			if !d.Has(Type(i)) {
				continue
			}
			m := sample(d, Type(i))
			b, err := Append(nil, d, m)
			if err != nil {
				t.Fatalf("%v %v: %v", d, m.Type, err)
			}
			f(d, m, b)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	n := 0
	samples(t, func(d Dialect, m *Msg, b []byte) {
		n++
		want := *m
		var got Msg
		if err := got.Decode(d, b); err != nil {
			t.Errorf("%v %s: %v", d, m.Text(d), err)
			return
		}
		// What is not on the wire, Decode sets to what its absence means.
		if len(m.Data) > 0 {
			want.Count = uint32(len(m.Data))
		}
		if d == P9 && (m.Type == Tattach || m.Type == Tauth) {
			want.NUname = NoUid
		}
		if d == P9 && (m.Type == Rstat || m.Type == Twstat) {
			want.Stat.NUid, want.Stat.NGid, want.Stat.NMuid = NoUid, NoUid, NoUid
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v %v\n got %s\nwant %s", d, m.Type, got.Text(d), m.Text(d))
		}

		// What stood in the Msg before must not show: the same bytes over another message's leavings.
		dirty := *sample(d, Rerror)
		for _, other := range []Type{Tattach, Tcreate, Rerror, Twstat, Tfsync, Rread, Twalk, Rwalk} {
			if d.Has(other) {
				ob, err := Append(nil, d, sample(d, other))
				if err != nil {
					t.Fatal(err)
				}
				if err := dirty.Decode(d, ob); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := dirty.Decode(d, b); err != nil {
			t.Errorf("%v %v into a used Msg: %v", d, m.Type, err)
		}
		if dirty.Text(d) != m.Text(d) {
			t.Errorf("%v %v into a used Msg:\n got %s\nwant %s", d, m.Type, dirty.Text(d), m.Text(d))
		}
	})
	// Pairs that all dialects have; those of the first two dialects and Rerror; those of .L and Rlerror.
	if want := 3*2*9 + 2*(2*4+1) + 2*19 + 1; n != want {
		t.Errorf("%d messages in the three dialects, want %d", n, want)
	}
}

// TestCut decodes every message cut at every length, with the size field telling the truth and lying.
func TestCut(t *testing.T) {
	samples(t, func(d Dialect, m *Msg, b []byte) {
		var got Msg
		for n := range len(b) {
			cut := bytes.Clone(b[:n])
			if err := got.Decode(d, cut); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v %v cut at %d of %d: %v", d, m.Type, n, len(b), err)
			}
			if n < HeaderSize {
				if got.Type != 0 || got.Tag != NoTag {
					t.Fatalf("%v %v cut at %d: type %v tag %d", d, m.Type, n, got.Type, got.Tag)
				}
				continue
			}
			patchSize(cut, 0)
			err := got.Decode(d, cut)
			if m.Type == Tfsync && n == len(b)-4 {
				if err != nil || got.Datasync != 0 {
					t.Fatalf("Tfsync without datasync: %d, %v", got.Datasync, err)
				}
				continue
			}
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v %v of %d bytes, complete at %d: %v", d, m.Type, n, len(b), err)
			}
			if got.Type != m.Type || got.Tag != m.Tag {
				t.Fatalf("%v %v cut at %d: type %v tag %d after the error", d, m.Type, n, got.Type, got.Tag)
			}
		}
		long := patchSize(append(bytes.Clone(b), 0), 0)
		if err := got.Decode(d, long); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%v %v with a byte too many: %v", d, m.Type, err)
		}
	})
}

func TestMinSize(t *testing.T) {
	for _, d := range dialects {
		for i := range 256 {
			typ := Type(i)
			if !d.Has(typ) {
				if MinSize(d, typ) != 0 || Fields(d, typ) != nil {
					t.Errorf("%v has no %v, yet a size or fields", d, typ)
				}
				continue
			}
			b, err := Append(nil, d, &Msg{Type: typ})
			if err != nil {
				t.Fatal(err)
			}
			want := len(b)
			if typ == Tfsync {
				want -= 4
			}
			if got := MinSize(d, typ); got != want {
				t.Errorf("MinSize(%v, %v) = %d, the empty message has %d", d, typ, got, want)
			}
		}
	}
}

func TestUnknownType(t *testing.T) {
	for _, d := range dialects {
		for i := range 256 {
			typ := Type(i)
			var m Msg
			err := m.Decode(d, AppendHeader(nil, typ, 7))
			if errors.Is(err, ErrUnknownType) == d.Has(typ) {
				t.Errorf("%v type %d: %v", d, i, err)
			}
			if m.Type != typ || m.Tag != 7 {
				t.Errorf("%v type %d: decoded as type %d tag %d", d, i, m.Type, m.Tag)
			}
			b, err := Append([]byte("x"), d, &Msg{Type: typ})
			if errors.Is(err, ErrUnknownType) == d.Has(typ) || err != nil && string(b) != "x" {
				t.Errorf("Append %v type %d: %q, %v", d, i, b, err)
			}
		}
	}
	for _, typ := range []Type{Tlerror, Terror, 0, 255} {
		for _, d := range dialects {
			if d.Has(typ) {
				t.Errorf("%v has %v", d, typ)
			}
		}
	}
	if P9L.Has(Topen) || P9L.Has(Rerror) || P9L.Has(Twstat) || P9u.Has(Tlopen) || P9.Has(Rlerror) {
		t.Error("a message of one dialect is in another")
	}
}

func TestMalformed(t *testing.T) {
	walk := AppendHeader(nil, Twalk, 1)
	walk = le.AppendUint32(walk, 1)
	walk = le.AppendUint32(walk, 2)
	walk = le.AppendUint16(walk, 17)
	for range 17 {
		walk = append(walk, 1, 0, 'a')
	}
	patchSize(walk, 0)

	rwalk := AppendHeader(nil, Rwalk, 1)
	rwalk = le.AppendUint16(rwalk, 17)
	rwalk = patchSize(append(rwalk, make([]byte, 17*13)...), 0)

	wstat, err := Append(nil, P9, sample(P9, Twstat))
	if err != nil {
		t.Fatal(err)
	}
	patch := func(b []byte, off int, delta int) []byte {
		b = bytes.Clone(b)
		le.PutUint16(b[off:], uint16(int(le.Uint16(b[off:]))+delta))
		return b
	}
	count := func(delta int) []byte {
		b := AppendHeader(nil, Twrite, 1)
		b = le.AppendUint32(b, 1)
		b = le.AppendUint64(b, 0)
		b = le.AppendUint32(b, uint32(5+delta))
		return patchSize(append(b, "hello"...), 0)
	}
	huge := count(0)
	le.PutUint32(huge[HeaderSize+12:], math.MaxUint32)

	for _, tc := range []struct {
		name, want string
		b          []byte
	}{
		{"17 names", "more than 16 names", walk},
		{"17 qids", "more than 16 names", rwalk},
		{"outer stat size too large", "stat disagree", patch(wstat, HeaderSize+4, 1)},
		{"outer stat size too small", "stat disagree", patch(wstat, HeaderSize+4, -1)},
		{"inner stat size too large", "inside a field", patch(wstat, HeaderSize+6, 1)},
		{"inner stat size too small", "stat disagree", patch(wstat, HeaderSize+6, -1)},
		{"count beyond the data", "inside a field", count(1)},
		{"data beyond the count", "after the last field", count(-1)},
		{"count of 4 GiB", "inside a field", huge},
		{"size larger than the message", "size differs", append([]byte{8}, AppendRclunk(nil, 1)[1:]...)},
		{"size of four zeros", "size differs", make([]byte, 7)},
		{"nothing", "shorter than its header", nil},
	} {
		var m Msg
		err := m.Decode(P9, tc.b)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	if err := new(Msg).Decode(P9, count(0)); err != nil {
		t.Errorf("the message that the others spoil: %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	long := make([]byte, 1<<16)
	fits := long[:1<<16-1]
	many := &Msg{Type: Twalk, Nwname: 17}
	manyQids := &Msg{Type: Rwalk, Nwqid: 17}
	for _, tc := range []struct {
		m    *Msg
		d    Dialect
		want error
	}{
		{&Msg{Type: Tversion, Version: long}, P9, ErrStringTooLong},
		{&Msg{Type: Tversion, Version: fits}, P9, nil},
		{&Msg{Type: Tattach, Uname: long}, P9, ErrStringTooLong},
		{&Msg{Type: Tattach, Aname: long}, P9u, ErrStringTooLong},
		{&Msg{Type: Tcreate, Ext: long}, P9u, ErrStringTooLong},
		{&Msg{Type: Tcreate, Ext: long}, P9, nil},
		{&Msg{Type: Trenameat, Newname: long}, P9L, ErrStringTooLong},
		{&Msg{Type: Rerror, Ename: long}, P9, ErrStringTooLong},
		{&Msg{Type: Rstat, Stat: Stat{Name: fits}}, P9, ErrStringTooLong},
		{&Msg{Type: Rstat, Stat: Stat{Name: fits[:40000], Uid: fits[:40000]}}, P9, ErrStringTooLong},
		{&Msg{Type: Twalk, Nwname: 2, Wname: [MaxWalk][]byte{nil, long}}, P9, ErrStringTooLong},
		{many, P9L, ErrTooManyNames},
		{manyQids, P9, ErrTooManyNames},
		{&Msg{Type: Topen}, P9L, ErrUnknownType},
	} {
		b, err := Append([]byte("before"), tc.d, tc.m)
		if !errors.Is(err, tc.want) {
			t.Errorf("%v %v: %v, want %v", tc.d, tc.m.Type, err, tc.want)
		}
		if err != nil && string(b) != "before" {
			t.Errorf("%v %v: refused, yet %d bytes", tc.d, tc.m.Type, len(b))
		}
	}
	if _, err := AppendStat(nil, P9, &Stat{Name: fits}); !errors.Is(err, ErrStringTooLong) {
		t.Errorf("AppendStat of a long name: %v", err)
	}
}

// TestReplies compares each function of reply.go with Append.
func TestReplies(t *testing.T) {
	q := Qid{QTDIR, 3, 0x1122334455667788}
	a := sample(P9L, Rgetattr).Attr
	prefix := []byte("what was there before")
	b := func() []byte { return bytes.Clone(prefix) }
	begin := BeginRread(b(), 9)
	begin = append(begin, "hello"...)
	EndRread(begin, len(prefix))
	empty := BeginRread(b(), 9)
	EndRread(empty, len(prefix))
	dir := BeginRreaddir(b(), 9)
	dir = AppendDirent(dir, q, 17, 4, "ethfoo")
	EndRread(dir, len(prefix))
	dirent := dir[len(prefix)+DataHeader:]
	qids := [MaxWalk]Qid{q, {}, q}

	for i, tc := range []struct {
		d   Dialect
		got []byte
		m   Msg
	}{
		{P9, AppendRversion(b(), NoTag, 8192, "9P2000.L"), Msg{Type: Rversion, Tag: NoTag, Msize: 8192, Version: []byte("9P2000.L")}},
		{P9L, AppendRlerror(b(), 9, 2), Msg{Type: Rlerror, Tag: 9, Errno: 2}},
		{P9L, AppendRerror(b(), P9L, 9, "no", 2), Msg{Type: Rlerror, Tag: 9, Errno: 2}},
		{P9u, AppendRerror(b(), P9u, 9, "no", 2), Msg{Type: Rerror, Tag: 9, Errno: 2, Ename: []byte("no")}},
		{P9, AppendRerror(b(), P9, 9, "no", 2), Msg{Type: Rerror, Tag: 9, Ename: []byte("no")}},
		{P9, AppendRattach(b(), 9, q), Msg{Type: Rattach, Tag: 9, Qid: q}},
		{P9L, AppendQidReply(b(), Rmkdir, 9, q), Msg{Type: Rmkdir, Tag: 9, Qid: q}},
		{P9, AppendRflush(b(), 9), Msg{Type: Rflush, Tag: 9}},
		{P9, AppendRclunk(b(), 9), Msg{Type: Rclunk, Tag: 9}},
		{P9L, AppendHeader(b(), Rsetattr, 9), Msg{Type: Rsetattr, Tag: 9}},
		{P9, AppendRwalk(b(), 9, qids[:3]), Msg{Type: Rwalk, Tag: 9, Nwqid: 3, Wqid: qids}},
		{P9, AppendRwalk(b(), 9, nil), Msg{Type: Rwalk, Tag: 9}},
		{P9, AppendRopen(b(), Ropen, 9, q, 77), Msg{Type: Ropen, Tag: 9, Qid: q, Iounit: 77}},
		{P9L, AppendRopen(b(), Rlcreate, 9, q, 77), Msg{Type: Rlcreate, Tag: 9, Qid: q, Iounit: 77}},
		{P9, AppendRwrite(b(), 9, 5), Msg{Type: Rwrite, Tag: 9, Count: 5}},
		{P9L, AppendRgetattr(b(), 9, &a), Msg{Type: Rgetattr, Tag: 9, Attr: a}},
		{P9, begin, Msg{Type: Rread, Tag: 9, Data: []byte("hello")}},
		{P9, empty, Msg{Type: Rread, Tag: 9}},
		{P9L, dir, Msg{Type: Rreaddir, Tag: 9, Data: dirent}},
	} {
		want, err := Append(b(), tc.d, &tc.m)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(tc.got, want) {
			t.Errorf("case %d, %v:\n got %x\nwant %x", i, tc.m.Type, tc.got, want)
		}
	}
	if n := DirentSize("ethfoo"); n != len(dirent) {
		t.Errorf("DirentSize = %d, AppendDirent made %d bytes", n, len(dirent))
	}
}

func TestRerrorFitsTheSmallestMsize(t *testing.T) {
	for _, d := range []Dialect{P9, P9u} {
		for _, text := range []string{strings.Repeat("x", 70000), strings.Repeat("Ж", 400), "x" + strings.Repeat("Ж", 400)} {
			b := AppendRerror(nil, d, 1, text, 5)
			if len(b) > MinMsize {
				t.Errorf("%v: Rerror of %d bytes is %d bytes", d, len(text), len(b))
			}
			var m Msg
			if err := m.Decode(d, b); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(text, string(m.Ename)) || len(m.Ename) < MaxEname-1 || strings.ToValidUTF8(string(m.Ename), "?") != string(m.Ename) {
				t.Errorf("%v: cut to %q", d, m.Ename)
			}
		}
	}
}

func TestDirectoryContents(t *testing.T) {
	for _, d := range []Dialect{P9, P9u} {
		var b []byte
		var err error
		want := []Stat{sample(d, Rstat).Stat, NoStat(), sample(d, Twstat).Stat}
		for i := range want {
			n := len(b)
			if b, err = AppendStat(b, d, &want[i]); err != nil {
				t.Fatal(err)
			}
			if StatSize(d, &want[i]) != len(b)-n {
				t.Errorf("%v: StatSize %d, appended %d", d, StatSize(d, &want[i]), len(b)-n)
			}
		}
		for i := range want {
			var s Stat
			if b, err = DecodeStat(d, b, &s); err != nil {
				t.Fatal(err)
			}
			if got, want := s.AppendText(nil, d, -1), want[i].AppendText(nil, d, -1); !bytes.Equal(got, want) {
				t.Errorf("%v:\n got %s\nwant %s", d, got, want)
			}
		}
		if len(b) != 0 {
			t.Errorf("%d bytes left", len(b))
		}
	}

	b := AppendDirent(nil, Qid{1, 2, 3}, 4, 5, "name")
	b = AppendDirent(b, Qid{6, 7, 8}, 9, 10, "")
	var e Dirent
	rest, err := DecodeDirent(b, &e)
	if err != nil || e.Qid != (Qid{1, 2, 3}) || e.Offset != 4 || e.Type != 5 || string(e.Name) != "name" {
		t.Errorf("%+v, %v", e, err)
	}
	rest, err = DecodeDirent(rest, &e)
	if err != nil || e.Qid != (Qid{6, 7, 8}) || len(e.Name) != 0 || len(rest) != 0 {
		t.Errorf("%+v, %d bytes left, %v", e, len(rest), err)
	}
	if _, err := DecodeDirent(b[:len(b)-29], &e); !errors.Is(err, ErrMalformed) {
		t.Errorf("a cut entry: %v", err)
	}
}

// TestFieldsStayApart appends to one field of a decoded message and looks whether the next has changed.
func TestFieldsStayApart(t *testing.T) {
	b, err := Append(nil, P9L, &Msg{Type: Trenameat, Name: []byte("old"), Newname: []byte("new")})
	if err != nil {
		t.Fatal(err)
	}
	var m Msg
	if err := m.Decode(P9L, b); err != nil {
		t.Fatal(err)
	}
	_ = append(m.Name, "0123456789abcdef"...)
	if string(m.Newname) != "new" {
		t.Errorf("newname became %q", m.Newname)
	}
}

func TestPeek(t *testing.T) {
	b := []byte{0x13, 0, 0, 0x80, 100}
	for n := range b {
		if size, ok := Peek(b[:n]); ok != (n >= 4) || ok && size != 0x80000013 {
			t.Errorf("Peek of %d bytes: %#x %v", n, size, ok)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for _, tc := range []struct {
		s    string
		want string
	}{
		{"9P2000", "9P2000"}, {"9P2000.u", "9P2000.u"}, {"9P2000.L", "9P2000.L"},
		{"9P2000.L.Google.7", "9P2000.L"}, {"9P2000.u.x", "9P2000.u"}, {"9P2000.x", "9P2000"}, {"9P2000.", "9P2000"}, {"9P2000.l", "9P2000"},
		{"9P1999", ""}, {"9P", ""}, {"", ""}, {"unknown", ""}, {"9p2000.L", ""}, {" 9P2000", ""},
	} {
		d, ok := ParseVersion(tc.s)
		if got := d.String(); ok != (tc.want != "") || ok && got != tc.want {
			t.Errorf("ParseVersion(%q) = %v, %v; want %q", tc.s, d, ok, tc.want)
		}
	}
	if got := Dialect(9).String(); got != "unknown" {
		t.Errorf("Dialect(9) = %q", got)
	}
}

func TestTypeNames(t *testing.T) {
	for i := range 256 {
		typ := Type(i)
		name := typ.String()
		back, ok := ParseType(name)
		if ok != !strings.HasPrefix(name, "type ") || ok && back != typ {
			t.Errorf("%d: %q, back %d %v", i, name, back, ok)
		}
		if ok && (name[0] == 'T') != typ.IsT() {
			t.Errorf("%s: IsT %v", name, typ.IsT())
		}
		if ok && name[1:] != typ.Reply().String()[1:] {
			t.Errorf("%s is answered by %s", name, typ.Reply())
		}
	}
}
