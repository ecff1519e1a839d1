package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/spf13/pflag"
)

// A configuration file, TOML, has a key for each flag of serve: of the same name at its top for the server's own flags, and for those of a
// device, --DEV-NAME, the key NAME in the table DEV. The table access has the rules of access.go, which have no flags. Flags win over the
// file. The file is read again on SIGHUP: the rules and the names of the files of TLS are replaced, the rest is for the next start.

// A config is what one reading of a configuration file brought.
type config struct {
	values map[string][]string // by flag
	access accessRules
	tls    listen.TLSFiles // what they and the flags say together
}

// maxConfig is how large a configuration file may be, in bytes.
const maxConfig = 1 << 20

// readConfig reads the file called name. An error has a line for each mistake in it.
func readConfig(name string, flags *pflag.FlagSet, ks []kind) (*config, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if st.Mode().Perm()&0o002 != 0 && st.Mode().IsRegular() {
		return nil, fmt.Errorf("configuration: everybody may write %s, and with it decide who may do what here: chmod o-w", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(b) > maxConfig {
		err = fmt.Errorf("%s has more than %d bytes", name, maxConfig)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return parseConfig(name, string(b), flags, ks)
}

// parseConfig reads text, whose file is called name.
func parseConfig(name, text string, flags *pflag.FlagSet, ks []kind) (*config, error) {
	r := configReader{name: name}
	var top map[string]toml.Primitive
	md, err := toml.Decode(text, &top)
	if err != nil {
		r.fail(err)
		return nil, r.err()
	}
	r.md = &md
	c := &config{values: make(map[string][]string)}
	set := func(flag, key string, p toml.Primitive) {
		f := flags.Lookup(flag)
		if f == nil || flag == "config" || flag == "help" {
			r.refuse(p, "unknown key %s: clone9p config lists those that there are", key)
			return
		}
		r.value(p, func(v any) (err error) {
			c.values[flag], err = flagValues(f, key, v)
			return err
		})
	}
	r.table(top, func(key string, p toml.Primitive) {
		k := slices.IndexFunc(ks, func(k kind) bool { return k.name == key })
		switch {
		case key == "access":
			c.access = r.access(p, ks)
		case k >= 0:
			r.tableOf(p, func(option string, p toml.Primitive) { set(key+"-"+option, key+"."+option, p) })
		case slices.ContainsFunc(ks, func(k kind) bool { return strings.HasPrefix(key, k.name+"-") && flags.Lookup(key) != nil }):
			device, option, _ := strings.Cut(key, "-")
			r.refuse(p, "unknown key %s: it is %s in the table [%s]", key, option, device)
		default:
			set(key, key, p)
		}
	})
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// A configReader collects what is wrong with a file.
type configReader struct {
	name string
	md   *toml.MetaData
	errs []mistake
}

// A mistake is an error in a line of the file.
type mistake struct {
	line int
	text string
}

// err is all mistakes in the order of their lines, or nil.
func (r *configReader) err() error {
	slices.SortStableFunc(r.errs, func(a, b mistake) int { return a.line - b.line })
	var lines []string
	for _, m := range r.errs {
		lines = append(lines, fmt.Sprintf("%s:%d: %s", r.name, m.line, m.text))
	}
	if lines == nil {
		return nil
	}
	return errors.New(strings.Join(lines, "; "))
}

// fail notes an error of the library, which knows the line.
func (r *configReader) fail(err error) {
	m := mistake{1, err.Error()}
	var p toml.ParseError
	if errors.As(err, &p) {
		m = mistake{p.Position.Line, strings.TrimPrefix(p.Message, "toml: ")}
	}
	r.errs = append(r.errs, m)
}

// A valueFunc takes the value of a key; an error it returns gets the key's line.
type valueFunc func(any) error

// UnmarshalTOML implements toml.Unmarshaler.
func (fn valueFunc) UnmarshalTOML(v any) error { return fn(v) }

// value has fn take the value of a key.
func (r *configReader) value(p toml.Primitive, fn valueFunc) {
	if err := r.md.PrimitiveDecode(p, &fn); err != nil {
		r.fail(err)
	}
}

// refuse notes that a key should not be there. A table that is only named as the parent of others has no line: theirs is taken.
func (r *configReader) refuse(p toml.Primitive, format string, args ...any) {
	err := r.md.PrimitiveDecode(p, new(valueFunc(func(any) error { return fmt.Errorf(format, args...) })))
	var pe toml.ParseError
	var t map[string]toml.Primitive
	if errors.As(err, &pe) && pe.Position.Line == 0 && r.md.PrimitiveDecode(p, &t) == nil && len(t) > 0 {
		r.refuse(t[slices.Min(slices.Collect(maps.Keys(t)))], format, args...)
		return
	}
	r.fail(err)
}

// table calls fn for each key of a table, in the order of their names.
func (r *configReader) table(t map[string]toml.Primitive, fn func(key string, p toml.Primitive)) {
	var keys []string
	for key := range t {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		fn(key, t[key])
	}
}

// tableOf does the same for what must be a table.
func (r *configReader) tableOf(p toml.Primitive, fn func(key string, p toml.Primitive)) {
	isTable := false
	r.value(p, func(v any) error {
		if _, isTable = v.(map[string]any); !isTable {
			return errors.New("this is the name of a table")
		}
		return nil
	})
	if !isTable {
		return
	}
	var t map[string]toml.Primitive
	if err := r.md.PrimitiveDecode(p, &t); err != nil {
		r.fail(err)
		return
	}
	r.table(t, fn)
}

// flagType is the type of a flag's value, whatever its argument is called in help.
func flagType(f *pflag.Flag) string {
	if v, ok := f.Value.(namedValue); ok {
		return v.flagValue.Type()
	}
	return f.Value.Type()
}

// isList reports whether a flag may be given several times.
func isList(f *pflag.Flag) bool {
	t := flagType(f)
	return strings.HasSuffix(t, "Array") || strings.HasSuffix(t, "Slice")
}

// flagValues turns a value of the file into what one would write behind the flag, once for each time.
func flagValues(f *pflag.Flag, key string, v any) ([]string, error) {
	t := flagType(f)
	if isList(f) {
		return stringList(key, v)
	}
	var s string
	switch v := v.(type) {
	case string:
		if t == "bool" || strings.Contains(t, "int") {
			return nil, wrongType(key, t)
		}
		s = v
	case int64:
		if !strings.Contains(t, "int") && !strings.HasPrefix(t, "float") {
			return nil, wrongType(key, t)
		}
		s = fmt.Sprint(v)
	case bool:
		if t != "bool" {
			return nil, wrongType(key, t)
		}
		s = fmt.Sprint(v)
	case float64:
		if !strings.HasPrefix(t, "float") {
			return nil, wrongType(key, t)
		}
		s = fmt.Sprint(v)
	default:
		return nil, wrongType(key, t)
	}
	if err := tryValue(f, s); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return []string{s}, nil
}

// tryValue finds out whether the flag takes s, and leaves it as it was.
func tryValue(f *pflag.Flag, s string) error {
	old := f.Value.String()
	err := f.Value.Set(s)
	if e := f.Value.Set(old); e != nil && err == nil {
		return e
	}
	return err
}

func wrongType(key, t string) error {
	want := "a string in quotes"
	switch {
	case t == "bool":
		want = "true or false"
	case strings.Contains(t, "int"):
		want = "a whole number"
	case strings.HasPrefix(t, "float"):
		want = "a number"
	case t == "duration":
		want = `a time in quotes, such as "1m30s"`
	}
	return fmt.Errorf("%s wants %s", key, want)
}

// stringList reads a list of strings.
func stringList(key string, v any) ([]string, error) {
	list, ok := v.([]any)
	all := make([]string, 0, len(list))
	for _, e := range list {
		s, isString := e.(string)
		ok = ok && isString
		all = append(all, s)
	}
	if !ok {
		return nil, fmt.Errorf(`%s wants a list of strings, such as ["a", "b"]`, key)
	}
	return all, nil
}

// apply sets the flags that the command line has not set.
func (c *config) apply(flags *pflag.FlagSet) error {
	var err error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			return
		}
		for _, v := range c.values[f.Name] {
			err = errors.Join(err, f.Value.Set(v))
		}
	})
	return err
}

// differs lists the keys, access apart, that have other values in d than in c.
func (c *config) differs(d *config) []string {
	var keys []string
	for key := range c.values {
		if !slices.Equal(c.values[key], d.values[key]) {
			keys = append(keys, key)
		}
	}
	for key := range d.values {
		if _, ok := c.values[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// configure reads the configuration file, if there is one, and sets what the command line has left open.
func (o *serveOptions) configure(flags *pflag.FlagSet, ks []kind) error {
	o.reread = func() (*config, error) {
		c, err := readConfig(o.config, flags, ks)
		if err == nil {
			c.tls = c.tlsFiles(flags)
		}
		return c, err
	}
	o.conf = new(config)
	if o.config == "" {
		return nil
	}
	c, err := o.reread()
	if err != nil {
		return usageError{err}
	}
	o.conf = c
	return c.apply(flags)
}

// reload reads the configuration file again and has the tree follow its rules. later are the keys whose new values are for the next start. After
// an error nothing has changed.
func (o *serveOptions) reload(tree *clonefs.FS) (later []string, err error) {
	c, err := o.reread()
	if err != nil {
		return nil, err
	}
	if err := tree.Configure(c.access.of(tree.Stats())); err != nil {
		return nil, fmt.Errorf("%s: %w", o.config, err)
	}
	o.conf.access = c.access
	o.tlsFiles = c.tls
	later = o.conf.differs(c)
	if o.tls != nil {
		later = slices.DeleteFunc(later, isTLSFile)
	}
	return later, nil
}
