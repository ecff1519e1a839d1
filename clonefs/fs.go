package clonefs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
)

// Config has the settings of a tree; a zero field means its default.
type Config struct {
	Log zerolog.Logger // nothing is logged by default

	// Superuser may do everything, and only the device's own limit stands in its way. The default is the user who runs the server.
	// Nobody is never the superuser.
	Superuser *p9.UID

	// Root has files for the root directory beside README, devices and those of the devices.
	Root []RootFile

	Readme string // text of /README; the default tells what the tree is and how to mount it
	Mount  string // the command that mounts the tree, for the default README

	// Devices overrides what the drivers' tables say, by device; a name that no driver has is an error.
	// [FS.Configure] replaces it while the tree is in use.
	Devices map[string]DeviceConfig

	DefaultMaxConvs   int // conversations at once of a device, 1024
	DefaultMaxPerUser int // of one user, half of the device's; the superuser has the device's
}

// A RootFile is a file in the root of the tree.
type RootFile struct {
	Name string
	Mode p9.FileMode            // 0444 by default
	Help string                 // one line, no period; for README
	Text func() (string, error) // called by each read at offset 0; it must not wait
}

// DeviceStats are the counters of one device.
type DeviceStats struct {
	Name, Doc string
	Clones    uint64 // conversations begun
	Releases  uint64 // and ended
	Refused   uint64 // opens of clone that failed
	Convs     int    // conversations now
	Peak      int    // the most there were at once
	Limit     int
}

// An FS is the tree. It is a p9.Attacher, under which everybody is the server's own user, and a p9ext.Attacher, under which everybody is
// himself.
// All methods are safe for concurrent use.
type FS struct {
	conf     Config
	log      zerolog.Logger
	failures failures
	super    uint32
	self     User   // who runs the server
	sec      uint64 // when the tree was made: the time of all files
	nsec     uint64

	entries []entry   // files of the root
	devices []*device // sorted by name
	byName  map[string]*device

	ctx    context.Context // ends with the tree
	cancel context.CancelFunc

	paths   atomic.Uint64  // the last qid.path given out
	running sync.WaitGroup // conversations and what counts as such, up to the end of their drivers' Close
	closed  atomic.Bool
}

var (
	_ p9.Attacher    = (*FS)(nil)
	_ p9ext.Attacher = (*FS)(nil)
)

const rootPath = 1 // qid.path of the root

// New builds the tree of the drivers. It returns an error for a table that makes no sense: names that occur twice, arguments that can't
// be parsed.
func New(c Config, drivers ...Driver) (*FS, error) {
	now := time.Now()
	fs := &FS{log: c.Log, sec: uint64(now.Unix()), nsec: uint64(now.Nanosecond()), byName: make(map[string]*device)}
	fs.paths.Store(rootPath)
	fs.ctx, fs.cancel = context.WithCancel(context.Background())
	fs.self = User{UID: uint32(max(0, os.Getuid())), GID: uint32(max(0, os.Getgid())), Addr: "self", Proven: true}
	fs.self.Name = strconv.Itoa(int(fs.self.UID))
	fs.super = fs.self.UID
	if c.Superuser != nil {
		fs.super = uint32(*c.Superuser)
	}
	fs.conf = c
	for _, driver := range drivers {
		t, err := driver.table()
		if err != nil {
			return nil, err
		}
		if fs.byName[t.name] != nil {
			return nil, fmt.Errorf("clonefs: two devices are called %s", t.name)
		}
		d := fs.newDevice(t)
		fs.byName[t.name] = d
		fs.devices = append(fs.devices, d)
	}
	slices.SortFunc(fs.devices, func(a, b *device) int { return cmp.Compare(a.name, b.name) })
	if err := fs.Configure(c.Devices); err != nil {
		return nil, err
	}

	fs.entries = []entry{
		{name: "README", help: "what this tree is"},
		{name: "devices", help: "one line a device: name, conversations, limit, what it is", static: fs.devicesText},
	}
	for _, f := range c.Root {
		if f.Text == nil {
			return nil, fmt.Errorf("clonefs: root file %s: no Text", f.Name)
		}
		if err := unique(fs.entries, f.Name); err != nil {
			return nil, fmt.Errorf("clonefs: root file %q: %w", f.Name, err)
		}
		fs.entries = append(fs.entries, entry{name: f.Name, mode: f.Mode & 0o444, help: f.Help, static: f.Text})
	}
	for i := range fs.entries {
		e := &fs.entries[i]
		e.path = fs.newPaths(1)
		if e.mode == 0 {
			e.mode = 0o444
		}
		if fs.byName[e.name] != nil {
			return nil, fmt.Errorf("clonefs: a device can't be called %s: it is a file of the root", e.name)
		}
	}
	readme := c.Readme
	if readme == "" {
		readme = fs.readme(c.Mount)
	}
	fs.entries[0].static = constant(readme)
	for _, d := range fs.devices {
		if d.table.begin != nil {
			d.table.begin(fs.log.With().Str("dev", d.name).Logger())
		}
	}
	return fs, nil
}

// newDevice builds a device's part of the tree.
func (fs *FS) newDevice(t *table) *device {
	d := &device{fs: fs, table: t, users: make(map[uint32]int)}
	d.entries = []entry{
		{name: "clone", mode: t.mode, kind: kindClone, help: cloneHelp},
		{name: "help", mode: 0o444, help: helpHelp, static: d.helpText},
		{name: "stats", mode: 0o444, help: statsHelp, static: d.statsText},
	}
	d.entries = append(d.entries, t.shared...)
	d.path = fs.newPaths(1)
	for i := range d.entries {
		d.entries[i].path = fs.newPaths(1)
	}
	for i := range t.files {
		t.files[i].path = uint64(1 + i)
	}
	return d
}

// Attach is p9.Attacher's: the root as the server's own user sees it.
func (fs *FS) Attach() (p9.File, error) { return fs.AttachUser(context.Background(), fs.self) }

// AttachUser is p9ext.Attacher's. It does not wait.
func (fs *FS) AttachUser(_ context.Context, u User) (p9.File, error) {
	if fs.closed.Load() {
		return nil, p9ext.ErrHungup
	}
	if u.Name == "" {
		u.Name = strconv.Itoa(int(u.UID))
	}
	return &dirFile{node{&view{fs, u}, place{}}}, nil
}

// Close ends all conversations and waits until the drivers have closed them, or ctx ends. Nothing can be opened afterwards.
// Only then, or where a driver could not close its device, it returns an error, which says how many conversations were left.
func (fs *FS) Close(ctx context.Context) error {
	fs.closed.Store(true)
	for _, d := range fs.devices {
		d.close()
	}
	fs.cancel() // and with it the Clones that still run
	done := make(chan struct{})
	go func() { // ends with the drivers' last Close
		fs.running.Wait()
		close(done)
	}()
	var failed []error
	select {
	case <-done:
	case <-ctx.Done():
		failed = append(failed, fmt.Errorf("clonefs: drivers have not closed %s: %w", strings.Join(fs.left(), ", "), context.Cause(ctx)))
	}
	for _, d := range fs.devices {
		if d.table.close != nil && d.shut.CompareAndSwap(false, true) {
			if err := d.table.close(); err != nil {
				failed = append(failed, fmt.Errorf("clonefs: closing %s: %w", d.name, err))
			}
		}
	}
	return errors.Join(failed...)
}

// left says which drivers have not closed what.
func (fs *FS) left() []string {
	var left []string
	for _, d := range fs.devices {
		d.mu.Lock()
		if d.inUse > 0 {
			left = append(left, fmt.Sprintf("%d of %s", d.inUse, d.name))
		}
		d.mu.Unlock()
	}
	if len(left) == 0 {
		left = []string{"a stream"}
	}
	return left
}

// Stats returns the counters of all devices, sorted by name.
func (fs *FS) Stats() []DeviceStats {
	all := make([]DeviceStats, len(fs.devices))
	for i, d := range fs.devices {
		all[i] = d.snapshot()
	}
	return all
}

// newPaths returns the first of n qid.paths that no file had or will have.
func (fs *FS) newPaths(n uint64) uint64 { return fs.paths.Add(n) - n + 1 }

// isSuper reports whether u may do everything.
func (fs *FS) isSuper(u *User) bool { return u.UID == fs.super && !u.IsNobody() }

func constant(text string) func() (string, error) { return func() (string, error) { return text, nil } }

// devicesText renders /devices.
func (fs *FS) devicesText() (string, error) {
	var b strings.Builder
	for _, s := range fs.Stats() {
		fmt.Fprintf(&b, "%s %d %d %s\n", s.Name, s.Convs, s.Limit, s.Doc)
	}
	return b.String(), nil
}

// truncates is the flag of an open that truncates, in Linux's numbers as all of p9.OpenFlags.
const truncates p9.OpenFlags = 0o1000

// wants turns the flags of an open into what access asks for. To truncate is to write, though nothing here has a length (open(5)).
func wants(flags p9.OpenFlags) (m Mode, want p9.FileMode, err error) {
	switch flags.Mode() {
	case p9.ReadOnly:
		m, want = Mode{Read: true}, 4
	case p9.WriteOnly:
		m, want = Mode{Write: true}, 2
	case p9.ReadWrite:
		m, want = Mode{Read: true, Write: true}, 6
	default:
		return Mode{}, 0, errBadMode
	}
	if flags&truncates != 0 {
		want |= 2
	}
	return m, want, nil
}
