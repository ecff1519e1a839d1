package clonefs

import (
	"context"
	"testing"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// TestServerRunByNobody has the files of a server that nobody runs: whoever is unknown is neither their owner nor of their group, and so has no part in
// conversations of others, whose group is the server's.
func TestServerRunByNobody(t *testing.T) {
	fs, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	fs.self = User{UID: p9ext.NobodyUID, GID: p9ext.NobodyGID, Name: "nobody"}
	fs.super = fs.self.UID
	d := &Device[Closer]{Name: "dev", Clone: func(context.Context, *Conv) (Closer, error) { return nil, ErrTaken }}
	tab, err := d.table()
	if err != nil {
		t.Fatal(err)
	}
	alice := &User{UID: 1000, GID: 1000, Groups: []uint32{p9ext.NobodyGID}, Name: "alice"}
	nobody := &User{UID: p9ext.NobodyUID, GID: p9ext.NobodyGID, Name: "nobody"}
	clone := func(c DeviceConfig) perms {
		p, err := tab.policy(c, &fs.conf, &fs.self)
		if err != nil {
			t.Fatal(err)
		}
		return p.perms
	}
	owner, group := p9.UID(p9ext.NobodyUID), p9.GID(p9ext.NobodyGID)
	for _, tt := range []struct {
		what          string
		perms         perms
		alice, nobody p9.FileMode
	}{
		{"a file of the device", perms{mode: 0o640, uid: owner, gid: group}, 0, 0},
		{"clone", clone(DeviceConfig{}), 6, 6},
		{"clone, closed", clone(DeviceConfig{Mode: 0o660}), 0, 0},
		{"clone of an owner of that name", clone(DeviceConfig{Mode: 0o640, Owner: &owner}), 0, 6},
		{"clone of a group of that name", clone(DeviceConfig{Mode: 0o640, Group: &group}), 4, 4},
		{"alice's", perms{mode: 0o660, uid: 1000, gid: group, nobodyOwns: true}, 6, 0},
		{"bob's", perms{mode: 0o660, uid: 1001, gid: group, nobodyOwns: true}, 0, 0},
		{"nobody's", perms{mode: 0o600, uid: owner, gid: group, nobodyOwns: true}, 0, 6},
	} {
		if got := tt.perms.class(alice); got != tt.alice {
			t.Errorf("%s: alice has %o, want %o", tt.what, got, tt.alice)
		}
		if got := tt.perms.class(nobody); got != tt.nobody {
			t.Errorf("%s: nobody has %o, want %o", tt.what, got, tt.nobody)
		}
	}
	if fs.isSuper(nobody) {
		t.Error("nobody is the superuser")
	}
}
