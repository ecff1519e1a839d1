package main

import "encoding/binary"

var le = binary.LittleEndian

// The types of the messages that the figures need, in 9P2000.L. The codec of package server is not used: what is measured must not
// be its own yardstick.
const (
	tlopen   = 12
	tgetattr = 24
	tversion = 100
	tattach  = 104
	tflush   = 108
	twalk    = 110
	tread    = 116
	twrite   = 118
	tclunk   = 120

	rlerror = 7
)

const (
	headerSize = 7
	dataHeader = headerSize + 4 // what stands before the data of Rread
	noTag      = 0xffff
	noFid      = 0xffffffff
	qidSize    = 13
	attrSize   = 153
)

// encode makes a message of its fields: unsigned integers of their own size, strings, and lists of strings, as Twalk has one.
func encode(typ byte, tag uint16, fields ...any) []byte {
	b := []byte{0, 0, 0, 0, typ, byte(tag), byte(tag >> 8)}
	for _, f := range fields {
		switch f := f.(type) {
		case uint32:
			b = le.AppendUint32(b, f)
		case uint64:
			b = le.AppendUint64(b, f)
		case string:
			b = append(le.AppendUint16(b, uint16(len(f))), f...)
		case []string:
			b = le.AppendUint16(b, uint16(len(f)))
			for _, s := range f {
				b = append(le.AppendUint16(b, uint16(len(s))), s...)
			}
		default:
			panic("encode: a field of a type that 9P lacks")
		}
	}
	le.PutUint32(b, uint32(len(b)))
	return b
}
