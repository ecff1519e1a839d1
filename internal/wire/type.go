package wire

import "strconv"

// A Type is the type of a message. T-messages, sent by clients, are even; the R-message that answers one is the next odd number.
type Type uint8

const (
	Tlerror      Type = 6 // never sent
	Rlerror      Type = 7
	Tstatfs      Type = 8
	Rstatfs      Type = 9
	Tlopen       Type = 12
	Rlopen       Type = 13
	Tlcreate     Type = 14
	Rlcreate     Type = 15
	Tsymlink     Type = 16
	Rsymlink     Type = 17
	Tmknod       Type = 18
	Rmknod       Type = 19
	Trename      Type = 20
	Rrename      Type = 21
	Treadlink    Type = 22
	Rreadlink    Type = 23
	Tgetattr     Type = 24
	Rgetattr     Type = 25
	Tsetattr     Type = 26
	Rsetattr     Type = 27
	Txattrwalk   Type = 30
	Rxattrwalk   Type = 31
	Txattrcreate Type = 32
	Rxattrcreate Type = 33
	Treaddir     Type = 40
	Rreaddir     Type = 41
	Tfsync       Type = 50
	Rfsync       Type = 51
	Tlock        Type = 52
	Rlock        Type = 53
	Tgetlock     Type = 54
	Rgetlock     Type = 55
	Tlink        Type = 70
	Rlink        Type = 71
	Tmkdir       Type = 72
	Rmkdir       Type = 73
	Trenameat    Type = 74
	Rrenameat    Type = 75
	Tunlinkat    Type = 76
	Runlinkat    Type = 77
	Tversion     Type = 100
	Rversion     Type = 101
	Tauth        Type = 102
	Rauth        Type = 103
	Tattach      Type = 104
	Rattach      Type = 105
	Terror       Type = 106 // never sent
	Rerror       Type = 107
	Tflush       Type = 108
	Rflush       Type = 109
	Twalk        Type = 110
	Rwalk        Type = 111
	Topen        Type = 112
	Ropen        Type = 113
	Tcreate      Type = 114
	Rcreate      Type = 115
	Tread        Type = 116
	Rread        Type = 117
	Twrite       Type = 118
	Rwrite       Type = 119
	Tclunk       Type = 120
	Rclunk       Type = 121
	Tremove      Type = 122
	Rremove      Type = 123
	Tstat        Type = 124
	Rstat        Type = 125
	Twstat       Type = 126
	Rwstat       Type = 127
)

var typeNames = [...]string{
	Tlerror:      "Tlerror",
	Rlerror:      "Rlerror",
	Tstatfs:      "Tstatfs",
	Rstatfs:      "Rstatfs",
	Tlopen:       "Tlopen",
	Rlopen:       "Rlopen",
	Tlcreate:     "Tlcreate",
	Rlcreate:     "Rlcreate",
	Tsymlink:     "Tsymlink",
	Rsymlink:     "Rsymlink",
	Tmknod:       "Tmknod",
	Rmknod:       "Rmknod",
	Trename:      "Trename",
	Rrename:      "Rrename",
	Treadlink:    "Treadlink",
	Rreadlink:    "Rreadlink",
	Tgetattr:     "Tgetattr",
	Rgetattr:     "Rgetattr",
	Tsetattr:     "Tsetattr",
	Rsetattr:     "Rsetattr",
	Txattrwalk:   "Txattrwalk",
	Rxattrwalk:   "Rxattrwalk",
	Txattrcreate: "Txattrcreate",
	Rxattrcreate: "Rxattrcreate",
	Treaddir:     "Treaddir",
	Rreaddir:     "Rreaddir",
	Tfsync:       "Tfsync",
	Rfsync:       "Rfsync",
	Tlock:        "Tlock",
	Rlock:        "Rlock",
	Tgetlock:     "Tgetlock",
	Rgetlock:     "Rgetlock",
	Tlink:        "Tlink",
	Rlink:        "Rlink",
	Tmkdir:       "Tmkdir",
	Rmkdir:       "Rmkdir",
	Trenameat:    "Trenameat",
	Rrenameat:    "Rrenameat",
	Tunlinkat:    "Tunlinkat",
	Runlinkat:    "Runlinkat",
	Tversion:     "Tversion",
	Rversion:     "Rversion",
	Tauth:        "Tauth",
	Rauth:        "Rauth",
	Tattach:      "Tattach",
	Rattach:      "Rattach",
	Terror:       "Terror",
	Rerror:       "Rerror",
	Tflush:       "Tflush",
	Rflush:       "Rflush",
	Twalk:        "Twalk",
	Rwalk:        "Rwalk",
	Topen:        "Topen",
	Ropen:        "Ropen",
	Tcreate:      "Tcreate",
	Rcreate:      "Rcreate",
	Tread:        "Tread",
	Rread:        "Rread",
	Twrite:       "Twrite",
	Rwrite:       "Rwrite",
	Tclunk:       "Tclunk",
	Rclunk:       "Rclunk",
	Tremove:      "Tremove",
	Rremove:      "Rremove",
	Tstat:        "Tstat",
	Rstat:        "Rstat",
	Twstat:       "Twstat",
	Rwstat:       "Rwstat",
}

// String returns the message's name as the manual pages write it, `Twalk`, or `type 99` for a number that is none.
func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return "type " + strconv.Itoa(int(t))
}

// IsT reports whether t is the number of a request.
func (t Type) IsT() bool { return t&1 == 0 }

// Reply is the type of the message that answers t when nothing goes wrong.
func (t Type) Reply() Type { return t | 1 }

// ParseType returns the type called name.
func ParseType(name string) (Type, bool) {
	for t, n := range typeNames {
		if n == name && n != "" {
			return Type(t), true
		}
	}
	return 0, false
}
