package wire

import "strings"

// A Dialect is one of the three forms of 9P. It decides which messages exist and the shape of some.
type Dialect uint8

const (
	P9  Dialect = iota // 9P2000, see intro(5) of Plan 9
	P9u                // 9P2000.u, the Unix extension
	P9L                // 9P2000.L, the Linux extension
)

var dialectNames = [...]string{P9: "9P2000", P9u: "9P2000.u", P9L: "9P2000.L"}

// String returns the dialect's version string, the one that Rversion carries.
func (d Dialect) String() string {
	if int(d) < len(dialectNames) {
		return dialectNames[d]
	}
	return "unknown"
}

// ParseVersion returns the dialect in which a server answers a Tversion of version s. A version may have further words after a
// dialect's name (`9P2000.L.Google.7`): they are an extension we do not speak, and the name alone is answered. An extension of 9P2000 that
// is neither .u nor .L comes down to 9P2000 itself, as version(5) has it. ok is false for everything else, which is
// answered with version `unknown`.
func ParseVersion(s string) (d Dialect, ok bool) {
	switch {
	case strings.HasPrefix(s, "9P2000.L"):
		return P9L, true
	case strings.HasPrefix(s, "9P2000.u"):
		return P9u, true
	case strings.HasPrefix(s, "9P2000"):
		return P9, true
	}
	return P9, false
}
