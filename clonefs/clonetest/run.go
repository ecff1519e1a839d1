package clonetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"go.uber.org/goleak"
)

// Options tell [Run] what it can't know of a driver.
type Options struct {
	// Convs is how many conversations at once a driver under test is asked for at most; 16 by default. Tests of limits take fewer.
	Convs int

	// Config is used for the tree; the suite sets the limits where it tests them.
	Config clonefs.Config

	// Limited makes a driver with limits, for drivers that set their own: by default those are set through Config, and
	// the checks of limits are skipped where that does not help.
	Limited func(t *testing.T, convs, perUser int) clonefs.Driver

	// Skip names the checks that do not apply to this driver, with the reason.
	Skip map[string]string

	// Ignore is passed to goleak: goroutines that a library of the driver's starts and never ends.
	Ignore []goleak.Option
}

// patience is how long the suite waits for what should happen at once.
var patience = 30 * time.Second

// Run checks that a driver keeps the contract of clonefs. make is called for a new driver several times; each is closed with its tree before
// the next is made. The checks are subtests, so that one of them can be run alone.
func Run(t *testing.T, make func(t *testing.T) clonefs.Driver, o Options) {
	if o.Convs == 0 {
		o.Convs = 16
	}
	if r, w, err := os.Pipe(); err == nil { // makes the runtime open what it keeps open
		r.Close()
		w.Close()
	}
	for name := range o.Skip {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.name == name }) {
			t.Fatalf("there is no check called %q to skip", name)
		}
	}
	leaks := append([]goleak.Option{goleak.IgnoreCurrent()}, o.Ignore...)
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			if why := o.Skip[check.name]; why != "" {
				t.Skip(why)
			}
			files := openFiles()
			c := o.Config
			var driver clonefs.Driver
			if check.config != nil {
				check.config(&c)
			}
			if check.config != nil && o.Limited != nil {
				driver = o.Limited(t, c.DefaultMaxConvs, c.DefaultMaxPerUser)
			} else {
				driver = make(t)
			}
			info, err := clonefs.Describe(driver)
			if err != nil {
				t.Fatal(err)
			}
			fs, err := clonefs.New(c, driver)
			if err != nil {
				t.Fatal(err)
			}
			s := &suite{T: t, fs: fs, dev: info.Name, info: info, o: o}
			s.alice, s.bob = Attach(t, fs, Alice), Attach(t, fs, Bob)
			s.nobody, s.super = Attach(t, fs, Nobody), Attach(t, fs, Super)
			check.run(s)

			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := fs.Close(ctx); err != nil {
				t.Fatal(err)
			}
			for _, d := range fs.Stats() {
				if d.Clones != d.Releases || d.Convs != 0 {
					t.Errorf("at the end: %d clones, %d releases, %d conversations", d.Clones, d.Releases, d.Convs)
				}
			}
			if err := goleak.Find(leaks...); err != nil {
				t.Error(err)
			}
			checkOpenFiles(t, files)
		})
	}
}

// A suite is what one check works with.
type suite struct {
	*testing.T
	fs                        *clonefs.FS
	dev                       string
	info                      clonefs.Info
	o                         Options
	alice, bob, nobody, super *Client
}

// A check is one subtest.
type check struct {
	name   string
	config func(*clonefs.Config) // the limits it wants; nil: any
	run    func(*suite)
}

var checks = []check{
	{"tables", nil, (*suite).tables},
	{"plain files", nil, (*suite).plainFiles},
	{"allocation at open", nil, (*suite).allocationAtOpen},
	{"lowest number", nil, (*suite).lowestNumber},
	{"references", nil, (*suite).references},
	{"drop once", nil, (*suite).dropOnce},
	{"fresh incarnation", nil, (*suite).freshIncarnation},
	{"hangup", nil, (*suite).hangup},
	{"persist", nil, (*suite).persist},
	{"device limit", func(c *clonefs.Config) { c.DefaultMaxConvs, c.DefaultMaxPerUser = 3, 3 }, (*suite).deviceLimit},
	{"user limit", func(c *clonefs.Config) { c.DefaultMaxConvs, c.DefaultMaxPerUser = 4, 1 }, (*suite).userLimit},
	{"permissions", nil, (*suite).permissions},
	{"nobody", nil, (*suite).ofNobody},
	{"bad messages", nil, (*suite).badMessages},
	{"junk messages", nil, (*suite).junkMessages},
	{"label and lines", nil, (*suite).labelAndLines},
	{"interrupted open", nil, (*suite).interruptedOpen},
	{"interrupted read", nil, (*suite).interruptedRead},
	{"parallel close", nil, (*suite).parallelClose},
	{"storm", func(c *clonefs.Config) { c.DefaultMaxConvs, c.DefaultMaxPerUser = 64, 64 }, (*suite).storm},
	{"end of the tree", nil, (*suite).endOfTree},
}

// path joins names below the device.
func (s *suite) path(elem ...string) string { return s.dev + "/" + strings.Join(elem, "/") }

// clone opens a conversation and returns its ctl and its number.
func (s *suite) clone(c *Client) (*File, string) {
	s.Helper()
	f := c.MustOpen(s.path("clone"), p9.ReadWrite)
	n, err := f.Number()
	if err != nil {
		s.Fatalf("read ctl: %v", err)
	}
	return f, n
}

// convs checks which conversations are listed.
func (s *suite) convs(when string, want ...string) {
	s.Helper()
	if got := s.super.Convs(s.dev); !slices.Equal(got, want) {
		s.Errorf("%s: conversations %v, want %v", when, got, want)
	}
}

// flags are what a file is opened with that has this mode: reading where that is possible.
func flags(f clonefs.FileInfo) p9.OpenFlags {
	if f.Mode&0o400 == 0 {
		return p9.WriteOnly
	}
	return p9.ReadOnly
}

func (s *suite) tables() {
	if s.info.Doc == "" || strings.HasSuffix(s.info.Doc, ".") {
		s.Errorf("Doc is %q, want one line without a period", s.info.Doc)
	}
	help, err := s.bob.ReadFile(s.path("help"))
	if err != nil {
		s.Fatal(err)
	}
	check := func(what, name, doc string) {
		if doc == "" || strings.HasSuffix(doc, ".") || strings.Contains(doc, "\n") {
			s.Errorf("help of %s %s is %q, want one line without a period", what, name, doc)
		}
		if !strings.Contains(help, name) || !strings.Contains(help, doc) {
			s.Errorf("the help file does not tell of %s %s", what, name)
		}
	}
	for _, m := range s.info.Messages {
		check("message", strings.TrimSpace(m.Word+" "+m.Args), m.Help)
	}
	for _, f := range s.info.Files {
		check("file", s.path("N", f.Name), f.Help)
	}
	for _, f := range s.info.Shared {
		check("file", s.path(f.Name), f.Help)
	}
	readme, err := s.bob.ReadFile("README")
	if err != nil || !strings.Contains(readme, s.dev) {
		s.Errorf("README does not tell of %s: %v", s.dev, err)
	}
	devices, err := s.bob.ReadFile("devices")
	if err != nil || !strings.HasPrefix(devices, s.dev+" 0 ") || !strings.HasSuffix(devices, " "+s.info.Doc+"\n") {
		s.Errorf("devices is %q, %v", devices, err)
	}
}

func (s *suite) plainFiles() {
	_, n := s.clone(s.alice)
	paths := []string{"", "README", "devices", s.dev, s.path(n)}
	want := map[string]p9.FileMode{s.path(n): 0o555}
	for _, f := range s.info.Shared {
		paths = append(paths, s.path(f.Name))
		want[s.path(f.Name)] = f.Mode
	}
	for _, f := range s.info.Files {
		paths = append(paths, s.path(n, f.Name))
		want[s.path(n, f.Name)] = f.Mode
	}
	seen := map[uint64]string{}
	var mtime uint64
	for _, path := range paths {
		f, err := s.bob.Walk(path)
		if err != nil {
			s.Errorf("walk %s: %v", path, err)
			continue
		}
		qid, valid, a, err := f.GetAttr(p9.AttrMaskAll)
		switch {
		case err != nil:
			s.Errorf("getattr %s: %v", path, err)
		case qid.Version != 0 || a.Size != 0 || a.NLink != 1 || !valid.Mode || !valid.Size:
			s.Errorf("%s is no plain file: %v %v", path, qid, a)
		case (qid.Type == p9.TypeDir) != a.Mode.IsDir() || !a.Mode.IsDir() && !a.Mode.IsRegular():
			s.Errorf("%s: type %v, mode %v", path, qid.Type, a.Mode)
		case mtime != 0 && a.MTimeSeconds != mtime:
			s.Errorf("%s: mtime %d, others have %d", path, a.MTimeSeconds, mtime)
		}
		if mode, ok := want[path]; ok && a.Mode.Permissions() != mode {
			s.Errorf("%s has mode %04o, want %04o", path, a.Mode.Permissions(), mode)
		}
		if strings.HasPrefix(path, s.path(n)) && a.UID != p9.UID(Alice.UID) {
			s.Errorf("%s belongs to %d, want %d", path, a.UID, Alice.UID)
		}
		mtime = a.MTimeSeconds
		if other, ok := seen[qid.Path]; ok {
			s.Errorf("%s and %s have one qid.path", path, other)
		}
		seen[qid.Path] = path
		if _, err := f.Mkdir("x", 0o777, 0, 0); !errors.Is(err, linux.EPERM) {
			s.Errorf("mkdir in %s: %v", path, err)
		}
		if _, err := f.GetXattr("security.capability"); !errors.Is(err, linux.EOPNOTSUPP) {
			s.Errorf("getxattr of %s: %v", path, err)
		}
	}
	for dir, want := range map[string]int{"": 3, s.dev: len(s.info.Shared) + 1, s.path(n): len(s.info.Files)} {
		list, err := s.bob.List(dir)
		if err != nil || len(list) < want {
			s.Errorf("list %q: %v, %v; want %d names", dir, list, err, want)
		}
		for _, name := range list {
			if _, err := s.bob.Walk(dir + "/" + name); err != nil {
				s.Errorf("%s lists %s: %v", dir, name, err)
			}
		}
	}
	for _, f := range s.info.Files { // truncation succeeds where writing does, and times may be set
		file, err := s.alice.Walk(s.path(n, f.Name))
		if err != nil {
			s.Fatal(err)
		}
		err = file.SetAttr(p9.SetAttrMask{Size: true, MTime: true, CTime: true}, p9.SetAttr{})
		if f.Mode&0o200 != 0 && err != nil {
			s.Errorf("truncate %s: %v", f.Name, err)
		}
		if err := file.SetAttr(p9.SetAttrMask{MTime: true, ATime: true}, p9.SetAttr{}); err != nil {
			s.Errorf("touch %s: %v", f.Name, err)
		}
		if err := file.SetAttr(p9.SetAttrMask{}, p9.SetAttr{}); err != nil {
			s.Errorf("blank setattr of %s: %v", f.Name, err)
		}
	}
}

func (s *suite) allocationAtOpen() {
	f, err := s.alice.Walk(s.path("clone"))
	if err != nil {
		s.Fatal(err)
	}
	if _, _, _, err := f.GetAttr(p9.AttrMaskAll); err != nil {
		s.Error(err)
	}
	_, g, err := f.Walk(nil)
	if err != nil {
		s.Fatal(err)
	}
	g.Close()
	s.convs("after walks and stats of clone")

	q, err := Open(s.Context(), f, p9.ReadWrite)
	if err != nil {
		s.Fatal(err)
	}
	s.convs("after the open", "0")
	ctl, err := s.alice.Walk(s.path("0", "ctl"))
	if err != nil {
		s.Fatal(err)
	}
	want, _, _, _ := ctl.GetAttr(p9.AttrMaskAll)
	if q != want {
		s.Errorf("the open of clone answered %v, 0/ctl is %v", q, want)
	}
	if now, _, _, err := f.GetAttr(p9.AttrMaskAll); now != want || err != nil {
		s.Errorf("the open clone is %v, %v, want %v", now, err, want)
	}
	if _, err := Open(s.Context(), f, p9.ReadOnly); err == nil {
		s.Error("one file was opened twice")
	}
	file := &File{f, q}
	if all, err := file.All(); all != "0\n" || err != nil {
		s.Errorf("ctl reads %q, %v", all, err)
	}
	p := make([]byte, 1)
	if n, err := file.Read(s.Context(), p, 1); n != 1 || p[0] != '\n' || err != nil {
		s.Errorf("ctl at offset 1 reads %q, %v", p[:n], err)
	}
	ctl.Close()
	s.convs("after the close of a file that was not opened", "0")
	f.Close()
	s.convs("after the close")
}

func (s *suite) lowestNumber() {
	var files []*File
	for i := range 4 {
		f, n := s.clone(s.alice)
		if n != fmt.Sprint(i) {
			s.Errorf("clone %d got number %s", i, n)
		}
		files = append(files, f)
	}
	files[1].Close()
	files[2].Close()
	s.convs("after two closes", "0", "3")
	for _, want := range []string{"1", "2", "4"} {
		if _, n := s.clone(s.alice); n != want {
			s.Errorf("clone got number %s, want %s", n, want)
		}
	}
	s.convs("at the end", "0", "1", "2", "3", "4")
}

func (s *suite) references() {
	for _, f := range s.info.Files {
		ctl, n := s.clone(s.alice)
		file, err := s.alice.Open(s.path(n, f.Name), flags(f))
		if err != nil {
			s.Logf("%s can't be opened at once: %v", f.Name, err)
			ctl.Close()
			continue
		}
		status, err := s.bob.ReadFile(s.path(n, "status"))
		opens := 1
		if f.Holds {
			opens = 2
		}
		if want := fmt.Sprintf(" owner alice opens %d\n", opens); err != nil || !strings.Contains(status, want) {
			s.Errorf("with %s open status is %q, %v; want %q", f.Name, status, err, want)
		}
		ctl.Close()
		if f.Holds {
			s.convs("held by "+f.Name, n)
		} else {
			s.convs("with only "+f.Name+" open", []string{}...)
			if f.Stream {
				s.ends(file, "a stream without reference: "+f.Name)
			}
		}
		file.Close()
		s.convs("after the close of "+f.Name, []string{}...)
	}
}

// ends reads or writes f until it is hung up.
func (s *suite) ends(f *File, what string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	p := make([]byte, 1<<16)
	var err error
	for err == nil {
		if _, err = f.Read(ctx, p, 0); errors.Is(err, linux.EBADF) {
			_, err = f.Write(ctx, []byte("x"), 0)
		}
	}
	CheckError(s, what, err, linux.EIO, "i/o on hungup channel")
}

// blocked parks a read of f, where f polls, and returns what goes on reading until it is hung up.
func (s *suite) blocked(f *File, what string) func() {
	s.Helper()
	r, ok := f.File.(p9ext.ReadPoller)
	if !ok {
		return func() { s.ends(f, what) }
	}
	b := make(bell, 1)
	p := make([]byte, 1<<16)
	for range 1000 { // as long as it has something to read
		_, err := r.PollRead(p, 0, b)
		if err == nil {
			continue
		}
		if err != p9ext.ErrWait {
			break
		}
		return func() {
			select {
			case <-b:
			case <-time.After(patience):
				s.Errorf("%s: not woken", what)
				r.Unpoll(b)
			}
			s.ends(f, what)
		}
	}
	return func() { s.ends(f, what) }
}

func (s *suite) dropOnce() {
	a, n := s.clone(s.alice)
	b := s.alice.MustOpen(s.path(n, "ctl"), p9.ReadOnly)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { a.Close() })
	}
	wg.Wait()
	s.convs("after eight closes of one of two", n)
	if got, err := b.Number(); got != n || err != nil {
		s.Errorf("the other reads %q, %v", got, err)
	}
	b.Close()
	s.convs("after the close of the other")
}

func (s *suite) freshIncarnation() {
	ctl, n := s.clone(s.alice)
	old := ctl.QID
	stale := map[string]p9.File{}
	for _, f := range s.info.Files {
		file, err := s.alice.Walk(s.path(n, f.Name))
		if err != nil {
			s.Fatal(err)
		}
		stale[f.Name] = file
	}
	dir, err := s.alice.Walk(s.path(n))
	if err != nil {
		s.Fatal(err)
	}
	stale["."] = dir
	ctl.Close()
	again, m := s.clone(s.alice)
	if m != n || again.QID == old {
		s.Errorf("conversation %s with %v came again as %s with %v", n, old, m, again.QID)
	}
	for name, f := range stale {
		_, _, _, err := f.GetAttr(p9.AttrMaskAll)
		CheckError(s, "getattr of stale "+name, err, linux.ENOENT, "file does not exist")
		_, err = Open(s.Context(), f, p9.ReadOnly)
		CheckError(s, "open of stale "+name, err, linux.ENOENT, "file does not exist")
		CheckError(s, "setattr of stale "+name, f.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{}), linux.ENOENT, "file does not exist")
		_, _, err = f.Walk(nil)
		CheckError(s, "walk from stale "+name, err, linux.ENOENT, "file does not exist")
		f.Close()
	}
	s.convs("at the end", n)
}

func (s *suite) hangup() {
	ctl, n := s.clone(s.alice)
	second := s.alice.MustOpen(s.path(n, "ctl"), p9.ReadWrite)
	var wg sync.WaitGroup
	for _, f := range s.info.Files {
		if !f.Stream || f.Mode&0o400 == 0 {
			continue
		}
		file, err := s.alice.Open(s.path(n, f.Name), p9.ReadOnly)
		if err != nil {
			s.Logf("%s can't be opened at once: %v", f.Name, err)
			continue
		}
		defer file.Close()
		wg.Go(s.blocked(file, "a blocked read of "+f.Name))
	}
	status := s.alice.MustOpen(s.path(n, "status"), p9.ReadOnly)
	if err := second.Say("hangup\n"); err != nil {
		s.Fatal(err)
	}
	s.convs("after hangup")
	wg.Wait()
	_, err := s.alice.Walk(s.path(n, "ctl"))
	CheckError(s, "walk", err, linux.ENOENT, "file does not exist")
	for name, f := range map[string]*File{"clone": ctl, "ctl": second, "status": status} {
		_, err := f.All()
		CheckError(s, "read of "+name, err, linux.EIO, "i/o on hungup channel")
	}
	CheckError(s, "ctl message", ctl.Say("label x"), linux.EIO, "i/o on hungup channel")
	ctl.Close()
	second.Close()
	s.convs("at the end")
}

func (s *suite) persist() {
	ctl, n := s.clone(s.alice)
	if err := ctl.Say("persist on\npersist on"); err != nil {
		s.Fatal(err)
	}
	ctl.Close()
	s.convs("persisting", n)
	ctl = s.alice.MustOpen(s.path(n, "ctl"), p9.ReadWrite)
	if err := ctl.Say("persist off"); err != nil {
		s.Fatal(err)
	}
	s.convs("held by ctl", n)
	ctl.Close()
	s.convs("released")

	ctl, n = s.clone(s.alice)
	if err := ctl.Say("persist on"); err != nil {
		s.Fatal(err)
	}
	ctl.Close()
	if err := s.alice.WriteFile(s.path(n, "ctl"), "hangup"); err != nil {
		s.Fatal(err)
	}
	s.convs("hung up")
	s.clone(s.alice) // and one left to the end of the tree
}

// limit reads the device's limit.
func (s *suite) limit() int {
	if l := s.fs.Stats()[0].Limit; l <= 64 {
		return l
	}
	s.Skip("the driver sets a limit of its own")
	return 0
}

func (s *suite) deviceLimit() {
	var last *File
	limit := s.limit()
	for range limit {
		last, _ = s.clone(s.super)
	}
	for _, c := range []*Client{s.super, s.bob} {
		_, err := c.Open(s.path("clone"), p9.ReadWrite)
		CheckError(s, "one too many", err, linux.ENOSPC, "no free devices")
	}
	last.Close()
	s.clone(s.super)
	text, err := s.bob.ReadFile(s.path("stats"))
	want := fmt.Sprintf("clones %d\nreleases 1\nrefused 2\nconversations %d\npeak %d\nlimit %d\n", limit+1, limit, limit, limit)
	if text != want || err != nil {
		s.Errorf("stats is %q, %v, want %q", text, err, want)
	}
}

func (s *suite) userLimit() {
	if s.limit() < 4 {
		s.Skip("too few")
	}
	ctl, n := s.clone(s.alice)
	_, err := s.alice.Open(s.path("clone"), p9.ReadWrite)
	if err == nil {
		s.Skip("the driver sets a limit of its own")
	}
	CheckError(s, "alice's second", err, linux.ENOSPC, "no free devices")
	s.clone(s.bob)
	if err := ctl.Say("persist on"); err != nil {
		s.Fatal(err)
	}
	ctl.Close()
	_, err = s.alice.Open(s.path("clone"), p9.ReadWrite)
	CheckError(s, "alice's second, the first persisting", err, linux.ENOSPC, "no free devices")
	if err := s.alice.WriteFile(s.path(n, "ctl"), "persist off"); err != nil {
		s.Fatal(err)
	}
	s.convs("persisted", "1")
	s.clone(s.super)
	s.clone(s.super)
}

func (s *suite) permissions() {
	_, n := s.clone(s.alice)
	try := func(c *Client, who string, f clonefs.FileInfo, want bool) {
		s.Helper()
		file, err := c.Open(s.path(n, f.Name), flags(f))
		if err == nil {
			file.Close()
		}
		if want && errors.Is(err, linux.EACCES) {
			s.Errorf("%s opens %s: %v", who, f.Name, err)
		}
		if !want {
			CheckError(s, who+" opens "+f.Name, err, linux.EACCES, "permission denied")
		}
	}
	group := clonefs.User{UID: 61003, GID: 61003, Groups: []uint32{61009}, Name: "carol"}
	carol := Attach(s, s.fs, group)
	dir, err := s.alice.Walk(s.path(n))
	if err != nil {
		s.Fatal(err)
	}
	for _, f := range s.info.Files {
		try(s.alice, "the owner", f, true)
		try(s.super, "the superuser", f, true)
		try(s.bob, "another", f, f.Mode&0o006 != 0)
		try(s.nobody, "nobody", f, f.Mode&0o006 != 0)
	}
	theirs, err := s.bob.Walk(s.path(n, "ctl"))
	if err != nil {
		s.Fatal(err)
	}
	err = theirs.SetAttr(p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o666})
	CheckError(s, "another's chmod", err, linux.EPERM, "permission denied")
	err = theirs.SetAttr(p9.SetAttrMask{UID: true}, p9.SetAttr{UID: p9.UID(Bob.UID)})
	CheckError(s, "another's chown", err, linux.EPERM, "permission denied")

	set := func(valid p9.SetAttrMask, attr p9.SetAttr) {
		s.Helper()
		if err := dir.SetAttr(valid, attr); err != nil {
			s.Fatal(err)
		}
	}
	set(p9.SetAttrMask{Permissions: true, CTime: true}, p9.SetAttr{Permissions: 0o666})
	for _, f := range s.info.Files {
		try(s.bob, "another, after chmod 666,", f, true)
	}
	set(p9.SetAttrMask{Permissions: true, GID: true}, p9.SetAttr{Permissions: 0o640, GID: 61009})
	for _, f := range s.info.Files {
		try(carol, "one of the group, after chmod 640,", f, f.Mode&0o400 != 0)
		try(s.alice, "the owner, after chmod 640,", f, true)
	}
	if _, err := s.bob.Walk(s.path(n, "ctl")); !errors.Is(err, linux.EACCES) {
		s.Errorf("another walks, after chmod 640: %v", err)
	}
	set(p9.SetAttrMask{UID: true, Permissions: true}, p9.SetAttr{UID: p9.UID(Bob.UID), Permissions: 0o660})
	try(s.bob, "the new owner", s.info.Files[0], true)
	if _, err := s.alice.Walk(s.path(n, "ctl")); !errors.Is(err, linux.EACCES) {
		s.Errorf("the old owner walks: %v", err)
	}
}

func (s *suite) ofNobody() {
	_, n := s.clone(s.nobody)
	for _, f := range s.info.Files {
		file, err := s.bob.Walk(s.path(n, f.Name))
		if err != nil {
			s.Fatal(err)
		}
		own := f.Mode >> 6 & 7
		_, _, a, err := file.GetAttr(p9.AttrMaskAll)
		if want := own<<6 | own<<3 | own; err != nil || a.Mode.Permissions() != want {
			s.Errorf("%s has mode %04o, %v, want %04o", f.Name, a.Mode.Permissions(), err, want)
		}
		if _, err := Open(s.Context(), file, flags(f)); errors.Is(err, linux.EACCES) {
			s.Errorf("%s: %v", f.Name, err)
		}
		file.Close()
	}
}

func (s *suite) interruptedOpen() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if f, err := s.alice.OpenContext(ctx, s.path("clone"), p9.ReadWrite); err == nil {
		f.Close()
		s.Error("an open whose context had ended succeeded")
	}
	s.convs("after an interrupted open")

	// The file is closed, or the context ends, while it is opened: whoever wins, nothing is left.
	for i := range s.o.Convs {
		f, err := s.alice.Walk(s.path("clone"))
		if err != nil {
			s.Fatal(err)
		}
		ctx, cancel := context.WithCancel(s.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, err = Open(ctx, f, p9.ReadWrite) })
		if i%2 == 0 {
			cancel()
		}
		f.Close()
		wg.Wait()
		f.Close()
		cancel()
	}
	s.convs("after opens that raced with their end")
}

func (s *suite) interruptedRead() {
	_, n := s.clone(s.alice)
	for _, f := range s.info.Files {
		if !f.Stream || f.Mode&0o400 == 0 {
			continue
		}
		file, err := s.alice.Open(s.path(n, f.Name), p9.ReadOnly)
		if err != nil {
			s.Logf("%s can't be opened at once: %v", f.Name, err)
			continue
		}
		ctx, cancel := context.WithTimeout(s.Context(), 20*time.Millisecond)
		p := make([]byte, 1<<16)
		for err == nil { // what there is to read; then it waits until interrupted
			n := 0
			if n, err = file.Read(ctx, p, 0); n == 0 && err == nil {
				break
			}
		}
		cancel()
		if err != nil {
			CheckError(s, "interrupted read of "+f.Name, err, linux.EINTR, "interrupted")
		}
		file.Close()
	}
}

func (s *suite) parallelClose() {
	var files []*File
	for range s.o.Convs {
		f, _ := s.clone(s.alice)
		files = append(files, f)
	}
	var wg sync.WaitGroup
	for _, f := range files {
		wg.Go(func() { f.Close() })
	}
	wg.Wait()
	s.convs("after all closes")
	if _, n := s.clone(s.alice); n != "0" {
		s.Errorf("the next has number %s", n)
	}
}

func (s *suite) endOfTree() {
	ctl, n := s.clone(s.alice)
	s.clone(s.bob)
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	if err := s.fs.Close(ctx); err != nil {
		s.Fatal(err)
	}
	CheckError(s, "message", ctl.Say("label x"), linux.EIO, "i/o on hungup channel")
	_, err := s.alice.Walk(s.path(n))
	CheckError(s, "walk", err, linux.ENOENT, "file does not exist")
	_, err = s.alice.Open(s.path("clone"), p9.ReadWrite)
	CheckError(s, "clone", err, linux.EIO, "i/o on hungup channel")
	if _, err := s.fs.AttachUser(ctx, Alice); err == nil {
		s.Error("attached to a tree that was closed")
	}
	if err := s.fs.Close(ctx); err != nil {
		s.Error(err)
	}
}

// openFiles is how many descriptors the process has, -1 where that can't be told.
func openFiles() int {
	if runtime.GOOS != "linux" {
		return -1
	}
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(d)
}

// checkOpenFiles waits until there are no more descriptors than before: the runtime closes some a moment after.
func checkOpenFiles(t *testing.T, before int) {
	deadline := time.Now().Add(patience / 6)
	for openFiles() > before {
		if time.Now().After(deadline) {
			t.Errorf("%d descriptors are open, %d were before", openFiles(), before)
			return
		}
		time.Sleep(time.Millisecond)
	}
}
