package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/audio"
	"github.com/clone9p/clone9p/devices/dmover"
	"github.com/clone9p/clone9p/devices/ethfoo"
	"github.com/clone9p/clone9p/devices/pty"
	"github.com/spf13/cobra"
)

// kinds returns the kinds of device that this program can serve, sorted by name, each with settings of its own. Here a new device is registered, with
// one line; its options become flags.
func kinds() []kind {
	return []kind{
		kindOf("audio", 0, audio.DefaultConfig(), audio.New),
		kindOf("dmover", 0, dmover.DefaultConfig(), dmover.New),
		kindOf("ethfoo", needsNetwork, ethfoo.DefaultConfig(), ethfoo.New),
		kindOf("pty", 0, pty.DefaultConfig(), pty.New),
	}
}

// What a device needs of the machine, beyond files.
type needs int

const (
	needsNetwork needs = 1 << iota // to administer the network namespace in which the server is
)

// A kind is a kind of device that this program can serve.
type kind struct {
	name    string
	needs   needs
	options []clonefs.Option // they point into the settings from which build builds
	build   func() (clonefs.Driver, error)

	// privileges are the capabilities(7) that a server run by root has to keep for the device, as it is set, by their names.
	privileges func() []string
}

// kindOf makes a kind of a driver's default settings and of its New.
func kindOf[C any, P interface {
	*C
	Options() []clonefs.Option
}, T clonefs.Closer](name string, needs needs, settings C, build func(C) (*clonefs.Device[T], error)) kind {
	return kind{
		name:    name,
		needs:   needs,
		options: P(&settings).Options(),
		build: func() (clonefs.Driver, error) {
			d, err := build(settings)
			if err != nil {
				return nil, err
			}
			return d, nil
		},
		privileges: func() []string {
			if p, ok := any(P(&settings)).(interface{ Privileges() []string }); ok {
				return p.Privileges()
			}
			return nil
		},
	}
}

// names lists the names of kinds for a person.
func names(ks []kind) string {
	var s []string
	for _, k := range ks {
		s = append(s, k.name)
	}
	return strings.Join(s, ", ")
}

// choose returns the kinds with these names, all of them for no names.
func choose(ks []kind, want []string) ([]kind, error) {
	if len(want) == 0 {
		return ks, nil
	}
	var chosen []kind
	for _, name := range want {
		i := slices.IndexFunc(ks, func(k kind) bool { return k.name == name })
		if i < 0 {
			return nil, usagef("--device %s: there is no such device; there is %s", name, names(ks))
		}
		if !slices.ContainsFunc(chosen, func(k kind) bool { return k.name == name }) {
			chosen = append(chosen, ks[i])
		}
	}
	return chosen, nil
}

// optionFlags makes a flag --DEV-NAME of each option of a device.
func optionFlags(cmd *cobra.Command, k kind) {
	fs := cmd.Flags()
	for _, o := range k.options {
		name := k.name + "-" + o.Name
		switch v := o.Value.(type) {
		case *string:
			fs.StringVar(v, name, *v, o.Help)
		case *int:
			fs.IntVar(v, name, *v, o.Help)
		case *bool:
			fs.BoolVar(v, name, *v, o.Help)
		case *time.Duration:
			fs.DurationVar(v, name, *v, o.Help)
		case *[]string:
			fs.StringArrayVar(v, name, *v, o.Help)
		default:
			panic(fmt.Sprintf("option %s of %s has the type %T", o.Name, k.name, v)) // a mistake of the driver's author, found by any test
		}
		if f := fs.Lookup(name); o.Arg != "" {
			f.Value = namedValue{f.Value, o.Arg}
		}
	}
}

// A flagValue is what the flags package of cobra calls a Value.
type flagValue interface {
	String() string
	Set(string) error
	Type() string
}

// A namedValue is the value of a flag; help shows the argument under the name that the driver gave it.
type namedValue struct {
	flagValue
	name string
}

func (v namedValue) Type() string { return v.name }
