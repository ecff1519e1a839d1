package pulse

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		server string
		want   []address
	}{
		{"/run/p/native", []address{{"unix", "/run/p/native"}}},
		{"unix:/run/p/native", []address{{"unix", "/run/p/native"}}},
		{"tcp:box:99", []address{{"tcp", "box:99"}}},
		{"tcp4:10.0.0.1", []address{{"tcp4", "10.0.0.1:4713"}}},
		{"tcp6:[::1]", []address{{"tcp6", "[::1]:4713"}}},
		{"tcp6:[::1]:99", []address{{"tcp6", "[::1]:99"}}},
		{"box", []address{{"tcp", "box:4713"}}},
		{"box:99", []address{{"tcp", "box:99"}}},
		{"  /a\ttcp:b ", []address{{"unix", "/a"}, {"tcp", "b:4713"}}},
		{"{" + host + "}/a {of-nobody}/b", []address{{"unix", "/a"}}},
	} {
		got, err := addresses(c.server)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, %v, want %v", c.server, got, err, c.want)
		}
	}
	for server, want := range map[string]string{
		"{box":         "wants a }",
		"unix:":        "names no server",
		"tcp:":         "names no server",
		"{of-nobody}a": "no server for this machine",
		" ":            "no server for this machine",
	} {
		if got, err := addresses(server); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want an error with %q", server, got, err, want)
		}
	}
}

func TestDefaultAddresses(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PULSE_SERVER", "")
	t.Setenv("PULSE_RUNTIME_PATH", "")
	t.Setenv("XDG_RUNTIME_DIR", dir)
	own, system := address{"unix", filepath.Join(dir, "pulse", "native")}, address{"unix", "/run/pulse/native"}
	got, err := addresses("")
	if err != nil || got[0] != own || !slices.Contains(got, system) {
		t.Errorf("%v, %v", got, err)
	}
	// A directory that is not ours, or not there, is passed over.
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "none"))
	if got, err = addresses(""); err != nil || slices.Contains(got, address{"unix", filepath.Join(dir, "none", "pulse", "native")}) {
		t.Errorf("without a run-time directory: %v, %v", got, err)
	}
	t.Setenv("PULSE_SERVER", "tcp:box")
	if got, err = addresses(""); err != nil || !slices.Equal(got, []address{{"tcp", "box:4713"}}) {
		t.Errorf("with PULSE_SERVER: %v, %v", got, err)
	}
}

func TestCookie(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("PULSE_COOKIE", "")
	if got := cookie(); !bytes.Equal(got, make([]byte, cookieSize)) {
		t.Errorf("without a file: %v", got)
	}
	write := func(name string, n int, fill byte) string {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, bytes.Repeat([]byte{fill}, n), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write(".pulse-cookie", cookieSize, 'c')
	write(".config/pulse/cookie", cookieSize-1, 'b') // cut short: of no use
	if got := cookie(); !bytes.Equal(got, bytes.Repeat([]byte{'c'}, cookieSize)) {
		t.Errorf("with the old file: %q", got)
	}
	write(".config/pulse/cookie", cookieSize, 'b')
	if got := cookie(); got[0] != 'b' {
		t.Errorf("with the usual file: %q", got)
	}
	t.Setenv("PULSE_COOKIE", write("mine", cookieSize+1, 'a'))
	if got := cookie(); len(got) != cookieSize || got[0] != 'a' {
		t.Errorf("with PULSE_COOKIE: %q", got)
	}
}

func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"/a", "unix:/a", "tcp:b:1", "{c}tcp6:[::1]", "{", "{}", "tcp:[", ":", "a:b:c", "{c} d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		t.Setenv("PULSE_SERVER", "") // "" is the default
		list, err := addresses(s)
		if (err == nil) != (len(list) > 0) {
			t.Fatalf("%v, %v", list, err)
		}
		for _, a := range list {
			if a.network == "" || a.address == "" {
				t.Fatalf("%q", a)
			}
		}
	})
}
