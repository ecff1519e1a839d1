package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTypeIn(t *testing.T) {
	const list = `22 1 0:20 / /proc rw,relatime shared:5 - proc proc rw
30 1 254:0 / / rw - ext4 /dev/vda rw
40 30 0:38 / /n/clone rw,nosuid shared:9 master:1 - fuse.clone9p unix!/run/s rw,user_id=0
41 30 0:39 / /n/two\040words rw - 9p 10.0.2.2 rw
42 40 0:40 / /n/clone rw - tmpfs none rw
short line
`
	for dir, want := range map[string]string{"/proc": "proc", "/n/clone": "tmpfs", "/n/two words": "9p", "/n": "", "/n/clone/": ""} {
		if got := typeIn(list, dir); got != want {
			t.Errorf("on %s is %q, want %q", dir, got, want)
		}
	}
}

func TestKnows9P(t *testing.T) {
	for text, want := range map[string]bool{"nodev\tproc\n\text4\nnodev\t9p\n": true, "nodev\tproc\n": false, "nodev\t9p2\n": false, "": false} {
		path := filepath.Join(t.TempDir(), "filesystems")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := knows9P(path); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if knows9P(filepath.Join(t.TempDir(), "none")) {
		t.Error("a list that is not there has 9p")
	}
}

// A mount by FUSE wants records left alone, unless the name says otherwise.
func TestWithoutRecords(t *testing.T) {
	for name, want := range map[string]string{
		"": "/?records=off", "/": "/?records=off", "/ethfoo": "/ethfoo?records=off", "/?patience=45s": "/?patience=45s&records=off", "/?": "/?records=off",
		"/?records=on": "", "/x?sizes=off&records=on": "",
	} {
		got, changed := withoutRecords(name)
		if want == "" && (changed || got != name) || want != "" && (!changed || got != want) {
			t.Errorf("%q becomes %q, %v", name, got, changed)
		}
	}
}

// Whatever the list says, a type is a word of it.
func FuzzTypeIn(f *testing.F) {
	f.Add("40 30 0:38 / /n/clone rw - fuse.clone9p s rw\n", "/n/clone")
	f.Add(`1 2 3 4 /a\040b - x`, "/a b")
	f.Fuzz(func(t *testing.T, list, dir string) {
		if typ := typeIn(list, dir); strings.Contains(typ, " ") || !strings.Contains(list, typ) {
			t.Errorf("the type is %q", typ)
		}
	})
}
