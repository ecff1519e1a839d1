package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) configCommand() *cobra.Command {
	var o serveOptions
	ks := kinds()
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the settings of serve as a configuration file",
		Long: `Config writes a configuration file for serve: each key with what it does and, behind #, its default. It takes the
flags of serve, --config among them, and what these set stands there without the #: with --config alone it checks a file
and shows what serve would make of it.

Each flag of serve has a key of the same name, those of a device stand in a table: --ethfoo-limit is limit in [ethfoo].
The tables [access.DEV], which have no flags, say who may use a device. The first of these that applies counts:

  1. The server's own user may do everything.
  2. Whom deny names may not use the device.
  3. Where there is an allow, whom it does not name may not use it.
  4. Whom mode, owner and group let neither read nor write DEV/clone may not use it.

Who may not use a device can list its directory and read help and stats there, and nothing else. A user is a name or a
number, a group one with @ before it, nobody is whoever is unknown. limits is how many conversations at once a user may
have: his own, or else the largest of his groups', or else the device's. [access."*"] is for each device without a table
of its own.`,
		Example: `  clone9p config > clone9p.toml
  clone9p config --config clone9p.toml
  clone9p serve --config clone9p.toml`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.configure(cmd.Flags(), ks); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			if _, err := choose(ks, o.devices); err != nil {
				return err
			}
			for _, k := range ks {
				if _, err := k.build(); err != nil && slices.ContainsFunc(k.options, func(opt clonefs.Option) bool { return o.sets(cmd.Flags(), k.name+"-"+opt.Name) }) {
					return usageError{err}
				}
			}
			_, err := fmt.Fprint(a.stdout, o.text(cmd.Flags(), ks))
			return err
		},
	}
	o.addFlags(cmd, ks)
	return cmd
}

// sets reports whether the command line or the file sets a flag.
func (o *serveOptions) sets(flags *pflag.FlagSet, name string) bool {
	_, inFile := o.conf.values[name]
	return inFile || flags.Changed(name)
}

// text renders the settings as a configuration file.
func (o *serveOptions) text(flags *pflag.FlagSet, ks []kind) string {
	var b strings.Builder
	b.WriteString("# Settings of clone9p serve. A flag of the same name wins. What stands behind # is the default.\n")
	device := make(map[string]bool) // the flags of devices
	for _, k := range ks {
		for _, opt := range k.options {
			device[k.name+"-"+opt.Name] = true
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" && f.Name != "help" && !device[f.Name] {
			o.writeKey(&b, flags, f, f.Name)
		}
	})
	for _, k := range ks {
		if len(k.options) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n[%s]\n", k.name)
		for _, opt := range k.options {
			o.writeKey(&b, flags, flags.Lookup(k.name+"-"+opt.Name), opt.Name)
		}
	}
	if len(o.conf.access) == 0 {
		fmt.Fprintf(&b, `
# Who may use a device; clone9p config --help has the order.
#[access.%s]
#mode = "0660"              # of clone, with
#owner = "root"
#group = "staff"
#deny = ["mallory", "nobody"]
#allow = ["alice", "@staff"]
#limits = { alice = 100, "@staff" = 10 }
`, ks[0].name)
	}
	for _, device := range slices.Sorted(maps.Keys(o.conf.access)) {
		b.WriteString(o.conf.access[device].text(device))
	}
	return b.String()
}

// writeKey writes one key with its help.
func (o *serveOptions) writeKey(b *strings.Builder, flags *pflag.FlagSet, f *pflag.Flag, key string) {
	_, help := pflag.UnquoteUsage(f)
	fmt.Fprintf(b, "\n# %s\n", help)
	if !o.sets(flags, f.Name) {
		b.WriteByte('#')
	}
	fmt.Fprintf(b, "%s = %s\n", key, tomlValue(f))
}

// tomlValue is a flag's present value as the file has it.
func tomlValue(f *pflag.Flag) string {
	t := flagType(f)
	switch {
	case isList(f):
		v := f.Value
		if n, ok := v.(namedValue); ok {
			v = n.flagValue.(pflag.Value)
		}
		return tomlList(v.(pflag.SliceValue).GetSlice())
	case t == "bool", strings.Contains(t, "int"), strings.HasPrefix(t, "float"):
		return f.Value.String()
	}
	return tomlString(f.Value.String())
}

// tomlString quotes s as a string of TOML.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func tomlList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = tomlString(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// text renders a rule as a table.
func (a *accessRule) text(device string) string {
	var b strings.Builder
	if device == anyDevice {
		device = tomlString(device)
	}
	fmt.Fprintf(&b, "\n[access.%s]\n", device)
	for _, l := range []struct{ key, value string }{{"mode", a.mode}, {"owner", a.owner}, {"group", a.group}} {
		if l.value != "" {
			fmt.Fprintf(&b, "%s = %s\n", l.key, tomlString(l.value))
		}
	}
	if a.deny != nil {
		fmt.Fprintf(&b, "deny = %s\n", tomlList(a.deny))
	}
	if a.allow != nil {
		fmt.Fprintf(&b, "allow = %s\n", tomlList(a.allow))
	}
	if a.limits != nil {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(a.limits)) {
			all = append(all, tomlString(name)+" = "+strconv.Itoa(a.limits[name]))
		}
		fmt.Fprintf(&b, "limits = { %s }\n", strings.Join(all, ", "))
	}
	return b.String()
}
