package clonefs

import (
	"slices"
	"strings"
	"testing"
)

func TestFields(t *testing.T) {
	tests := []struct {
		line string
		want []string // nil: an error
	}{
		{"", []string{}},
		{"  \t ", []string{}},
		{"up", []string{"up"}},
		{" add  10.0.0.1/8\t", []string{"add", "10.0.0.1/8"}},
		{"label 'two words'", []string{"label", "two words"}},
		{"label 'it''s'", []string{"label", "it's"}},
		{"label ''", []string{"label", ""}},
		{"''", []string{""}},
		{"''''", []string{"'"}},
		{"a'b c'd", []string{"ab cd"}},
		{"a'b'", []string{"ab"}},
		{"'a' 'b'", []string{"a", "b"}},
		{"'\t'", []string{"\t"}},
		{`"a b"`, []string{`"a`, `b"`}},
		{"dos\r", []string{"dos"}},
		{"ünï cödé", []string{"ünï", "cödé"}},
		{"'", nil},
		{"label 'x", nil},
		{"label 'x''", nil},
		{"a\x00b", nil},
		{"a\rb", nil},
		{"'a\x01'", nil},
		{"a\x7f", nil},
	}
	for _, tt := range tests {
		got, err := Fields(tt.line)
		if (err != nil) != (tt.want == nil) || !slices.Equal(got, tt.want) {
			t.Errorf("Fields(%q) = %q, %v, want %q", tt.line, got, err, tt.want)
		}
	}
}

// FuzzFields checks that any words come back from their quoted line, and that no line is trouble.
func FuzzFields(f *testing.F) {
	for _, s := range []string{"", "up", "label 'it''s mine'", "a'b c'd", "'\t", "bind link 1 2 3", "\x00", "'", "''''", "a \r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := Fields(line)
		if err != nil {
			return
		}
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = Quote(w)
		}
		again, err := Fields(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(words, again) {
			t.Errorf("%q are the words %q, which are quoted %q and read %q, %v", line, words, quoted, again, err)
		}
	})
}

func TestPatterns(t *testing.T) {
	tests := []struct {
		args      string
		fit, wont []string // lines
	}{
		{"", []string{""}, []string{"x", "x y"}},
		{"N", []string{"1", "x", "''"}, []string{"", "1 2"}},
		{"on|off", []string{"on", "off"}, []string{"", "On", "on|off", "on off", "maybe"}},
		{"PID|NAME", []string{"1", "x"}, []string{"", "1 2"}},
		{"-100..100", []string{"-3"}, []string{"", "1 2"}},
		{"DEST/LEN [via GW]", []string{"10/8", "10/8 via 1"}, []string{"", "10/8 via", "10/8 by 1", "10/8 via 1 2"}},
		{"BUF PATH [OFF [LEN]] [create]", []string{"b p", "b p 1", "b p 1 2", "b p create", "b p 1 create", "b p 1 2 create"},
			[]string{"b", "b p 1 2 3", "b p 1 2 create x"}},
		{"vxlan ID REMOTE [DEV]", []string{"vxlan 1 r", "vxlan 1 r d"}, []string{"tun", "vxlan 1", "vxlan 1 r d x"}},
		{"BR [create]", []string{"b", "b create"}, []string{"", "b x"}},
		{"CMD ARGS...", []string{"c", "c a", "c a b c"}, []string{""}},
		{"[WORDS...]", []string{"", "a", "a b"}, nil},
		{"WORDS...", []string{"", "a", "a b"}, nil},
		{"[a] [b] [c]", []string{"", "a", "b", "c", "a b", "a c", "b c", "a b c"}, []string{"b a", "c c"}},
	}
	for _, tt := range tests {
		p, err := parsePattern(tt.args)
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		for want, lines := range map[bool][]string{true: tt.fit, false: tt.wont} {
			for _, line := range lines {
				words, err := Fields(line)
				if err != nil {
					t.Fatal(err)
				}
				if got := p.match(words); got != want {
					t.Errorf("%q fits %q: %v, want %v", line, tt.args, got, want)
				}
			}
		}
	}
	for _, bad := range []string{"[", "]", "[]", "[x", "x]", "X... Y", "[X... Y]", "[[]]", "...", "[X]..."} {
		if p, err := parsePattern(bad); err == nil {
			t.Errorf("%q is parsed as %v", bad, p)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("DEST/LEN [via GW]", "10/8 via 1")
	f.Add("on|off", "on")
	f.Add("BUF PATH [OFF [LEN]] [create]", "b p 1")
	f.Add("CMD ARGS...", "c")
	f.Fuzz(func(t *testing.T, args, line string) {
		if len(args) > 60 { // a table is written by a programmer
			return
		}
		p, err := parsePattern(args)
		if err != nil {
			return
		}
		words, err := Fields(line)
		if err == nil {
			p.match(words)
		}
	})
}

func TestNumbers(t *testing.T) {
	var s numbers
	const n = 5000
	for i := range n {
		if got := s.take(); got != i {
			t.Fatalf("take %d: %d", i, got)
		}
	}
	for _, i := range []int{4999, 0, 63, 64, 4095, 4096, 17} {
		s.free(i)
	}
	for _, want := range []int{0, 17, 63, 64, 4095, 4096, 4999, 5000, 5001} {
		if got := s.take(); got != want {
			t.Errorf("take: %d, want %d", got, want)
		}
	}
}

func BenchmarkNumbers(b *testing.B) {
	var s numbers
	for range 100_000 {
		s.take()
	}
	b.ReportAllocs()
	for b.Loop() {
		s.free(s.take())
	}
}
