package script

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/internal/wire"
)

func TestParseWords(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"a b", "a b"},
		{"  a\tb  ", "a b"},
		{"a 'b c' ''", "a 'b c' ''"},
		{`'\n\x00\'\\ж'`, `'\n\x00\'\\ж'`},
		{"'ab'*3 c", "'ababab' c"},
		{"'ab'*0", "''"},
		{"x [a [b] (c 'd')]y", "x [a [b] (c 'd')] y"},
		{"[]()", "[] ()"},
	} {
		words, err := parseWords(tc.in)
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		got := strings.Trim(value{kind: tuple, items: words}.String(), "()")
		if want := strings.Trim(tc.want, "()"); got != want {
			t.Errorf("%s: got %s, want %s", tc.in, got, want)
		}
	}
	for _, bad := range []string{"'", `'\q'`, "[", "(", "]", "[)", "[[[[[]]]]]", "'a'*x", "'a'*-1", "'aaaa'*99999999"} {
		if words, err := parseWords(bad); err == nil {
			t.Errorf("%s is %v", bad, words)
		}
	}
}

func TestParseNumber(t *testing.T) {
	for _, tc := range []struct {
		in   string
		bits int
		want uint64
	}{
		{"7", 8, 7}, {"0755", 32, 0o755}, {"0o755", 32, 0o755}, {"0x10", 32, 16}, {"~0", 16, 0xffff}, {"~0", 64, 1<<64 - 1},
		{"NOFID", 32, 0xffffffff}, {"DMDIR|0755", 32, 0x80000000 | 0o755}, {"OWRITE|OTRUNC", 8, 0x11}, {"ENOENT", 32, 2}, {"EOPNOTSUPP", 32, 95},
		{"S_IFREG|0644", 32, 0o100644}, {"0xffffffffffffffff", 64, 1<<64 - 1},
	} {
		if got, err := parseNumber(tc.in, tc.bits); got != tc.want || err != nil {
			t.Errorf("%s of %d bits: %d, %v; want %d", tc.in, tc.bits, got, err, tc.want)
		}
	}
	for _, bad := range []struct {
		in   string
		bits int
	}{{"256", 8}, {"NOFID", 16}, {"", 32}, {"1|", 32}, {"-1", 32}, {"1.5", 32}, {"0x1ffffffffffffffff", 64}} {
		if got, err := parseNumber(bad.in, bad.bits); err == nil {
			t.Errorf("%q of %d bits is %d", bad.in, bad.bits, got)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"*", "", true}, {"*", "a/b\n", true}, {"a*", "ab", true}, {"a*", "ba", false},
		{"*a", "ba", true}, {"a*a", "a", false}, {"a*a", "aa", true}, {"a*b*c", "a--b--c", true}, {"a*b*c", "a--c", false}, {"*b*", "abc", true},
		{"a**c", "abc", true},
	} {
		if got := glob(tc.pattern, tc.s); got != tc.want {
			t.Errorf("glob(%q, %q) = %v", tc.pattern, tc.s, got)
		}
	}
}

func TestParseHex(t *testing.T) {
	b, err := parseHex([]string{"0b00", "00*3", "ffFF*2"})
	if err != nil || fmt.Sprintf("%x", b) != "0b00000000ffffffff" {
		t.Errorf("%x, %v", b, err)
	}
	for _, bad := range []string{"0", "xy", "00*x", "00*-1", "00*999999999"} {
		if _, err := parseHex([]string{bad}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// FuzzText writes whatever decodes as wire's text form, and reads that back: as a request or reply that is sent and as one that is
// expected.
func FuzzText(f *testing.F) {
	for _, d := range []wire.Dialect{wire.P9, wire.P9u, wire.P9L} {
		for i := range 256 {
			if m := blank(wire.Type(i)); d.Has(m.Type) {
				m.Name, m.Data, m.Nwname, m.Nwqid = []byte("a 'name'"), []byte("data\n\x00\xff"), 2, 1
				m.Wname[1] = []byte("[x]")
				b, err := wire.Append(nil, d, m)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(uint8(d), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, dialect uint8, b []byte) {
		d := wire.Dialect(dialect % 3)
		var m wire.Msg
		if m.Decode(d, b) != nil {
			return
		}
		text := m.Text(d)
		words, err := parseWords(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		flds, err := parseFields(words[1:])
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := buildMessage(d, m.Type, flds)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		back, err := wire.Append(nil, d, again)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !bytes.Equal(back, b) && m.Type != wire.Tfsync {
			t.Errorf("%s\n in %x\nout %x", text, b, back)
		}
		if m.Type.IsT() {
			return
		}
		p, err := parsePattern(words)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if found, err := p.match(d, &m, nil); err != nil || len(found) > 0 {
			t.Errorf("%s does not match itself: %v", text, err)
		}
	})
}
