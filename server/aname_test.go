package server

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

func TestParseAname(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want attachName
	}{
		{"", attachName{}},
		{"/", attachName{}},
		{"///./", attachName{}},
		{"ethfoo", attachName{names: []string{"ethfoo"}}},
		{"/ethfoo/0//data/", attachName{names: []string{"ethfoo", "0", "data"}}},
		{"/a b?", attachName{names: []string{"a b"}}},
		{"?records=on", attachName{records: on}},
		{"/x?records=off", attachName{names: []string{"x"}, records: off}},
		{"/x?records=%6fn", attachName{names: []string{"x"}, records: on}},
		{"?records=on&records=off", attachName{records: off}},
		{"?sizes=on", attachName{sizes: on}},
		{"/x?sizes=off&records=on", attachName{names: []string{"x"}, records: on, sizes: off}},
		{"?patience=45s", attachName{patience: 45 * time.Second}},
		{"/x?patience=1m30s&records=off", attachName{names: []string{"x"}, records: off, patience: 90 * time.Second}},
		{"?patience=10ms", attachName{patience: minPatience}},
		{"?patience=24h", attachName{patience: maxPatience}},
		{"?patience=45s&patience=0", attachName{}},
		{"...", attachName{names: []string{"..."}}},
		{strings.Repeat("/", maxAname), attachName{}},
	} {
		got, err := parseAname(tt.in)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
	for in, errno := range map[string]linux.Errno{
		"..": linux.EINVAL, "/a/../b": linux.EINVAL, "/a\x00": linux.EINVAL, "?x=1": linux.EINVAL, "?records": linux.EINVAL, "?records=": linux.EINVAL,
		"?sizes": linux.EINVAL, "?sizes=1": linux.EINVAL, "?records=on&sizes=no": linux.EINVAL,
		"?patience": linux.EINVAL, "?patience=45": linux.EINVAL, "?patience=-1s": linux.EINVAL, "?patience=9ms": linux.EINVAL,
		"?patience=25h": linux.EINVAL, "?patience=1e9s": linux.EINVAL, "?patience=45s&x=1": linux.EINVAL,
		"?records=ON": linux.EINVAL, "?Records=on": linux.EINVAL, "?records=on?": linux.EINVAL, "?%": linux.EINVAL, "?a;b": linux.EINVAL,
		strings.Repeat("x", 256): linux.EINVAL, strings.Repeat("/", maxAname+1): linux.ENAMETOOLONG,
	} {
		if got, err := parseAname(in); !errors.Is(err, errno) {
			t.Errorf("%.40q: %+v, %v; want %v", in, got, err, errno)
		}
	}
}

func FuzzParseAname(f *testing.F) {
	for _, s := range []string{"", "/a/b?records=on", "//./..", "?x=1&records=off", "?sizes=off&patience=45s", "/\x00?%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAname(s)
		if err != nil {
			var e *p9ext.Error
			if !errors.As(err, &e) || e.Errno == 0 {
				t.Fatalf("%q: the error %v has no number", s, err)
			}
			return
		}
		for _, n := range a.names {
			if checkName(n) != nil || n == ".." {
				t.Fatalf("%q leads through %q", s, n)
			}
		}
		b, err := parseAname("/" + strings.Join(a.names, "/"))
		if err == nil && !slices.Equal(a.names, b.names) && !strings.ContainsAny(strings.Join(a.names, ""), "?") {
			t.Fatalf("%q: %q, and written again %q", s, a.names, b.names)
		}
	})
}
