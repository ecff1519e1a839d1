package clonefs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree makes a tree that is closed with the test.
func tree(t testing.TB, c clonefs.Config, drivers ...clonefs.Driver) *clonefs.FS {
	t.Helper()
	fs, err := clonefs.New(c, drivers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := fs.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return fs
}

func TestNewRefuses(t *testing.T) {
	type T = *clonetest.MemConv
	clone := func(context.Context, *clonefs.Conv) (T, error) { return nil, nil }
	do := func(T, context.Context, []string) error { return nil }
	text := func(T) (string, error) { return "", nil }
	open := func(T, context.Context, clonefs.Mode) (clonefs.Stream, error) { return nil, nil }
	device := func(change func(*clonefs.Device[T])) []clonefs.Driver {
		d := &clonefs.Device[T]{Name: "x", Clone: clone}
		change(d)
		return []clonefs.Driver{d}
	}
	message := func(word, args string) []clonefs.Driver {
		return device(func(d *clonefs.Device[T]) { d.Ctl = clonefs.Messages[T]{{Word: word, Args: args, Do: do}} })
	}
	file := func(f ...clonefs.File[T]) []clonefs.Driver {
		return device(func(d *clonefs.Device[T]) { d.Files = f })
	}
	shared := func(f ...clonefs.SharedFile) []clonefs.Driver {
		return device(func(d *clonefs.Device[T]) { d.Shared = f })
	}
	sharedText := func() (string, error) { return "", nil }
	sharedOpen := func(context.Context, clonefs.User, clonefs.Mode) (clonefs.Stream, error) { return nil, nil }
	tests := []struct {
		name    string
		drivers []clonefs.Driver
		root    []clonefs.RootFile
		want    string // part of the error
	}{
		{"no name", device(func(d *clonefs.Device[T]) { d.Name = "" }), nil, `called ""`},
		{"a bad name", device(func(d *clonefs.Device[T]) { d.Name = "a/b" }), nil, `called "a/b"`},
		{"the name of a root file", device(func(d *clonefs.Device[T]) { d.Name = "README" }), nil, "README"},
		{"no Clone", device(func(d *clonefs.Device[T]) { d.Clone = nil }), nil, "no Clone"},
		{"two of one name", append(message("a", ""), message("b", "")...), nil, "two devices are called x"},
		{"bad args", message("a", "[x"), nil, "[ without ]"},
		{"bad word", message("a b", ""), nil, "not a word"},
		{"everybody's word", message("hangup", ""), nil, "every device has it"},
		{"no Do", device(func(d *clonefs.Device[T]) { d.Ctl = clonefs.Messages[T]{{Word: "a"}} }), nil, "no Do"},
		{"a file that is nothing", file(clonefs.File[T]{Name: "a"}), nil, "exactly one"},
		{"a file that is two things", file(clonefs.File[T]{Name: "a", Text: text, Open: open}), nil, "exactly one"},
		{"SetText alone", file(clonefs.File[T]{Name: "a", Open: open, SetText: func(T, context.Context, string) error { return nil }}), nil,
			"SetText without Text"},
		{"ctl twice", file(clonefs.File[T]{Name: "ctl", Text: text}), nil, "twice"},
		{"rx twice", file(clonefs.File[T]{Name: "rx", Text: text}, clonefs.File[T]{Name: "data", Duplex: open}), nil, "twice"},
		{"a shared file that is nothing", shared(clonefs.SharedFile{Name: "a"}), nil, "either"},
		{"a shared file that is two things", shared(clonefs.SharedFile{Name: "a", Text: sharedText, Open: sharedOpen}), nil, "either"},
		{"a text that counts", shared(clonefs.SharedFile{Name: "a", Text: sharedText, Counts: true}), nil, "either"},
		{"a number", shared(clonefs.SharedFile{Name: "7", Text: sharedText}), nil, "conversation"},
		{"clone twice", shared(clonefs.SharedFile{Name: "clone", Text: sharedText}), nil, "already"},
		{"a root file twice", nil, []clonefs.RootFile{{Name: "devices", Text: sharedText}}, "twice"},
		{"a root file without text", nil, []clonefs.RootFile{{Name: "a"}}, "no Text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := clonefs.New(clonefs.Config{Root: tt.root}, tt.drivers...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestSharedFiles(t *testing.T) {
	fs := tree(t, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{MaxConvs: 2}))
	bob := clonetest.Attach(t, fs, clonetest.Bob)
	if err := bob.WriteFile("mem/level", " 7\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := bob.ReadFile("mem/level"); text != "7\n" || err != nil {
		t.Errorf("level is %q, %v", text, err)
	}
	clonetest.CheckError(t, "bad level", bob.WriteFile("mem/level", "x"), linux.EINVAL, `a level is a number, not "x"`)

	voice := bob.MustOpen("mem/voice", p9.ReadWrite)
	if err := voice.Say("la"); err != nil {
		t.Error(err)
	}
	if s, err := voice.Record(t.Context()); s != "la" || err != nil {
		t.Errorf("voice says %q, %v", s, err)
	}
	_, err := bob.Open("mem/clone", p9.ReadWrite) // half of two is one a user
	clonetest.CheckError(t, "bob's second", err, linux.ENOSPC, "no free devices")
	clonetest.Attach(t, fs, clonetest.Alice).MustOpen("mem/clone", p9.ReadWrite)
	_, err = clonetest.Attach(t, fs, clonetest.Super).Open("mem/voice", p9.ReadWrite)
	clonetest.CheckError(t, "the third", err, linux.ENOSPC, "no free devices")
	if convs := bob.Convs("mem"); !slices.Equal(convs, []string{"0"}) {
		t.Errorf("listed: %v", convs)
	}
	voice.Close()
	voice = bob.MustOpen("mem/voice", p9.ReadOnly)
	fs.Close(t.Context())
	_, err = voice.Record(t.Context())
	clonetest.CheckError(t, "voice after the end", err, linux.EIO, "")
}

// TestListing pages through a directory while conversations come and go.
func TestListing(t *testing.T) {
	fs := tree(t, clonefs.Config{DefaultMaxPerUser: 1024}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	var files []*clonetest.File
	for range 200 {
		files = append(files, alice.MustOpen("mem/clone", p9.ReadWrite))
	}
	files[7].Close()
	dir := alice.MustOpen("mem", p9.ReadOnly)
	var got []string
	offset := uint64(0)
	for i := 0; ; i++ {
		list, err := dir.Readdir(offset, 12)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		if i == 2 { // behind the place, and before it
			files[0].Close()
			files[199].Close()
		}
		for _, d := range list {
			got = append(got, d.Name)
			offset = d.Offset
		}
	}
	want := []string{"clone", "help", "stats", "level", "voice"}
	for n := range 199 {
		if n != 7 {
			want = append(want, fmt.Sprint(n))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v", got)
	}
	if _, err := dir.Readdir(1<<63, 12); err == nil {
		t.Error("an offset from nowhere is taken")
	}
	root, err := alice.List("")
	if want := []string{"README", "devices", "mem"}; !slices.Equal(root, want) || err != nil {
		t.Errorf("the root has %v, %v, want %v", root, err, want)
	}
}

func TestWalk(t *testing.T) {
	fs := tree(t, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	alice.MustOpen("mem/clone", p9.ReadWrite)
	for path, want := range map[string]linux.Errno{
		"": 0, "mem": 0, "mem/0": 0, "mem/0/ctl": 0, "mem/0/../0/./rx": 0, "..": 0, "mem/../README": 0, "mem/0/../../devices": 0,
		"nothing": linux.ENOENT, "mem/1": linux.ENOENT, "mem/00": linux.ENOENT, "mem/-0": linux.ENOENT, "mem/0/nothing": linux.ENOENT,
		"mem/99999999999999999999": linux.ENOENT, "mem/999999999": linux.ENOENT, "README/x": linux.ENOTDIR, "mem/clone/..": linux.ENOTDIR,
	} {
		_, err := alice.Walk(path)
		if want == 0 && err != nil || want != 0 && !errors.Is(err, want) {
			t.Errorf("walk %q: %v, want %v", path, err, want)
		}
	}
	qids, f, mask, attr, err := alice.Root.WalkGetAttr([]string{"mem", "0", "ctl"})
	if q, _, a, _ := f.GetAttr(p9.AttrMaskAll); err != nil || len(qids) != 3 || q != qids[2] || a != attr || !mask.Mode {
		t.Errorf("WalkGetAttr: %v, %v", qids, err)
	}
}

// TestDeviceConfig restricts who may clone, and how often.
func TestDeviceConfig(t *testing.T) {
	owner, group := p9.UID(clonetest.Alice.UID), p9.GID(61009)
	fs := tree(t, clonefs.Config{Devices: map[string]clonefs.DeviceConfig{
		"mem": {MaxConvs: 3, MaxPerUser: 1, Mode: 0o660, Owner: &owner, Group: &group},
	}}, clonetest.Mem(clonetest.MemOptions{}))
	bob := clonetest.Bob
	_, err := clonetest.Attach(t, fs, bob).Open("mem/clone", p9.ReadWrite)
	clonetest.CheckError(t, "one outside the group", err, linux.EACCES, "permission denied")
	bob.Groups = []uint32{61009}
	for _, u := range []clonefs.User{clonetest.Alice, bob, clonetest.Super} {
		c := clonetest.Attach(t, fs, u)
		n, err := c.MustOpen("mem/clone", p9.ReadWrite).Number()
		if err != nil {
			t.Fatal(err)
		}
		f, err := c.Walk("mem/" + n + "/ctl")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, a, _ := f.GetAttr(p9.AttrMaskAll); a.GID != group || a.UID != p9.UID(u.UID) {
			t.Errorf("the conversation of %s belongs to %d and group %d, want group %d", u.Name, a.UID, a.GID, group)
		}
		_, err = c.Open("mem/clone", p9.ReadWrite)
		clonetest.CheckError(t, "one more of "+u.Name, err, linux.ENOSPC, "no free devices")
	}
	if s := fs.Stats()[0]; s.Refused != 4 || s.Peak != 3 {
		t.Errorf("%+v", s)
	}
	if _, err := clonefs.New(clonefs.Config{Devices: map[string]clonefs.DeviceConfig{"men": {}}}); err == nil {
		t.Error("settings for an unknown device are taken")
	}
}

// TestRootFiles has a file that cmd adds, as /stats is.
func TestRootFiles(t *testing.T) {
	n := 0
	fs := tree(t, clonefs.Config{
		Mount: "mount -t 9p here there",
		Root:  []clonefs.RootFile{{Name: "stats", Help: "counters", Text: func() (string, error) { n++; return fmt.Sprintln("opens", n), nil }}},
	}, clonetest.Mem(clonetest.MemOptions{}))
	bob := clonetest.Attach(t, fs, clonetest.Bob)
	for _, want := range []string{"opens 1\n", "opens 2\n"} {
		if text, err := bob.ReadFile("stats"); text != want || err != nil {
			t.Errorf("stats is %q, %v, want %q", text, err, want)
		}
	}
	f := bob.MustOpen("stats", p9.ReadOnly)
	p := make([]byte, 6)
	for _, tt := range []struct {
		off  int64
		want string
	}{{6, "3\n"}, {0, "opens "}, {6, "4\n"}, {7, "\n"}, {0, "opens "}, {6, "5\n"}} {
		if n, err := f.Read(t.Context(), p, tt.off); string(p[:n]) != tt.want || err != nil {
			t.Errorf("at %d one open reads %q, %v, want %q: it is rendered anew at offset 0 and stays so up to its end", tt.off, p[:n], err, tt.want)
		}
	}
	readme, _ := bob.ReadFile("README")
	for _, want := range []string{"mount -t 9p here there", "stats", "counters", "mem", "a loopback in memory"} {
		if !strings.Contains(readme, want) {
			t.Errorf("README does not say %q:\n%s", want, readme)
		}
	}
	if text, _ := bob.ReadFile("devices"); text != "mem 0 1024 a loopback in memory\n" {
		t.Errorf("devices is %q", text)
	}
}

// TestText checks that a text is a snapshot from its first read on, and padding is allowed.
func TestText(t *testing.T) {
	mem := clonetest.Mem(clonetest.MemOptions{})
	fs := tree(t, clonefs.Config{}, mem)
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	alice.MustOpen("mem/clone", p9.ReadWrite)
	info := alice.MustOpen("mem/0/info", p9.ReadOnly)
	p := make([]byte, 8)
	read := func(off int64) string {
		n, err := info.Read(t.Context(), p, off)
		if err != nil {
			t.Error(err)
		}
		return string(p[:n])
	}
	if s := read(0); s != "readers " {
		t.Errorf("read %q", s)
	}
	alice.MustOpen("mem/0/rx", p9.ReadOnly)
	if s := read(8) + "," + read(10); s != "0\n," {
		t.Errorf("the rest is %q", s)
	}
	if s := read(0) + read(8); s != "readers 1\n" {
		t.Errorf("read again: %q", s)
	}
	for path, want := range map[string]bool{
		"README": true, "mem/clone": true, "mem/0/ctl": true, "mem/0/note": true, "mem/0/lock": true, "mem/0/rx": false, "mem": false,
	} {
		f, err := alice.Walk(path)
		if err != nil {
			t.Fatal(err)
		}
		text, ok := f.(p9ext.Text)
		if got := ok && text.IsText(); got != want {
			t.Errorf("%s is text: %v, want %v", path, got, want)
		}
		if _, ok := f.(p9ext.Prompt); !ok {
			t.Errorf("%s is not prompt", path)
		}
	}
}
