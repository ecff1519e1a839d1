package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	p9client "github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// rights say what each may do with each file of the tree: the owner of the conversation that the file belongs to, a user of the conversation's group,
// another user, nobody, the superuser. Letters:
//
//	r  open it for reading
//	w  open it for writing; who may read as well may open it for both
//	t  truncate it by its name, with a setattr of size 0
//	m  change its mode
//
// DEV stands for each device, N for the number of a conversation. There is a row for every file, or the test fails; and a file for every row, unless the
// program has no such device.
var rights = []struct {
	files                              string
	owner, group, other, nobody, super string
}{
	{"/ DEV", "r", "r", "r", "r", "r"},
	{"README devices stats", "r", "r", "r", "r", "rt"},
	{"DEV/clone", "rwt", "rwt", "rwt", "rwt", "rwt"},
	{"DEV/help DEV/stats", "r", "r", "r", "r", "rt"},

	{"DEV/N", "rm", "r", "r", "r", "rm"},
	{"DEV/N/ctl", "rwtm", "rwt", "", "", "rwtm"},
	{"DEV/N/status", "rm", "r", "r", "r", "rtm"},

	{"audio/audio audio/volume", "rwt", "rwt", "rwt", "rwt", "rwt"},
	{"audio/audioctl", "", "", "", "", "wt"},
	{"audio/audiostat", "r", "r", "r", "r", "rt"},
	{"audio/N/data audio/N/volume", "rwtm", "rwt", "", "", "rwtm"},
	{"audio/N/rx", "rm", "r", "", "", "rtm"},
	{"audio/N/tx", "wtm", "wt", "", "", "wtm"},
	{"audio/N/meter audio/N/wait", "rm", "r", "r", "r", "rtm"},

	{"ethfoo/N/data", "rwtm", "rwt", "", "", "rwtm"},
	{"ethfoo/N/rx", "rm", "r", "", "", "rtm"},
	{"ethfoo/N/tx", "wtm", "wt", "", "", "wtm"},
	{"ethfoo/N/addr ethfoo/N/ifname ethfoo/N/stats ethfoo/N/ifstats ethfoo/N/type", "rm", "r", "r", "r", "rtm"},
	{"ethfoo/N/pcap", "rm", "r", "", "", "rtm"},

	{"dmover/functions", "r", "r", "r", "r", "rt"},
	{"dmover/N/data", "rwtm", "rwt", "", "", "rwtm"},
	{"dmover/N/rx", "rm", "r", "", "", "rtm"},
	{"dmover/N/tx", "wtm", "wt", "", "", "wtm"},
	{"dmover/N/out", "rm", "r", "", "", "rtm"},
	{"dmover/N/in0 dmover/N/in1 dmover/N/in2 dmover/N/in3 dmover/N/in4 dmover/N/in5 dmover/N/in6 dmover/N/in7", "wtm", "wt", "", "", "wtm"},

	{"pty/N/data", "rwtm", "rwt", "", "", "rwtm"},
	{"pty/N/rx", "rm", "r", "", "", "rtm"},
	{"pty/N/tx", "wtm", "wt", "", "", "wtm"},
	{"pty/N/winsize", "rwtm", "rwt", "", "", "rwtm"},
	{"pty/N/slave", "rm", "r", "r", "r", "rtm"},
}

// SECURITY.md shows the same table.
func TestRightsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	var served []string
	for _, k := range kinds() {
		served = append(served, k.name)
	}
	n := 0
	for _, row := range rights {
		if dev, _, _ := strings.Cut(row.files, "/"); dev != "" && !strings.ContainsAny(dev, " D") && !slices.Contains(served, dev) {
			continue
		}
		n++
		if row.other != row.nobody {
			t.Errorf("%s: SECURITY.md has no column for nobody alone", row.files)
		}
		line := strings.ReplaceAll(fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", row.files, row.owner, row.group, row.other, row.super), "  |", " |")
		if !strings.Contains(string(b), line) {
			t.Errorf("SECURITY.md does not have the line\n%s", line)
		}
	}
	if lines := strings.Count(string(b), "\n| `"); lines != n {
		t.Errorf("SECURITY.md has %d rows of rights, want %d", lines, n)
	}
}

// The five in the order of the table's columns.
var persons = []string{"the owner", "one of the group", "another", "nobody", "the superuser"}

const theOwner, ofGroup, another, asNobody, theSuper = 0, 1, 2, 3, 4

// Every file of every device is tried by everybody in every dialect: with the modes that it has at first, with those that its owner gives it, and in a
// conversation that is nobody's. All but nobody come over one connection of root, as the users of a mount with access=user do.
func TestRights(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root: only root may attach as several users")
	}
	if ok, why := checkTun(tunDevice); !ok {
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	users := threeUsers(t)
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, fmt.Appendf(nil, "[access.\"*\"]\ngroup = %q\n", users[ofGroup].Gid), 0o600); err != nil {
		t.Fatal(err)
	}
	unix, tcp := startServer(t, "--net", "private", "--config", config)
	for _, d := range []p9client.Dialect{p9client.P9L, p9client.P9u, p9client.P9} {
		t.Run(d.String(), func(t *testing.T) {
			c := connection(t, unix, d)
			var r tried
			for who := range persons {
				switch who {
				case asNobody:
					r.roots[who] = attachAs(t, connection(t, tcp, d), "", nil)
				case theSuper:
					r.roots[who] = attachAs(t, c, "root", new(uint32))
				default:
					uid := uidOf(t, users[who].Uid)
					r.roots[who] = attachAs(t, c, users[who].Username, &uid)
				}
			}
			r.devices = devicesOf(t, r.roots[theSuper])
			t.Run("as they are", func(t *testing.T) {
				r.asTheyAre(t, r.cloneAll(t, theOwner))
			})
			t.Run("as their owner says", func(t *testing.T) {
				r.changed(t, r.cloneAll(t, theOwner), theOwner)
			})
			t.Run("as the superuser says", func(t *testing.T) {
				r.changed(t, r.cloneAll(t, theOwner), theSuper)
			})
			t.Run("of nobody", func(t *testing.T) {
				r.ofNobody(t, r.cloneAll(t, asNobody))
			})
		})
	}
}

// threeUsers finds three ordinary users of this machine, the second of which has a group that the others do not have.
func threeUsers(t *testing.T) []*user.User {
	t.Helper()
	var found []*user.User
	for uid := 1; uid < 200 && len(found) < 3; uid++ {
		u, err := user.LookupId(strconv.Itoa(uid))
		if err != nil || u.Gid == "0" || u.Gid == strconv.Itoa(p9ext.NobodyGID) {
			continue
		}
		if gids, err := u.GroupIds(); err != nil || len(gids) != 1 || slices.ContainsFunc(found, func(f *user.User) bool { return f.Gid == u.Gid }) {
			continue
		}
		found = append(found, u)
	}
	if len(found) < 3 {
		t.Fatal("this machine does not have three users with a group of their own among the uids 1 to 199")
	}
	return found
}

func uidOf(t *testing.T, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// startServer serves on a unix socket and on a port of 127.0.0.1.
func startServer(t *testing.T, flags ...string) (unix, tcp string) {
	t.Helper()
	unix, tcp, _ = startProcess(t, flags...)
	return unix, tcp
}

// serverProcess starts a server and returns its process id.
func serverProcess(t *testing.T, flags ...string) int {
	t.Helper()
	_, _, pid := startProcess(t, flags...)
	return pid
}

func startProcess(t *testing.T, flags ...string) (unix, tcp string, pid int) {
	t.Helper()
	unix = "unix!" + filepath.Join(t.TempDir(), "s")
	cmd := program(append([]string{"serve", "--listen", unix, "--listen", "tcp!127.0.0.1!0", "--log-format", "json"}, flags...)...)
	cmd.Env = append(os.Environ(), "GORACE="+noSleep)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	serving, logged := make(chan []string, 1), make(chan struct{})
	go func() { // ends with the server
		defer close(logged)
		defer close(serving)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			said = append(said, lines.Text())
			var line struct {
				Message string
				Addr    []string
			}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "serving" {
				serving <- line.Addr
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		<-logged
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("the server ended with %v, its log is\n%s", err, strings.Join(said, "\n"))
		}
	})
	addr := <-serving
	if len(addr) != 2 {
		t.Fatalf("the server serves on %v", addr)
	}
	return unix, addr[1], cmd.Process.Pid
}

// connection begins a session in that dialect.
func connection(t *testing.T, addr string, d p9client.Dialect) *p9client.Conn {
	t.Helper()
	nc := dialPlain(t, addr)
	c, err := p9client.New(t.Context(), nc, p9client.Options{Dialects: []p9client.Dialect{d}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dialPlain connects to an address of the server.
func dialPlain(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := listen.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func attachAs(t *testing.T, c *p9client.Conn, name string, uid *uint32) *p9client.File {
	t.Helper()
	f, err := c.Attach(t.Context(), p9client.Attach{Name: "/?records=off", User: name, UID: uid})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// listing reads a directory, sorted by name.
func listing(t *testing.T, root *p9client.File, path string) []p9client.Dirent {
	t.Helper()
	f, err := root.OpenFile(t.Context(), path, p9.ReadOnly)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer f.Close()
	all, err := f.ReadDir(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	slices.SortFunc(all, func(a, b p9client.Dirent) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// devicesOf are the directories of the root.
func devicesOf(t *testing.T, root *p9client.File) []string {
	t.Helper()
	var names []string
	for _, e := range listing(t, root, "") {
		if e.QID.Type == p9.TypeDir {
			names = append(names, e.Name)
		}
	}
	if len(names) < 3 {
		t.Fatalf("the tree has the devices %v", names)
	}
	return names
}

// tried is the tree as each sees it.
type tried struct {
	roots   [5]*p9client.File
	devices []string
}

// A served file is one that the tree has, and what the table says of it.
type served struct {
	path string
	may  [5]string
	conv bool // it belongs to a conversation
	dir  bool
}

// cloneAll begins a conversation of who with each device and returns all files that the tree then has but those of others' conversations. The
// conversations end with the test.
func (r *tried) cloneAll(t *testing.T, who int) (files []served) {
	t.Helper()
	numbers := make(map[string]string)
	for _, dev := range r.devices {
		f, err := r.roots[who].OpenFile(t.Context(), dev+"/clone", p9.ReadWrite)
		if err != nil {
			t.Fatalf("%s clones %s: %v", persons[who], dev, err)
		}
		t.Cleanup(func() { f.Close() })
		p := make([]byte, 16)
		n, err := f.ReadContext(t.Context(), p, 0)
		if err != nil {
			t.Fatal(err)
		}
		numbers[dev] = strings.TrimSpace(string(p[:n]))
	}
	rows := r.rows(t)
	add := func(path, name string, dir bool) {
		may, ok := rows[name]
		if !ok {
			t.Errorf("%s has no row in the table of rights", name)
			return
		}
		files = append(files, served{path, may, strings.Contains(name, "/N"), dir})
		delete(rows, name)
	}
	add("", "/", true)
	for _, e := range listing(t, r.roots[theSuper], "") {
		add(e.Name, e.Name, e.QID.Type == p9.TypeDir)
	}
	for _, dev := range r.devices {
		for _, e := range listing(t, r.roots[theSuper], dev) {
			path := dev + "/" + e.Name
			switch {
			case e.QID.Type != p9.TypeDir:
				add(path, path, false)
			case e.Name == numbers[dev]:
				add(path, dev+"/N", true)
				for _, e := range listing(t, r.roots[theSuper], path) {
					add(path+"/"+e.Name, dev+"/N/"+e.Name, e.QID.Type == p9.TypeDir)
				}
			}
		}
	}
	for name := range rows {
		t.Errorf("the tree has no %s", name)
	}
	return files
}

// rows are the table by file.
func (r *tried) rows(t *testing.T) map[string][5]string {
	t.Helper()
	rows := make(map[string][5]string)
	for _, row := range rights {
		for file := range strings.FieldsSeq(row.files) {
			names := []string{file}
			if rest, ok := strings.CutPrefix(file, "DEV"); ok {
				names = nil
				for _, dev := range r.devices {
					names = append(names, dev+rest)
				}
			}
			for _, name := range names {
				if dev, _, ok := strings.Cut(name, "/"); ok && dev != "" && !slices.Contains(r.devices, dev) {
					continue
				}
				if _, twice := rows[name]; twice {
					t.Fatalf("%s has two rows", name)
				}
				rows[name] = [5]string{row.owner, row.group, row.other, row.nobody, row.super}
			}
		}
	}
	return rows
}

// ofTheServer are files that belong to the server's user and group, which none of those who try is or is in, and the modes that they are to have.
var ofTheServer = map[string]p9.FileMode{"audio/audioctl": 0o220}

// mode is the mode that the file is to have at first.
func (f *served) mode() p9.FileMode {
	if mode, ok := ofTheServer[f.path]; ok {
		return mode
	}
	return bitsOf(f.may[theOwner])<<6 | bitsOf(f.may[ofGroup])<<3 | bitsOf(f.may[another])
}

// asTheyAre has everybody try everything that the table says.
func (r *tried) asTheyAre(t *testing.T, files []served) {
	for _, f := range files {
		mode := f.mode()
		for who := range persons {
			r.mode(t, who, f, mode)
			r.try(t, who, f, f.may[who])
			if !strings.Contains(f.may[who], "m") {
				r.chmod(t, who, f, 0o666, false)
			}
		}
	}
	for who := range persons { // of which none has done anything
		for _, f := range files {
			r.mode(t, who, f, f.mode())
		}
	}
}

// changed has who change the mode of each file, with which that of all files of its conversation changes.
func (r *tried) changed(t *testing.T, files []served, who int) {
	const last = 0o604 // the others may read what the owner may; the group is out
	for _, mask := range []p9.FileMode{0o640, 0o646, 0, last} {
		for _, f := range files {
			if f.conv {
				r.chmod(t, who, f, mask, true)
				r.mode(t, theSuper, f, maskedMode(f, mask))
			}
		}
	}
	for _, f := range files {
		if !f.conv {
			continue
		}
		may := f.may[theOwner]
		r.try(t, theOwner, f, may)
		r.try(t, ofGroup, f, "")
		r.try(t, another, f, among(may, "r"))
		r.try(t, asNobody, f, among(may, "r"))
		r.try(t, theSuper, f, f.may[theSuper])
		for _, who := range []int{ofGroup, another, asNobody} {
			r.chmod(t, who, f, 0o666, false)
		}
	}
}

// ofNobody has everybody try a conversation that is nobody's: whoever can attach at all is nobody, so it is everybody's, though only nobody and the
// superuser change its mode.
func (r *tried) ofNobody(t *testing.T, files []served) {
	for _, f := range files {
		if !f.conv {
			continue
		}
		for who := range persons {
			r.mode(t, who, f, maskedMode(f, 0o666))
			may := among(f.may[theOwner], "rwt")
			if who == theSuper {
				may = f.may[theSuper]
			}
			r.try(t, who, f, may)
			r.chmod(t, who, f, 0o666, who == asNobody || who == theSuper)
		}
	}
}

// maskedMode is the mode of f in a conversation with that mask: what the file has for its owner, for those whom the mask lets.
func maskedMode(f served, mask p9.FileMode) p9.FileMode {
	if f.dir { // everybody who may do anything with the files may look which there are, and the owner always
		mode := p9.FileMode(0o500)
		for _, shift := range []int{0, 3, 6} {
			if mask>>shift&7 != 0 {
				mode |= 5 << shift
			}
		}
		return mode
	}
	own := bitsOf(f.may[theOwner])
	return mask & (own<<6 | own<<3 | own)
}

// bitsOf are the permission bits of these letters.
func bitsOf(may string) (b p9.FileMode) {
	if strings.Contains(may, "r") {
		b |= 4
	}
	if strings.Contains(may, "w") {
		b |= 2
	}
	return b
}

// among are the letters of may that are among those.
func among(may, those string) string {
	return strings.Map(func(l rune) rune {
		if strings.ContainsRune(those, l) {
			return l
		}
		return -1
	}, may)
}

// walk walks to f. Whoever is kept out of a conversation's directory does not get there; what he wanted then fails for the same reason.
func (r *tried) walk(t *testing.T, who int, f served) (*p9client.File, error) {
	t.Helper()
	file, err := r.roots[who].Walk(t.Context(), f.path)
	if err != nil && !errors.Is(err, linux.EACCES) {
		t.Fatalf("%s walks to %s: %v", persons[who], f.path, err)
	}
	return file, err
}

// mode wants f to have that mode when who looks at it.
func (r *tried) mode(t *testing.T, who int, f served, want p9.FileMode) {
	t.Helper()
	file, err := r.walk(t, who, f)
	if err != nil {
		t.Errorf("%s walks to %s: %v", persons[who], f.path, err)
		return
	}
	defer file.Close()
	a, err := file.GetAttr(t.Context())
	if f.dir && !f.conv {
		want = 0o555
	} else if f.dir && want == 0o444 { // can be searched as well
		want = 0o555
	}
	if got := a.Mode.Permissions(); err != nil || got != want {
		t.Errorf("%s sees %s with mode %04o, %v, want %04o", persons[who], f.path, got, err, want)
	}
}

// try has who open f in all ways and truncate it, of which may says what succeeds.
func (r *tried) try(t *testing.T, who int, f served, may string) {
	t.Helper()
	reads, writes := strings.Contains(may, "r"), strings.Contains(may, "w")
	for _, open := range []struct {
		how   string
		flags p9.OpenFlags
		want  bool
	}{
		{"reading", p9.ReadOnly, reads},
		{"writing", p9.WriteOnly, writes},
		{"both", p9.ReadWrite, reads && writes},
		{"writing, truncated", p9.WriteOnly | p9client.Truncate, writes},
		{"both, truncated", p9.ReadWrite | p9client.Truncate, reads && writes},
		{"reading, truncated", p9.ReadOnly | p9client.Truncate, reads && writes}, // open(5): OTRUNC wants the permission to write
	} {
		file, err := r.walk(t, who, f)
		if err == nil {
			err = file.Open(t.Context(), open.flags)
			if e := file.Close(); e != nil {
				t.Errorf("%s closes %s: %v", persons[who], f.path, e)
			}
		}
		denied := linux.EACCES
		if f.dir && open.flags != p9.ReadOnly && !errors.Is(err, linux.EACCES) {
			denied = linux.EISDIR
		}
		if open.want && err != nil || !open.want && !errors.Is(err, denied) {
			t.Errorf("%s opens %s for %s: %v; may he: %v", persons[who], f.path, open.how, err, open.want)
		}
	}
	if f.dir {
		return
	}
	file, err := r.walk(t, who, f)
	if err == nil {
		err = file.SetAttr(t.Context(), p9client.SetSize, p9client.Attr{})
		file.Close()
	}
	r.set(t, who, f, "truncates", err, strings.Contains(may, "t"))
}

// chmod has who change the mode of f.
func (r *tried) chmod(t *testing.T, who int, f served, mode p9.FileMode, want bool) {
	t.Helper()
	file, err := r.walk(t, who, f)
	if err == nil {
		err = file.SetAttr(t.Context(), p9client.SetMode, p9client.Attr{Mode: mode})
		file.Close()
	}
	r.set(t, who, f, "changes the mode of", err, want)
}

// set wants err to be what a setattr is to end with.
func (r *tried) set(t *testing.T, who int, f served, what string, err error, want bool) {
	t.Helper()
	denied := errors.Is(err, linux.EPERM) || errors.Is(err, linux.EACCES) // plain 9P2000 has the same words for both
	if want && err != nil || !want && !denied {
		t.Errorf("%s %s %s: %v; may he: %v", persons[who], what, f.path, err, want)
	}
}
