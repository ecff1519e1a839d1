package decode

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The flags of an Ogg page (RFC 3533).
const (
	oggContinued = 1
	oggFirst     = 2
	oggLast      = 4
)

// maxPacket bounds what a packet is assembled to. The tables of Vorbis take less than 16 KiB, sound far less; comments with pictures, which
// may be larger, are cut.
const maxPacket = 1 << 18

// An oggReader reads the packets of one logical stream of an Ogg file. Pages of others are skipped; those that are damaged end the file.
type oggReader struct {
	r       *bufio.Reader
	serial  uint32
	chosen  bool // the serial is known
	flags   byte
	granule int64 // of the page: where it ends, in frames; -1 when no packet ends in it
	lacing  []byte
	body    []byte
	part    []byte // of a packet that goes on in the next page
	drop    bool   // the first packet of the page goes on from one that was not seen
	buf     [27 + 255 + 255*255]byte
}

// page reads the next page of the stream.
func (o *oggReader) page() error {
	for {
		head := o.buf[:27]
		if _, err := io.ReadFull(o.r, head); err != nil {
			return err
		}
		if string(head[:4]) != "OggS" || head[4] != 0 {
			return errors.New("no page begins where one must")
		}
		lacing := o.buf[27 : 27+int(head[26])]
		if _, err := io.ReadFull(o.r, lacing); err != nil {
			return unexpected(err)
		}
		size := 0
		for _, n := range lacing {
			size += int(n)
		}
		whole := o.buf[:27+len(lacing)+size]
		if _, err := io.ReadFull(o.r, whole[27+len(lacing):]); err != nil {
			return unexpected(err)
		}
		sum := binary.LittleEndian.Uint32(head[22:])
		clear(head[22:26])
		if oggSum(whole) != sum {
			return errors.New("a page is damaged: its checksum is wrong")
		}
		serial := binary.LittleEndian.Uint32(head[14:])
		if o.chosen && serial != o.serial {
			continue
		}
		o.serial = serial
		o.flags = head[5]
		o.granule = int64(binary.LittleEndian.Uint64(head[6:]))
		o.lacing, o.body = lacing, whole[27+len(lacing):]
		continued := o.flags&oggContinued != 0
		o.drop = continued && o.part == nil
		if !continued {
			o.part = nil
		}
		return nil
	}
}

// packet is the next packet that ends in this page, valid until the next call; nil when there is none.
func (o *oggReader) packet() ([]byte, error) {
	for len(o.lacing) > 0 {
		size, ends := 0, false
		for len(o.lacing) > 0 && !ends {
			size += int(o.lacing[0])
			ends = o.lacing[0] < 255
			o.lacing = o.lacing[1:]
		}
		data := o.body[:size]
		o.body = o.body[size:]
		if !ends {
			if !o.drop {
				o.part = append(o.part, data...)
				if o.part == nil {
					o.part = []byte{}
				}
				if len(o.part) > maxPacket {
					if !isComment(o.part) {
						return nil, fmt.Errorf("a packet of more than %d bytes", maxPacket)
					}
					o.part = o.part[:maxPacket]
				}
			}
			return nil, nil
		}
		if o.drop {
			o.drop = false
			continue
		}
		if o.part != nil {
			data = append(o.part, data...)
			o.part = nil
		}
		return data, nil
	}
	return nil, nil
}

func isComment(packet []byte) bool { return len(packet) >= 7 && string(packet[:7]) == "\x03vorbis" }

// unexpected is for an end in the midst of something.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// oggTable is the CRC of Ogg: the polynomial of Ethernet, but the high bit first and nothing inverted, which hash/crc32 does not have.
var oggTable = func() (t [256]uint32) {
	for i := range t {
		c := uint32(i) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04c11db7
			} else {
				c <<= 1
			}
		}
		t[i] = c
	}
	return t
}()

func oggSum(page []byte) uint32 {
	var c uint32
	for _, b := range page {
		c = c<<8 ^ oggTable[byte(c>>24)^b]
	}
	return c
}
