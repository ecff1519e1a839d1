package clonefs_test

import (
	"errors"
	"regexp"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// People of the rules' tests. Carol is in group 700 by her second group, dave by his first.
var (
	carol = clonefs.User{UID: 61003, GID: 61003, Groups: []uint32{700, 701}, Name: "carol"}
	dave  = clonefs.User{UID: 61004, GID: 700, Name: "dave"}
	noone = clonefs.User{UID: p9ext.NobodyUID, GID: p9ext.NobodyGID, Name: "65534"} // on a machine that has no such user
)

// TestWhoMayClone goes through the order in which the rules are evaluated.
func TestWhoMayClone(t *testing.T) {
	alice, bob, nobody, super := clonetest.Alice, clonetest.Bob, clonetest.Nobody, clonetest.Super
	everybody := []clonefs.User{alice, bob, carol, dave, nobody, noone, super}
	uid := func(n uint32) *p9.UID { u := p9.UID(n); return &u }
	gid := func(n uint32) *p9.GID { g := p9.GID(n); return &g }
	names := func(s ...string) clonefs.Who { return clonefs.Who{Names: s} }
	for _, tt := range []struct {
		rule string
		conf clonefs.DeviceConfig
		in   []clonefs.User
	}{
		{"none", clonefs.DeviceConfig{}, everybody},
		{"deny by number", clonefs.DeviceConfig{Deny: clonefs.Who{UIDs: []uint32{alice.UID}}}, []clonefs.User{bob, carol, dave, nobody, noone, super}},
		{"deny by name", clonefs.DeviceConfig{Deny: names("alice", "bob")}, []clonefs.User{carol, dave, nobody, noone, super}},
		{"deny a group", clonefs.DeviceConfig{Deny: clonefs.Who{GIDs: []uint32{700}}}, []clonefs.User{alice, bob, nobody, noone, super}},
		{"deny nobody", clonefs.DeviceConfig{Deny: names("nobody")}, []clonefs.User{alice, bob, carol, dave, super}},
		{"deny the superuser", clonefs.DeviceConfig{Deny: clonefs.Who{UIDs: []uint32{super.UID}, Names: []string{"super"}}}, everybody},
		{"allow by number", clonefs.DeviceConfig{Allow: clonefs.Who{UIDs: []uint32{bob.UID}}}, []clonefs.User{bob, super}},
		{"allow by name", clonefs.DeviceConfig{Allow: names("carol")}, []clonefs.User{carol, super}},
		{"allow a group", clonefs.DeviceConfig{Allow: clonefs.Who{GIDs: []uint32{700}}}, []clonefs.User{carol, dave, super}},
		{"allow nobody", clonefs.DeviceConfig{Allow: names("nobody")}, []clonefs.User{nobody, noone, super}},
		{"allow a group and another", clonefs.DeviceConfig{Allow: clonefs.Who{GIDs: []uint32{701}, Names: []string{"bob"}}}, []clonefs.User{bob, carol, super}},
		{"deny goes before allow", clonefs.DeviceConfig{
			Deny: clonefs.Who{GIDs: []uint32{701}}, Allow: clonefs.Who{GIDs: []uint32{700}, UIDs: []uint32{carol.UID}},
		}, []clonefs.User{dave, super}},
		{"the mode alone", clonefs.DeviceConfig{Mode: 0o600}, []clonefs.User{super}},
		{"an owner", clonefs.DeviceConfig{Mode: 0o600, Owner: uid(alice.UID)}, []clonefs.User{alice, super}},
		{"a group of clone", clonefs.DeviceConfig{Mode: 0o660, Group: gid(700)}, []clonefs.User{carol, dave, super}},
		{"a group that is shut out", clonefs.DeviceConfig{Mode: 0o606, Group: gid(700)}, []clonefs.User{alice, bob, nobody, noone, super}},
		{"nobody as the owner", clonefs.DeviceConfig{Mode: 0o600, Owner: uid(p9ext.NobodyUID)}, []clonefs.User{nobody, noone, super}},
		{"allow does not open what the mode closes", clonefs.DeviceConfig{Mode: 0o660, Group: gid(700), Allow: names("alice", "dave")}, []clonefs.User{dave, super}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			mem := clonetest.Mem(clonetest.MemOptions{})
			fs := tree(t, clonefs.Config{Devices: map[string]clonefs.DeviceConfig{"mem": tt.conf}}, mem)
			clonetest.Attach(t, fs, super).MustOpen("mem/clone", p9.ReadWrite)
			all := clonetest.Attach(t, fs, super)
			n0, err := all.Walk("mem/0")
			if err != nil {
				t.Fatal(err)
			}
			if err := n0.SetAttr(p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o666}); err != nil {
				t.Fatal(err)
			}
			for _, u := range everybody {
				in := false
				for _, x := range tt.in {
					in = in || x.Name == u.Name
				}
				checkAdmitted(t, fs, u, in)
			}
		})
	}
}

// checkAdmitted checks that u can use the device mem, or nothing of it at all. mem/0 is open to everybody by its mode.
func checkAdmitted(t *testing.T, fs *clonefs.FS, u clonefs.User, in bool) {
	t.Helper()
	c := clonetest.Attach(t, fs, u)
	for _, path := range []string{"mem/clone", "mem/voice", "mem/level", "mem/0/ctl", "mem/0/note", "mem/0/data"} {
		f, err := c.Open(path, p9.ReadWrite)
		if err == nil {
			f.Close()
		}
		if !in {
			clonetest.CheckError(t, u.Name+" opens "+path, err, linux.EACCES, "permission denied")
		} else if err != nil {
			t.Errorf("%s opens %s: %v", u.Name, path, err)
		}
	}
	if _, err := c.Walk("mem/0"); in != (err == nil) || err != nil && !errors.Is(err, linux.EACCES) {
		t.Errorf("%s walks to mem/0: %v", u.Name, err)
	}
	if _, err := c.Walk("mem/7"); !errors.Is(err, linux.ENOENT) {
		t.Errorf("%s walks to what is not there: %v", u.Name, err)
	}
	for _, path := range []string{"mem", "mem/help", "mem/stats"} {
		f, err := c.Open(path, p9.ReadOnly)
		if err != nil {
			t.Errorf("%s opens %s: %v", u.Name, path, err)
			continue
		}
		f.Close()
	}
	if _, err := c.Walk("mem/clone"); err != nil {
		t.Errorf("%s cannot see clone: %v", u.Name, err)
	}
}

// TestConfigureAtWork changes who may clone while conversations are there: what is open stays open, fids that were only walked to do not.
func TestConfigureAtWork(t *testing.T) {
	mem := clonetest.Mem(clonetest.MemOptions{})
	fs := tree(t, clonefs.Config{}, mem)
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	ctl := alice.MustOpen("mem/clone", p9.ReadWrite)
	walked, err := alice.Walk("mem/0/note")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := alice.Walk("mem/0")
	if err != nil {
		t.Fatal(err)
	}

	if err := fs.Configure(map[string]clonefs.DeviceConfig{"mem": {Deny: clonefs.Who{Names: []string{"alice"}}, Mode: 0o662, MaxConvs: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := ctl.Say("echo still here"); err != nil {
		t.Errorf("what was open before: %v", err)
	}
	_, err = clonetest.Open(t.Context(), walked, p9.ReadOnly)
	clonetest.CheckError(t, "open of a file walked to before", err, linux.EACCES, "permission denied")
	_, _, err = dir.Walk([]string{"note"})
	clonetest.CheckError(t, "walk from a directory walked to before", err, linux.EACCES, "permission denied")
	err = walked.SetAttr(p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o666})
	clonetest.CheckError(t, "chmod of one's own", err, linux.EPERM, "permission denied")
	checkAdmitted(t, fs, clonetest.Alice, false)
	bob := clonetest.Attach(t, fs, clonetest.Bob)
	_, err = bob.Open("mem/clone", p9.ReadWrite)
	clonetest.CheckError(t, "reading and writing where the mode says writing", err, linux.EACCES, "permission denied")
	_, err = bob.Open("mem/clone", p9.WriteOnly)
	clonetest.CheckError(t, "beyond the new limit", err, linux.ENOSPC, "no free devices")
	if text, _ := bob.ReadFile("mem/help"); !regexp.MustCompile(`mem/clone +0662 `).MatchString(text) {
		t.Errorf("help tells another mode of clone:\n%s", text)
	}
	f, err := bob.Walk("mem/clone")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, a, err := f.GetAttr(p9.AttrMaskAll); a.Mode.Permissions() != 0o662 || err != nil {
		t.Errorf("clone has mode %v, %v", a.Mode, err)
	}

	for _, bad := range []map[string]clonefs.DeviceConfig{
		{"mem": {}, "men": {}},
		{"mem": {Limits: []clonefs.UserLimit{{Who: clonefs.Who{Names: []string{"bob"}}}}}},
	} {
		if err := fs.Configure(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	checkAdmitted(t, fs, clonetest.Alice, false) // nothing has changed
	if err := fs.Configure(nil); err != nil {
		t.Fatal(err)
	}
	alice.MustOpen("mem/clone", p9.ReadWrite)
}

// TestLimitsOfUsers has limits for one user, for groups, and for the rest.
func TestLimitsOfUsers(t *testing.T) {
	fs := tree(t, clonefs.Config{Devices: map[string]clonefs.DeviceConfig{"mem": {
		MaxConvs: 20, MaxPerUser: 2,
		Limits: []clonefs.UserLimit{
			{Who: clonefs.Who{GIDs: []uint32{700}}, Max: 3},
			{Who: clonefs.Who{GIDs: []uint32{701}}, Max: 4},
			{Who: clonefs.Who{UIDs: []uint32{dave.UID}}, Max: 1},
			{Who: clonefs.Who{Names: []string{"nobody"}}, Max: 5},
		},
	}}}, clonetest.Mem(clonetest.MemOptions{}))
	for _, tt := range []struct {
		u    clonefs.User
		want int
	}{
		{clonetest.Alice, 2},
		{carol, 4}, // the larger one of her groups
		{dave, 1},  // his own, though his group's is larger
		{clonetest.Nobody, 5},
		{clonetest.Super, 8}, // what is left
	} {
		c := clonetest.Attach(t, fs, tt.u)
		for range tt.want {
			c.MustOpen("mem/clone", p9.ReadWrite)
		}
		_, err := c.Open("mem/clone", p9.ReadWrite)
		clonetest.CheckError(t, "one more of "+tt.u.Name, err, linux.ENOSPC, "no free devices")
		_, err = c.Open("mem/voice", p9.ReadWrite)
		clonetest.CheckError(t, "a voice of "+tt.u.Name, err, linux.ENOSPC, "no free devices")
	}
}
