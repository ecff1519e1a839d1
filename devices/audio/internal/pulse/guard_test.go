package pulse

import (
	"encoding/binary"
	"io"
	"math"
	"net"
	"strings"
	"testing"

	"github.com/jfreymuth/pulse/proto"
)

// put writes values as they stand in messages: uint32 and string, bool, int64 (an offset); and rawly what comes as []byte.
func put(values ...any) []byte {
	var b []byte
	for _, v := range values {
		switch v := v.(type) {
		case uint32:
			b = binary.BigEndian.AppendUint32(append(b, 'L'), v)
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, 'r'), uint64(v))
		case string:
			b = append(append(append(b, 't'), v...), 0)
		case bool:
			b = append(b, map[bool]byte{false: '0', true: '1'}[v])
		case []byte:
			b = append(b, v...)
		}
	}
	return b
}

func numbers(v ...uint32) []byte {
	var b []byte
	for _, v := range v {
		b = append(b, put(v)...)
	}
	return b
}

var (
	spec       = []byte{'a', proto.FormatInt16LE, 2, 0, 0, 0xbb, 0x80}
	chanMap    = []byte{'m', 2, 1, 2}
	volumes    = []byte{'v', 2, 0, 1, 0, 0, 0, 1, 0, 0}
	usec       = []byte{'U', 0, 0, 0, 0, 0, 0, 0, 9}
	volume     = []byte{'V', 0, 1, 0, 0}
	properties = put([]byte{'P'}, "a.b", uint32(2), []byte{'x', 0, 0, 0, 2, 'c', 0, 'N'})
	encoding   = put([]byte{'f', 'B', proto.EncodingPCM}, properties)
	info       = put("pulseaudio", "16.1", "ann", "box", spec, "hall", []byte{'N'}, uint32(9), chanMap)
	stream     = put(spec, chanMap, uint32(0), "hall", false, usec, encoding)
)

// sources is an answer with a source that has ports, and one that has none and is a monitor.
func sources() []byte {
	source := func(name string, monitor uint32, ports []byte) []byte {
		return put(uint32(1), name, "a source", spec, chanMap, uint32(7), volumes, false, monitor, []byte{'N'}, usec, "driver.c", uint32(0),
			properties, usec, volume, uint32(0), uint32(65537), uint32(proto.Undefined), ports, []byte{'B', 1}, encoding)
	}
	return put(source("street", proto.Undefined, put(uint32(1), "mic", "Microphone", uint32(1), uint32(0), "mic")),
		source("hall.monitor", 0, put(uint32(0), []byte{'N'})))
}

// frame is a frame of that stream.
func frame(stream uint32, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(append(b, make([]byte, 12)...), body...)
}

func message(op, tag uint32, args []byte) []byte {
	return frame(control, put(op, tag, args))
}

// serve answers the requests on c with answers, one after the other, and then sends the rest. It ends when the client does.
func serve(c net.Conn, answers [][]byte, rest []byte) {
	defer c.Close()
	for tag, a := range answers {
		head := make([]byte, frameHead)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head))); err != nil {
			return
		}
		if _, err := c.Write(message(proto.OpReply, uint32(tag), a)); err != nil {
			return
		}
	}
	go io.Copy(io.Discard, c) // until the client goes
	c.Write(rest)
}

// converse has a client of ours speak with such a server. It returns what came of the last request that was tried, the list of sources, and
// how the server's samples and requests were heard.
func converse(t testing.TB, answers [][]byte, rest []byte) (list proto.GetSourceInfoListReply, samples, asked int, err error) {
	near, far := net.Pipe()
	go serve(far, answers, rest)
	c := open(near, func(_ *conn, m any) {
		switch m := m.(type) {
		case *proto.DataPacket:
			samples += len(m.Data)
		case *proto.Request:
			asked += int(m.Length)
		}
	})
	defer func() {
		if err == nil {
			<-c.ended // the server ends it
		}
		c.close()
	}()
	if err = c.greet(t.Context()); err != nil {
		return
	}
	if err = c.ask(t.Context(), &proto.GetSourceInfoList{}, &list, shapeSources); err != nil {
		return
	}
	if err = c.ask(t.Context(), &proto.GetServerInfo{}, &proto.GetServerInfoReply{}, shapeServer); err != nil {
		return
	}
	if err = c.ask(t.Context(), &proto.CreatePlaybackStream{}, &proto.CreatePlaybackStreamReply{}, shapePlayback); err != nil {
		return
	}
	err = c.ask(t.Context(), &proto.CreateRecordStream{}, &proto.CreateRecordStreamReply{}, shapeRecord)
	return
}

func good() [][]byte {
	return [][]byte{numbers(35), numbers(4), sources(), info, put(numbers(1, 2, 3, 4, 5, 6, 7), stream), put(numbers(1, 2, 3, 4), stream)}
}

func TestGuardPassesWhatServersSend(t *testing.T) {
	var rest []byte
	for _, m := range [][]byte{
		message(proto.OpRequest, control, numbers(1, 480)),
		message(proto.OpOverflow, control, []byte("dropped unread")),
		message(95, control, numbers(1, 2, 3)), // which the library would print
		frame(1, make([]byte, 1000)),
		message(proto.OpUnderflow, control, put(uint32(1), int64(4000))),
		frame(1, nil),
		frame(1, make([]byte, 100000)),
		message(proto.OpRequest, control, numbers(1, 20)),
	} {
		rest = append(rest, m...)
	}
	list, samples, asked, err := converse(t, good(), rest)
	if err != nil || samples != 101000 || asked != 500 {
		t.Errorf("%d bytes of samples, %d asked for, %v", samples, asked, err)
	}
	if len(list) != 2 || list[0].SourceName != "street" || list[0].Ports[0].Description != "Microphone" || list[0].MonitorSourceIndex != proto.Undefined ||
		list[1].SourceName != "hall.monitor" || list[1].MonitorSourceIndex != 0 {
		t.Errorf("the sources are %+v", list)
	}
}

func TestGuardRefusesWhatTheLibraryCannotRead(t *testing.T) {
	for name, c := range map[string]struct {
		answer int
		args   []byte
	}{
		"a number for a string":         {2, numbers(1, 2, 3)},
		"a string for a number":         {0, put("thirty-five")},
		"nothing for a number":          {1, nil},
		"more than there is to be":      {1, numbers(1, 2)},
		"a server without a name":       {3, put(uint32(16), info)},
		"a source cut short":            {2, sources()[:100]},
		"a string without an end":       {2, append(put(uint32(1)), 't', 'a')},
		"a string that is too long":     {2, put(uint32(1), strings.Repeat("a", 1024), sources()[13:])},
		"four thousand million ports":   {2, put(sources()[:len(sources())-100], uint32(math.MaxUint32))},
		"a property longer than itself": {4, put(numbers(1, 2, 3, 4, 5, 6, 7), stream[:len(stream)-5], []byte{0, 0, 9, 'c', 0, 'N'})},
	} {
		t.Run(name, func(t *testing.T) {
			answers := good()
			answers[c.answer] = c.args
			if _, _, _, err := converse(t, answers, nil); err == nil || !strings.Contains(err.Error(), "not of its protocol") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestGuardEndsAConnectionThat(t *testing.T) {
	for name, c := range map[string]struct {
		sends []byte
		want  string
	}{
		"answers unasked":       {message(proto.OpReply, 5, nil), "what nobody asked"},
		"answers twice":         {message(proto.OpReply, 0, numbers(35)), "what nobody asked"},
		"claims gigabytes":      {frame(1, nil)[4:], "is no sound server"},
		"sends half a message":  {frame(control, []byte("L")), "not of its protocol"},
		"asks for a string":     {message(proto.OpRequest, control, put("a", "b")), "not of its protocol"},
		"stops within a frame":  {frame(1, []byte("samples"))[:25], "ended the connection"},
		"kills without a name":  {message(proto.OpPlaybackStreamKilled, control, nil), "not of its protocol"},
		"hangs up":              {nil, "ended the connection"},
		"refuses what is asked": {message(proto.OpError, 0, numbers(1)), "what nobody asked"},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			if name == "claims gigabytes" {
				c.sends = append([]byte{0xff, 0, 0, 0}, c.sends...)
			}
			go serve(far, [][]byte{numbers(35)}, c.sends)
			conn := open(near, nil)
			defer conn.close()
			var auth proto.AuthReply
			if err := conn.ask(t.Context(), &proto.Auth{}, &auth, shapeAuth); err != nil {
				t.Fatal(err)
			}
			<-conn.dead
			if err := conn.reason(); !strings.Contains(err.Error(), c.want) {
				t.Errorf("the reason is %v", err)
			}
		})
	}
}

func TestGreetSaysWhyAServerDoesNotLetUsIn(t *testing.T) {
	for name, c := range map[string]struct {
		answer []byte
		want   string
	}{
		"cookie":  {message(proto.OpError, 0, numbers(uint32(proto.ErrAccessDenied))), "does not let us in"},
		"version": {message(proto.OpReply, 0, numbers(12)), "version 12"},
		"other":   {message(proto.OpError, 0, numbers(uint32(proto.ErrInternalError))), "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				io.CopyN(io.Discard, far, frameHead+messageLen+5+5+cookieSize)
				far.Write(c.answer)
				io.Copy(io.Discard, far)
			}()
			conn := open(near, nil)
			defer conn.close()
			if err := conn.greet(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("greet: %v", err)
			}
		})
	}
}

// A server that answers anything at all is refused or understood: the library does not panic, and the connection ends.
func FuzzServer(f *testing.F) {
	g := good()
	for _, rest := range [][]byte{
		nil,
		message(proto.OpRequest, control, numbers(1, 480)),
		message(proto.OpUnderflow, control, put(uint32(1), int64(4000))),
		message(proto.OpPlaybackStreamKilled, control, numbers(1)),
		append(frame(1, make([]byte, 100)), frame(1, nil)...),
		message(proto.OpStarted, control, numbers(1)),
	} {
		f.Add(g[0], g[1], g[2], g[3], g[4], g[5], rest)
	}
	f.Add([]byte("H"), []byte(nil), []byte("t"), []byte("N"), []byte{'P'}, []byte{'f'}, []byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Fuzz(func(t *testing.T, auth, name, sources, info, playback, record, rest []byte) {
		converse(t, [][]byte{auth, name, sources, info, playback, record}, rest)
	})
}
