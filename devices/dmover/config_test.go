//go:build unix

package dmover

import (
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		roots []string
		want  string // part of the error
	}{
		{nil, ""},
		{[]string{"/srv"}, ""},
		{[]string{"/srv", "a=/x", "b=/y=z"}, ""},
		{[]string{"/with=sign"}, ""},
		{[]string{"srv"}, "is no absolute path"},
		{[]string{"a=srv"}, "is no absolute path"},
		{[]string{"=/srv"}, "has no name before the ="},
		{[]string{"/a", "/b"}, "two roots have no name"},
		{[]string{"a=/a", "a=/b"}, `two roots are called "a"`},
	} {
		conf := DefaultConfig()
		conf.Roots = c.roots
		_, err := New(conf)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.roots, err, c.want)
		}
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Limit = 0 }, func(c *Config) { c.PerUser = -1 }, func(c *Config) { c.Buffer = 0 }, func(c *Config) { c.Buffer = maxBuffer + 1 },
		func(c *Config) { c.Memory = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
