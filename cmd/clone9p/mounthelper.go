package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// The program's names as a helper of mount(8), which runs mount.TYPE for a file system of type TYPE.
const (
	helperAny  = "mount.clone9p"
	helperFUSE = "mount.fuse.clone9p"
)

// helperName is the helper that the program is when it is called by that name, "" for none.
func helperName(argv0 string) string {
	if name := filepath.Base(argv0); name == helperAny || name == helperFUSE {
		return name
	}
	return ""
}

// The exit statuses of mount(8).
const (
	mountUsage  = 1
	mountFailed = 32
)

// mountHelper runs the program as a helper of mount(8) and returns its exit status.
func mountHelper(name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	h, err := parseHelper(name, args)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %s; see clone9p mount --help\n", name, sentence(err))
		return mountUsage
	}
	if h.verbose {
		fmt.Fprintf(stdout, "%s: clone9p %s\n", name, strings.Join(h.argv, " "))
	}
	if h.fake {
		return 0
	}
	switch run(h.argv, stdin, stdout, stderr) {
	case 0:
		return 0
	case 2:
		return mountUsage
	}
	return mountFailed
}

// A helperCall is what mount(8) asks of its helper.
type helperCall struct {
	argv          []string // of the command that does it
	fake, verbose bool
}

// parseHelper reads the command line of a helper: SPEC DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE].
func parseHelper(name string, args []string) (h helperCall, err error) {
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.Usage = func() {}
	sloppy := f.BoolP("sloppy", "s", false, "")
	f.BoolVarP(&h.fake, "fake", "f", false, "")
	f.BoolP("no-mtab", "n", false, "") // there is no /etc/mtab to write
	f.BoolVarP(&h.verbose, "verbose", "v", false, "")
	namespace := f.StringP("namespace", "N", "", "")
	options := f.StringArrayP("options", "o", nil, "")
	f.StringP("types", "t", "", "") // what it is called by says it
	if err := f.Parse(args); err != nil {
		return h, err
	}
	switch {
	case f.NArg() < 2:
		return h, fmt.Errorf("want an address SPEC and a directory DIR")
	case f.NArg() > 2:
		return h, fmt.Errorf("no use for %q", f.Arg(2))
	case *namespace != "":
		return h, fmt.Errorf("-N %s: only mounts in the namespace of the caller can be made", *namespace)
	}
	argv, err := helperOptions(strings.Join(*options, ","), *sloppy)
	if err != nil {
		return h, err
	}
	if fuse := "--fuse"; name == helperFUSE && !slices.Contains(argv, fuse) {
		argv = append(argv, fuse)
	}
	h.argv = append(append([]string{"mount"}, argv...), "--", f.Arg(0), f.Arg(1))
	return h, nil
}

// helperFlags are the options that are flags of the command mount.
var helperFlags = map[string]string{
	"aname": "aname", "access": "access", "log": "log", "tls_cert": "tls-cert", "tls_key": "tls-key", "tls_ca": "tls-ca",
	"fuse": "fuse", "kernel": "kernel", "allow_other": "allow-other",
}

// helperOptions makes flags of the command mount from the options of a line in /etc/fstab. What is for mount(8) alone is left out, what is not known is an error unless sloppy.
func helperOptions(list string, sloppy bool) (argv []string, err error) {
	var kept []string // in order; of an option and its opposite the last
	drop := func(name string) {
		kept = slices.DeleteFunc(kept, func(o string) bool { return o == name })
	}
	keep := func(name string) {
		drop(name)
		kept = append(kept, name)
	}
	for o := range strings.SplitSeq(list, ",") {
		name, value, hasValue := strings.Cut(o, "=")
		flag, isFlag := helperFlags[name]
		isSwitch := name == "fuse" || name == "kernel" || name == "allow_other"
		switch {
		case isFlag && isSwitch && !hasValue:
			argv = append(argv, "--"+flag)
		case isFlag && !isSwitch && hasValue:
			argv = append(argv, "--"+flag+"="+value)
		case isFlag && isSwitch:
			return nil, fmt.Errorf("-o %s: %s takes no value", o, name)
		case isFlag:
			return nil, fmt.Errorf("-o %s: want %s=VALUE", o, name)
		case hasValue && slices.Contains([]string{"msize", "uname", "dfltuid", "dfltgid"}, name):
			kept = append(kept, o)
		case slices.Contains([]string{"ro", "nosuid", "nodev", "noexec", "sync", "dirsync", "noatime", "nodiratime"}, o):
			keep(o)
		case o == "rw":
			drop("ro")
		case slices.Contains([]string{"suid", "dev", "exec", "atime", "diratime"}, o):
			drop("no" + o)
		case o == "async":
			drop("sync")
		case o == "user" || o == "users": // mount(8): these imply
			keep("nosuid")
			keep("nodev")
			keep("noexec")
		case o == "owner" || o == "group":
			keep("nosuid")
			keep("nodev")
		case forMount(o):
		case !sloppy:
			return nil, fmt.Errorf("-o %s: there is no such option", o)
		}
	}
	if kept != nil {
		argv = append(argv, "--options="+strings.Join(kept, ","))
	}
	return argv, nil
}

// forMount reports whether an option is mount(8)'s own affair.
func forMount(o string) bool {
	for _, prefix := range []string{"x-", "X-", "comment=", "user=", "uhelper=", "helper="} {
		if strings.HasPrefix(o, prefix) {
			return true
		}
	}
	return slices.Contains([]string{"", "defaults", "auto", "noauto", "nouser", "nousers", "noowner", "nogroup", "nofail", "_netdev",
		"_rnetdev", "relatime", "norelatime", "nolazytime", "nostrictatime", "loud"}, o)
}
