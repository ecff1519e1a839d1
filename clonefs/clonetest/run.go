package clonetest

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
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
