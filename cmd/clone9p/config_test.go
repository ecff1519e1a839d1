package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// serveFlags are the flags of serve and what they set.
func serveFlags() (*serveOptions, []kind, *pflag.FlagSet) {
	o, ks := new(serveOptions), kinds()
	cmd := (&app{}).serveCommand()
	cmd.ResetFlags()
	o.addFlags(cmd, ks)
	return o, ks, cmd.Flags()
}

// Every flag of serve has a key, and takes from the file what it takes from the command line.
func TestEveryFlagHasAKey(t *testing.T) {
	_, ks, flags := serveFlags()
	n := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" || f.Name == "help" {
			return
		}
		n++
		table, key := "", f.Name
		for _, k := range ks {
			if option, ok := strings.CutPrefix(f.Name, k.name+"-"); ok {
				table, key = "["+k.name+"]\n", option
			}
		}
		value := tomlValue(f)
		if isList(f) {
			value = `["a", "b"]`
		}
		c, err := parseConfig("test", table+key+" = "+value, flags, ks)
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			return
		}
		want := []string{f.Value.String()}
		if isList(f) {
			want = []string{"a", "b"}
		}
		if got := c.values[f.Name]; !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", f.Name, got, want)
		}
	})
	if n < 20 {
		t.Errorf("only %d flags were tried", n)
	}
}

// A flag on the command line wins, a list as a whole.
func TestFlagsWin(t *testing.T) {
	o, ks, flags := serveFlags()
	if err := flags.Parse([]string{"--listen", "unix!x", "--max-fids", "7"}); err != nil {
		t.Fatal(err)
	}
	c, err := parseConfig("test", "listen = [\"unix!a\"]\ndevice = [\"ethfoo\", \"pty\"]\nmax-fids = 8\nmax-conns = 9\nnet = \"host\"", flags, ks)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.apply(flags); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.listen, []string{"unix!x"}) || !slices.Equal(o.devices, []string{"ethfoo", "pty"}) ||
		o.limits.MaxFids != 7 || o.limits.MaxConns != 9 || o.net != "host" {
		t.Errorf("%+v", o)
	}
}

// Whatever is in the file, reading it ends with settings or with mistakes that have lines, and what it sets is shown as a file that sets the same.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{
		"", "listen = [\"a\"]\n[ethfoo]\nlimit = 3", "[access.ethfoo]\ndeny = [\"nobody\", \"@0\"]\nmode = \"0660\"\nlimits = {nobody = 3}",
		"[access.\"*\"]\nallow = [\"0\"]", "a.b.c = 1", "[[access]]", "max-conns = 1e9", "net = '''\nx'''", "[access]\nethfoo = 3", "write-timeout = \"1h\"",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, ks, flags := serveFlags()
		c, err := parseConfig("file", text, flags, ks)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "file:") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		o.conf = c
		if err := c.apply(flags); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		shown := o.text(flags, ks)
		p, ks, flags := serveFlags()
		if p.conf, err = parseConfig("file", shown, flags, ks); err == nil {
			err = p.conf.apply(flags)
		}
		if err != nil {
			t.Fatalf("%q is shown as\n%s: %v", text, shown, err)
		}
		if again := p.text(flags, ks); !bytes.Equal([]byte(again), []byte(shown)) {
			t.Fatalf("%q is shown as\n%s\nand then as\n%s", text, shown, again)
		}
	})
}
