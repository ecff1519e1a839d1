package clonetest

import (
	"errors"
	"fmt"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

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

// truncates is Linux's O_TRUNC, as in all of p9.OpenFlags.
const truncates p9.OpenFlags = 0o1000

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
		for _, side := range []struct {
			bits  p9.FileMode
			flags p9.OpenFlags
		}{{0o444, p9.ReadOnly}, {0o222, p9.WriteOnly}, {0o222, p9.ReadWrite}, {0o222, p9.ReadOnly | truncates}} {
			if f.Mode&side.bits == 0 {
				_, err := s.super.Open(s.path(n, f.Name), side.flags)
				CheckError(s, fmt.Sprintf("the superuser opens %s with %o", f.Name, side.flags), err, linux.EACCES, "permission denied")
			}
		}
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
