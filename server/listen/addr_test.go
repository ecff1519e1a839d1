package listen

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // canonical form, or
		err  string // part of the error
	}{
		{in: "unix!/run/clone9p.sock", want: "unix!/run/clone9p.sock"},
		{in: "unix:/run/clone9p.sock", want: "unix!/run/clone9p.sock"},
		{in: "unix:@abstract!x", want: "unix!@abstract!x"},
		{in: "unix!here.sock", want: "unix!here.sock"},
		{in: "unix!/odd!name:here", want: "unix!/odd!name:here"},
		{in: "tcp!127.0.0.1!5640", want: "tcp!127.0.0.1!5640"},
		{in: "tcp!127.0.0.1:5640", want: "tcp!127.0.0.1!5640"},
		{in: "tcp:127.0.0.1:5640", want: "tcp!127.0.0.1!5640"},
		{in: "tcp!localhost!9pfs", want: "tcp!localhost!564"},
		{in: "tcp!fs.example!9fs", want: "tcp!fs.example!564"},
		{in: "tcp!*!564", want: "tcp!*!564"},
		{in: "tcp:*:0", want: "tcp!*!0"},
		{in: "tcp!::1!564", want: "tcp!::1!564"},
		{in: "tcp![::1]!564", want: "tcp!::1!564"},
		{in: "tcp:[::1]:564", want: "tcp!::1!564"},
		{in: "tcp!fe80::1%eth0!564", want: "tcp!fe80::1%eth0!564"},
		{in: "tls!fs.example!9pfs", want: "tls!fs.example!564"},
		{in: "tls:[::1]:564", want: "tls!::1!564"},
		{in: "tls!*:0", want: "tls!*!0"},

		{in: "stdio!", want: "stdio!"},
		{in: "stdio:", want: "stdio!"},
		{in: "fd!3", want: "fd!3"},
		{in: "fd:3,3", want: "fd!3"},
		{in: "fd!3,4", want: "fd!3,4"},
		{in: "exec!ssh host clone9p relay", want: "exec!ssh host clone9p relay"},
		{in: "systemd!", want: "systemd!"},
		{in: "systemd:clone9p.socket", want: "systemd!clone9p.socket"},
		{in: "vsock!any:5640", want: "vsock!any:5640"},
		{in: "vsock:4294967295:1", want: "vsock!any:1"},
		{in: "vsock!2!564", want: "vsock!host:564"},
		{in: "vsock!1:0", want: "vsock!local:0"},
		{in: "vsock!007:4294967294", want: "vsock!7:4294967294"},
		{in: "dev:/dev/vport0p1", want: "dev!/dev/vport0p1"},
		{in: "exec:a ! b : c", want: "exec!a ! b : c"},

		{in: "", err: "want unix!PATH, tcp!HOST!PORT or tls!HOST!PORT"},
		{in: "/run/clone9p.sock", err: "want unix!PATH, tcp!HOST!PORT or tls!HOST!PORT"},
		{in: "./clone9p.sock", err: "want unix!PATH, tcp!HOST!PORT or tls!HOST!PORT"},
		{in: "localhost", err: "want unix!PATH, tcp!HOST!PORT or tls!HOST!PORT"},
		{in: "localhost:564", err: `unknown network "localhost"`},
		{in: "udp!localhost!564", err: `unknown network "udp"`},
		{in: "unix!", err: "no path"},
		{in: "unix!@", err: "no name after unix!@"},
		{in: "unix!a\x00b", err: "NUL"},
		{in: "unix!/" + strings.Repeat("x", 200), err: "has 201 bytes"},
		{in: "tcp!localhost", err: "no port"},
		{in: "tcp![::1]", err: "no port"},
		{in: "tls!localhost", err: "no port: want tls!HOST!PORT"},
		{in: "tcp!localhost!", err: "no port"},
		{in: "tcp!!564", err: "no host"},
		{in: "tcp::564", err: "no host"},
		{in: "tcp!::1:564", err: "IPv6 address in brackets"},
		{in: "tcp!localhost!65536", err: `bad port "65536"`},
		{in: "tcp!localhost!-1", err: `bad port "-1"`},
		{in: "tcp!localhost!nosuchservice", err: `bad port "nosuchservice"`},
		{in: "tcp!a!b!564", err: `bad host "a!b"`},
		{in: "stdio!x", err: `nothing may follow stdio!, and "x" does`},
		{in: "fd!", err: `bad descriptor ""`},
		{in: "fd!3,", err: `bad descriptor ""`},
		{in: "fd!3,4,5", err: `bad descriptor "4,5"`},
		{in: "fd!-1", err: `bad descriptor "-1"`},
		{in: "fd!1048577", err: `bad descriptor "1048577"`},
		{in: "fd!x", err: `bad descriptor "x": want fd!R or fd!R,W`},
		{in: "fd!0,1", err: "want stdio! or a number from 3 on"},
		{in: "systemd!a:b", err: `bad name "a:b": want that of a socket of systemd`},
		{in: "systemd!a\nb", err: `bad name "a\nb"`},
		{in: "systemd!" + strings.Repeat("x", 256), err: "bad name"},
		{in: "vsock!", err: "no port: want vsock!CID:PORT"},
		{in: "vsock!3", err: "no port: want vsock!CID:PORT"},
		{in: "vsock!:3", err: `bad context identifier "": want any, host, local or a number`},
		{in: "vsock!-1:3", err: `bad context identifier "-1"`},
		{in: "vsock!4294967296:3", err: `bad context identifier "4294967296"`},
		{in: "vsock!guest:3", err: `bad context identifier "guest"`},
		{in: "vsock!3:4294967295", err: `bad port "4294967295": want 0 to 4294967294`},
		{in: "vsock!3:9pfs", err: `bad port "9pfs"`},
		{in: "dev!", err: "dev! needs the path of a device"},
		{in: "dev!a\x00b", err: "NUL"},
		{in: "exec! ", err: "exec! needs a command"},
		{in: "exec!a\x00b", err: "NUL"},
		{in: "tcp!a:b!564", err: `bad host "a:b"`},
	} {
		a, err := Parse(tt.in)
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("Parse(%q): %v", tt.in, err)
		case tt.err == "" && a.String() != tt.want:
			t.Errorf("Parse(%q) = %q, want %q", tt.in, a, tt.want)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("Parse(%q) = %q, %v; want an error with %q", tt.in, a, err, tt.err)
		}
	}
}

// FuzzParse holds that what is accepted has a canonical form that means the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"unix!/a", "tcp!h!1", "tcp:[::1]:9pfs", "tcp!*!0", "tcp!a:b:c", "unix:@x", "tcp![]!1", "stdio!", "fd!3,4", "exec:a b", "systemd!x", "vsock!any:1", "vsock:7!9", "tls:h:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			if err.Error() == "" || strings.Count(err.Error(), "\n") > 0 {
				t.Fatalf("Parse(%q): the error %q is not one sentence", s, err)
			}
			return
		}
		b, err := Parse(a.String())
		if err != nil || a != b {
			t.Fatalf("Parse(%q) = %#v, whose form %q parses as %#v, %v", s, a, a, b, err)
		}
	})
}

func TestDefault(t *testing.T) {
	if os.Getuid() == 0 {
		if a, err := Default(); err != nil || !strings.HasSuffix(a, "/run/clone9p.sock") {
			t.Errorf("Default() = %q, %v", a, err)
		}
		return
	}
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	if a, err := Default(); err != nil || a != "unix!"+dir+"/clone9p.sock" {
		t.Errorf("with XDG_RUNTIME_DIR: %q, %v", a, err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", dir)
	a, err := Default()
	if want := "unix!" + filepath.Join(dir, "clone9p-"+strconv.Itoa(os.Getuid()), "clone9p.sock"); err != nil || a != want {
		t.Errorf("without XDG_RUNTIME_DIR: %q, %v; want %q", a, err, want)
	}
}

func TestOwnDirRefusesOthers(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, link} {
		if err := ownDir(dir); err == nil || !strings.Contains(err.Error(), "only you can enter") {
			t.Errorf("ownDir(%s) = %v", filepath.Base(dir), err)
		}
	}
	mine := filepath.Join(t.TempDir(), "mine")
	for range 2 {
		if err := ownDir(mine); err != nil {
			t.Errorf("ownDir of a new directory: %v", err)
		}
	}
}
