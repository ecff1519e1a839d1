package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestHelperName(t *testing.T) {
	for argv0, want := range map[string]string{
		"clone9p": "", "/usr/bin/clone9p": "", "mount.clone9p": "mount.clone9p", "/sbin/mount.clone9p": "mount.clone9p",
		"/sbin/mount.fuse.clone9p": "mount.fuse.clone9p", "mount.9p": "", "umount.clone9p": "", "": "",
	} {
		if got := helperName(argv0); got != want {
			t.Errorf("%q is the helper %q, want %q", argv0, got, want)
		}
	}
}

// What mount(8) asks of its helper, as a command of this program.
func TestParseHelper(t *testing.T) {
	for _, tt := range []struct{ name, line, want, err string }{
		{line: "unix!/s /n", want: "mount -- unix!/s /n"},
		{line: "unix!/s /n -o rw", want: "mount -- unix!/s /n"},
		{line: "-n -v -o rw,_netdev unix!/s /n", want: "mount -- unix!/s /n"},
		{line: "unix!/s /n -o aname=/ethfoo,nosuid,x-systemd.automount,noauto,ro,comment=a", want: "mount --aname=/ethfoo --options=nosuid,ro -- unix!/s /n"},
		{line: "unix!/s /n -sn -o nosuch,ro", want: "mount --options=ro -- unix!/s /n"},
		{line: "unix!/s /n -o ro -o fuse,allow_other", want: "mount --fuse --allow-other --options=ro -- unix!/s /n"},
		{line: "tls!h!1 /n -o tls_cert=/c,tls_key=/k,tls_ca=/a,access=user", want: "mount --tls-cert=/c --tls-key=/k --tls-ca=/a --access=user -- tls!h!1 /n"},
		{line: "unix!/s /n -o user,exec", want: "mount --options=nosuid,nodev -- unix!/s /n"},
		{line: "unix!/s /n -o exec,user", want: "mount --options=nosuid,nodev,noexec -- unix!/s /n"},
		{line: "unix!/s /n -o ro,nosuid,rw,suid,ro", want: "mount --options=ro -- unix!/s /n"},
		{line: "unix!/s /n -o sync,async,owner,msize=8192,kernel,log=/l", want: "mount --kernel --log=/l --options=nosuid,nodev,msize=8192 -- unix!/s /n"},
		{line: "unix!/s /n -t clone9p -o defaults,user=me", want: "mount -- unix!/s /n"},
		{line: "unix!/s /n -o aname=/x?a=1&b=2", want: "mount --aname=/x?a=1&b=2 -- unix!/s /n"},
		{line: "-- -o /n", want: "mount -- -o /n"},
		{name: helperFUSE, line: "unix!/s /n", want: "mount --fuse -- unix!/s /n"},
		{name: helperFUSE, line: "unix!/s /n -o fuse", want: "mount --fuse -- unix!/s /n"},

		{line: "", err: "want an address SPEC and a directory DIR"},
		{line: "unix!/s", err: "want an address SPEC and a directory DIR"},
		{line: "unix!/s /n /m", err: `no use for "/m"`},
		{line: "unix!/s /n -o cache=loose", err: "-o cache=loose: there is no such option"},
		{line: "unix!/s /n -o fuse=1", err: "-o fuse=1: fuse takes no value"},
		{line: "unix!/s /n -o aname", err: "-o aname: want aname=VALUE"},
		{line: "unix!/s /n -N /proc/1/ns/mnt", err: "-N /proc/1/ns/mnt: "},
		{line: "unix!/s /n -z", err: "unknown shorthand flag"},
	} {
		if tt.name == "" {
			tt.name = helperAny
		}
		h, err := parseHelper(tt.name, strings.Fields(tt.line))
		switch got := strings.Join(h.argv, " "); {
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s %s: error %v, want %q", tt.name, tt.line, err, tt.err)
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("%s %s\nis %s (%v)\nwant %s", tt.name, tt.line, got, err, tt.want)
		}
	}
	h, err := parseHelper(helperAny, []string{"-fv", "unix!/a b", "/n"})
	if err != nil || !h.fake || !h.verbose || h.argv[2] != "unix!/a b" {
		t.Errorf("-fv: %+v, %v", h, err)
	}
}

// A call that is not to mount says what it would do, and a wrong one ends as mount(8) has it.
func TestMountHelper(t *testing.T) {
	for _, tt := range []struct {
		args                   []string
		status                 int
		stdout, stderrContains string
	}{
		{[]string{"-fv", "unix!/s", "/n", "-o", "ro"}, 0, "mount.clone9p: clone9p mount --options=ro -- unix!/s /n\n", ""},
		{[]string{"unix!/s", "/n", "-o", "bogus"}, mountUsage, "", "mount.clone9p: -o bogus: there is no such option; see clone9p mount --help\n"},
		{[]string{"nonsense", "/n"}, mountUsage, "", `clone9p: address "nonsense": want `},
		{[]string{"unix!/s", "/n", "-o", "access=all"}, mountUsage, "", "clone9p: --access all: want any or user"},
	} {
		var stdout, stderr bytes.Buffer
		st := mountHelper(helperAny, tt.args, strings.NewReader(""), &stdout, &stderr)
		if st != tt.status || stdout.String() != tt.stdout || !strings.Contains(stderr.String(), tt.stderrContains) {
			t.Errorf("%q: status %d, %q, %q", tt.args, st, stdout.String(), stderr.String())
		}
	}
}

// Whatever stands in /etc/fstab, the address and the directory reach the command as they are, and no option becomes an argument.
func FuzzParseHelper(f *testing.F) {
	f.Add("unix!/s", "/n", "ro,aname=/x,user,exec", false)
	f.Add("--fuse", "-o", "x-a,,fuse", true)
	f.Fuzz(func(t *testing.T, spec, dir, options string, sloppy bool) {
		args := []string{"-o", options, "--", spec, dir}
		if sloppy {
			args = append([]string{"-s"}, args...)
		}
		h, err := parseHelper(helperAny, args)
		if err != nil {
			return
		}
		n := len(h.argv)
		if n < 4 || h.argv[n-3] != "--" || h.argv[n-2] != spec || h.argv[n-1] != dir {
			t.Fatalf("%q becomes %q", args, h.argv)
		}
		for _, a := range h.argv[1 : n-3] {
			if !strings.HasPrefix(a, "--") {
				t.Errorf("%q becomes %q", args, h.argv)
			}
		}
	})
}
