package wire

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writePcap writes one packet a message, of a TCP connection between a client and port 564, which is 9P's.
func writePcap(t *testing.T, path string, msgs [][]byte) {
	var f bytes.Buffer
	// The header of the file: magic, version 2.4, zone, accuracy, the longest packet, and link type 101, which is bare IP.
	f.Write(le.AppendUint32(nil, 0xa1b2c3d4))
	f.Write([]byte{2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0})
	var seq [2]uint32
	for i, msg := range msgs {
		up := 0
		if !Type(msg[4]).IsT() {
			up = 1
		}
		n := 40 + len(msg)
		p := []byte{
			0x45, 0, byte(n >> 8), byte(n), 0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 2, // IP
			0x80, 1, 2, 52, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0, // TCP: ports 32769 and 564, PSH and ACK
		}
		if up == 1 {
			p[15], p[19] = 2, 1
			copy(p[20:], []byte{2, 52, 0x80, 1})
		}
		be := func(off int, v uint32) {
			p[off], p[off+1], p[off+2], p[off+3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
		}
		be(24, seq[up]+1)
		be(28, seq[1-up]+1)
		seq[up] += uint32(len(msg))
		for _, v := range []uint32{uint32(i), 0, uint32(n), uint32(n)} {
			f.Write(le.AppendUint32(nil, v))
		}
		f.Write(p)
		f.Write(msg)
	}
	if err := os.WriteFile(path, f.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tsharkFields are fields to which tshark's dissector gives a name, and ours that may stand behind it.
var tsharkFields = []struct{ theirs, ours string }{
	{"9p.fid", "fid"}, {"9p.newfid", "newfid"}, {"9p.afid", "afid"}, {"9p.oldtag", "oldtag"},
	{"9p.maxsize", "msize"}, {"9p.version", "version"}, {"9p.uname", "uname"}, {"9p.aname", "aname"},
	{"9p.wname", "wname name newname"}, {"9p.filename", "name"}, {"9p.ename", "ename"},
	{"9p.offset", "offset"}, {"9p.count", "count data"}, {"9p.iounit", "iounit"}, {"9p.qidpath", "qid wqid"},
	{"9p.perm", "perm"}, {"9p.statmode", "mode"}, {"9p.uid", "uid"}, {"9p.gid", "gid"}, {"9p.nlink", "nlink"}, {"9p.size", "size mask"},
	{"9p.blksize", "blksize bsize"}, {"9p.rdev", "rdev"}, {"9p.gen", "gen"}, {"9p.dataversion", "data_version"}, {"9p.bfree", "bfree"},
	{"9p.bavail", "bavail"}, {"9p.files", "files"}, {"9p.ffree", "ffree"}, {"9p.fsid", "fsid"}, {"9p.namelen", "namelen"},
}

// tsharkErrs are the messages that tshark 4.0 gets wrong: it reads flags[4] in Tgetlock and Rgetlock, which have none (protocol.md; Linux's
// p9_client_getlock_dotl).
var tsharkErrs = map[Type]bool{Tgetlock: true, Rgetlock: true}

// tsharkValues lists the values of m's fields called names, as tshark prints them.
func tsharkValues(d Dialect, m *Msg, names string) string {
	var vals []string
	var visit func(name string, p any)
	visit = func(name string, p any) {
		if s, ok := p.(*Stat); ok {
			s.Visit(d, visit)
			return
		}
		if !slices.Contains(strings.Fields(names), name) {
			return
		}
		switch p := p.(type) {
		case *uint8:
			vals = append(vals, fmt.Sprint(*p))
		case *uint16:
			vals = append(vals, fmt.Sprint(*p))
		case *uint32:
			vals = append(vals, fmt.Sprint(*p))
		case *uint64:
			vals = append(vals, fmt.Sprint(*p))
		case *[]byte:
			if name == "data" {
				vals = append(vals, fmt.Sprint(len(*p)))
			} else {
				vals = append(vals, string(*p))
			}
		case *Qid:
			vals = append(vals, fmt.Sprint(p.Path))
		case Names:
			for _, n := range p.List[:*p.N] {
				vals = append(vals, string(n))
			}
		case Qids:
			for _, q := range p.List[:*p.N] {
				vals = append(vals, fmt.Sprint(q.Path))
			}
		}
	}
	m.Visit(d, visit)
	return strings.Join(vals, ",")
}

// TestAgainstTshark shows every message of the three dialects to Wireshark's dissector, which must know its name and tag, have
// nothing to complain about, and see in the fields it names what we put there. tshark takes .u for 9P2000: what .u adds it does not look at.
func TestAgainstTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed: Wireshark's dissector is not asked for its opinion")
	}
	for _, d := range dialects {
		t.Run(d.String(), func(t *testing.T) {
			var sent []*Msg
			var raw [][]byte
			add := func(m *Msg) {
				m.Tag = uint16(len(sent))
				b, err := Append(nil, d, m)
				if err != nil {
					t.Fatal(err)
				}
				sent, raw = append(sent, m), append(raw, b)
			}
			add(&Msg{Type: Tversion, Msize: 8192, Version: []byte(d.String())}) // tells tshark the dialect
			add(&Msg{Type: Rversion, Msize: 8192, Version: []byte(d.String())})
			for i := range 256 {
				if d.Has(Type(i)) {
					add(plainSample(d, Type(i)))
				}
			}
			path := filepath.Join(t.TempDir(), "9p.pcap")
			writePcap(t, path, raw)
			args := []string{"-r", path, "-T", "fields", "-E", "separator=;", "-e", "_ws.col.Info", "-e", "_ws.expert.message"}
			for _, f := range tsharkFields {
				args = append(args, "-e", f.theirs)
			}
			cmd := exec.Command(tshark, args...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, &stderr)
			}
			lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			if len(lines) != len(sent) {
				t.Fatalf("tshark saw %d messages of %d:\n%s", len(lines), len(sent), out)
			}
			compared := 0
			for i, m := range sent {
				cols := strings.Split(lines[i], ";")
				if tsharkErrs[m.Type] {
					continue
				}
				if want := fmt.Sprintf("%v Tag=%d", m.Type, m.Tag); cols[0] != want || cols[1] != "" {
					t.Errorf("%v: tshark says %q and complains %q", m.Type, cols[0], cols[1])
				}
				for j, f := range tsharkFields {
					names := f.ours
					switch {
					case f.theirs == "9p.fid" && m.Type == Tlink:
						names = "newfid" // the other one is its dfid
					case f.theirs == "9p.statmode" && m.Type == Tlopen:
						names = "flags"
					}
					got := cols[2+j]
					if got == "" {
						continue
					}
					compared++
					if want := tsharkValues(d, m, names); got != want {
						t.Errorf("%v: tshark reads %s as %q, it is %q", m.Type, f.theirs, got, want)
					}
				}
			}
			if compared < 2*len(sent)/3 {
				t.Errorf("only %d fields compared in %d messages", compared, len(sent))
			}
		})
	}
}

// plainSample is sample with strings that tshark has nothing to say against.
func plainSample(d Dialect, typ Type) *Msg {
	m := sample(d, typ)
	var plain func(name string, p any)
	plain = func(name string, p any) {
		switch p := p.(type) {
		case *[]byte:
			*p = []byte(name + "-value")
		case *Stat:
			p.Visit(d, plain)
		}
	}
	m.Visit(d, plain)
	return m
}
