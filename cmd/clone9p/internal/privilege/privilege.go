// Package privilege has the server of a root that may do everything go on with what it needs.
//
// Root's rights are capabilities, capabilities(7), and they belong to a thread, while the runtime starts threads as it likes: a Go program cannot give up
// any as a whole. So one thread gives up what its program is not to have any more, and executes the program again: what an exec by root
// grants is what the bounding set has left.
//
//	one thread: bounding set = what is kept, nothing inheritable or ambient, no_new_privs
//	  v exec, the same process id
//	all threads: permitted = effective = bounding = what is kept
package privilege

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// A Set is a set of capabilities, a bit each by the kernel's numbers.
type Set uint64

// All has every capability that there is or will be.
const All = ^Set(0)

// names are the capabilities by their numbers, linux/capability.h.
var names = []string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable",
	"net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace",
	"sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write",
	"audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore",
}

// Of returns the set of these names, which are those of capabilities(7) in small letters and without CAP_; "all" is [All].
func Of(caps ...string) (s Set, err error) {
	for _, name := range caps {
		switch i := slices.Index(names, name); {
		case name == "all":
			s = All
		case i < 0:
			return 0, fmt.Errorf("there is no capability %q", name)
		default:
			s |= 1 << i
		}
	}
	return s, nil
}

// Has reports whether s has that capability.
func (s Set) Has(number int) bool { return s>>number&1 != 0 }

// String lists the names: "net_admin sys_admin", "all", "none".
func (s Set) String() string {
	switch known := Set(1)<<len(names) - 1; {
	case s == 0:
		return "none"
	case s&known == known:
		return "all"
	}
	var list []string
	for ; s != 0; s &= s - 1 {
		i := bits.TrailingZeros64(uint64(s))
		if i < len(names) {
			list = append(list, names[i])
		} else {
			list = append(list, fmt.Sprint(i))
		}
	}
	return strings.Join(list, " ")
}

// ErrUnsupported is the error of [Held] and [Drop] where the kernel has no capabilities.
var ErrUnsupported = errors.New("only Linux has capabilities")
