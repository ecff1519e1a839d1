package ethfoo

import (
	"strings"
	"testing"
)

func TestDefaultConfigIsValid(t *testing.T) {
	c := DefaultConfig()
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
}

func TestConfigErrorsNameTheSetting(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(*Config)
	}{
		{`prefix "" is empty`, func(c *Config) { c.Prefix = "" }},
		{`prefix "a/b" has "/" in it`, func(c *Config) { c.Prefix = "a/b" }},
		{`prefix "a%d" has "%" in it`, func(c *Config) { c.Prefix = "a%d" }},
		{`is longer than 9 bytes`, func(c *Config) { c.Prefix = "interfaces" }},
		{`limit is 0, it must be 1 to`, func(c *Config) { c.Limit = 0 }},
		{`per-user is -1`, func(c *Config) { c.PerUser = -1 }},
		{`queue is 5000, it must be 1 to 4096`, func(c *Config) { c.Queue = 5000 }},
		{`max-queue is 0`, func(c *Config) { c.MaxQueue = 0 }},
	} {
		config := DefaultConfig()
		c.change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q in it", err, c.want)
		}
	}
}

func TestOptionsPointIntoTheConfig(t *testing.T) {
	c := DefaultConfig()
	seen := map[string]bool{}
	for _, o := range c.Options() {
		if seen[o.Name] {
			t.Errorf("option %s is there twice", o.Name)
		}
		seen[o.Name] = true
		if _, flag := o.Value.(*bool); o.Help == "" || (o.Arg == "") != flag || strings.HasSuffix(o.Help, ".") {
			t.Errorf("option %s: help %q, argument %q", o.Name, o.Help, o.Arg)
		}
		switch v := o.Value.(type) {
		case *int:
			*v = 7
		case *bool:
			*v = true
		case *string:
			*v = "seven"
		default:
			t.Errorf("option %s has type %T", o.Name, v)
		}
	}
	if want := (Config{"seven", 7, 7, 7, true, 7}); c != want {
		t.Errorf("the options set %+v, want %+v", c, want)
	}
}
