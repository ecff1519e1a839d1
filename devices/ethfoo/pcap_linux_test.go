package ethfoo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// stream reads what a file that may wait has, to its end, which is when nothing lies there.
type stream struct {
	r    p9ext.ReadPoller
	size int // of a read
	w    wakeCounter
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.PollRead(p[:min(len(p), s.size)], 0, s.w)
	if err == p9ext.ErrWait {
		s.r.Unpoll(s.w)
		err = io.EOF
	}
	return n, err
}

func openCapture(t testing.TB, i *Interface) *capture {
	t.Helper()
	s, err := i.pcap(t.Context(), clonefs.Mode{Read: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(*capture)
}

// A packet is what a reader of pcapng found.
type packet struct {
	data      []byte
	at        time.Time
	direction pcapgo.NgEpbFlag
}

// packets reads c as far as it goes.
func packets(t *testing.T, c *capture, size int) (ps []packet, i pcapgo.NgInterface) {
	t.Helper()
	r, err := pcapgo.NewNgReader(&stream{c, size, make(wakeCounter, 1)}, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, ci, opts, err := r.ReadPacketDataWithOptions()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p := packet{bytes.Clone(data), ci.Timestamp, 0}
		if ci.Length != len(data) {
			t.Errorf("%d bytes of %d", len(data), ci.Length)
		}
		if opts.Flags != nil {
			p.direction = opts.Flags.Direction
		}
		ps = append(ps, p)
	}
	if i, err = r.Interface(0); err != nil {
		t.Fatal(err)
	}
	return ps, i
}

// traffic lets n frames go each way, in turn, and returns them all. It needs "connect 0x88b5", so that r gets no others.
func traffic(t *testing.T, i *Interface, r *reader, w *writer, s *packetSocket, n int) (frames [][]byte) {
	t.Helper()
	for k := range n {
		in, out := frame(60+k, byte(k)), frame(1000+k, byte(k))
		s.send(t, in)
		if got := readFrame(t, r); !bytes.Equal(got, in) { // it has been through the pump
			t.Fatalf("frame %d: %x", k, got)
		}
		if _, err := w.PollWrite(out, 0, nil); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, in, out)
	}
	return frames
}

func TestPcapHasBothDirections(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "up")
	r, w, s := openReader(t, i), openWriter(t, i), openPacketSocket(t, i)
	begin := time.Now()
	traffic(t, i, r, w, s, 2) // before the open: not seen
	sizes := []int{1 << 20, 7}
	captures := []*capture{openCapture(t, i), openCapture(t, i)}
	want := traffic(t, i, r, w, s, 20)
	for k, c := range captures {
		all, link := packets(t, c, sizes[k])
		if link.Name != "ethfoo0" || link.SnapLength != 0 || link.LinkType != layers.LinkTypeEthernet {
			t.Errorf("reader %d: interface %q, snap length %d", k, link.Name, link.SnapLength)
		}
		var ps []packet
		for _, p := range all { // the kernel's own words may be among them
			if newFanout(1).typeOf(p.data) == 0x88b5 {
				ps = append(ps, p)
			}
		}
		if len(ps) != len(want) {
			t.Fatalf("reader %d has %d packets, want %d", k, len(ps), len(want))
		}
		last := begin
		for n, p := range ps {
			direction := pcapgo.NgEpbFlagDirectionInbound + pcapgo.NgEpbFlag(n%2)
			if !bytes.Equal(p.data, want[n]) || p.direction != direction || p.at.Before(last) {
				t.Errorf("reader %d, packet %d: %d bytes, direction %d, want %d and %d, %v after the last",
					k, n, len(p.data), p.direction, len(want[n]), direction, p.at.Sub(last))
			}
			last = p.at
		}
	}
}

// What a reader loses is counted in the statistics block that stands in the gap, and nothing else suffers.
func TestSlowReaderOfPcapLosesPackets(t *testing.T) {
	var c captures
	slow, err := c.join("eth0")
	if err != nil {
		t.Fatal(err)
	}
	fast, err := c.join("eth0")
	if err != nil {
		t.Fatal(err)
	}
	drain := func(n *capture, to *bytes.Buffer, limit int64) {
		t.Helper()
		if _, err := io.CopyN(to, &stream{n, 1 << 16, make(wakeCounter, 1)}, limit); err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
	var slowly, fastly bytes.Buffer
	const frames = 4 * maxCaptureBytes / 1500
	f := frame(1500, 1)
	for k := range frames {
		if k == frames/2 { // part of a block is taken: the rest of it may not go
			drain(slow, &slowly, 1000)
		}
		c.received(f)
		drain(fast, &fastly, math.MaxInt64)
	}
	drain(slow, &slowly, math.MaxInt64)
	c.received(f)
	drain(slow, &slowly, math.MaxInt64)
	drain(fast, &fastly, math.MaxInt64)
	for _, r := range []struct {
		name   string
		stream *bytes.Buffer
		slow   bool
	}{{"slow", &slowly, true}, {"fast", &fastly, false}} {
		ng, err := pcapgo.NewNgReader(r.stream, pcapgo.NgReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := uint64(0)
		for {
			data, _, err := ng.ReadPacketData()
			if err == io.EOF {
				break
			}
			if err != nil || !bytes.Equal(data, f) {
				t.Fatalf("%s: packet %d: %d bytes, %v", r.name, got, len(data), err)
			}
			got++
		}
		link, err := ng.Interface(0)
		if err != nil {
			t.Fatal(err)
		}
		switch drops := link.Statistics.PacketsDropped; {
		case !r.slow && got != frames+1:
			t.Errorf("%s: %d packets of %d", r.name, got, frames+1)
		case r.slow && (drops == 0 || got+drops != frames+1 || link.Statistics.PacketsReceived != frames):
			t.Errorf("%s: %d packets, %d dropped, of %d; %d received", r.name, got, drops, frames+1, link.Statistics.PacketsReceived)
		}
	}
	slow.Close()
	fast.Close()
	if c.active() {
		t.Error("closed captures are active")
	}
}

// An open of pcap keeps no interface: it ends with the conversation.
func TestPcapEndsWithTheConversation(t *testing.T) {
	i := makeInterface(t, 0)
	c := openCapture(t, i)
	packets(t, c, 1<<16)
	ended := make(chan error)
	go func() {
		_, err := c.ReadContext(context.Background(), make([]byte, 100), 0)
		ended <- err
	}()
	c.Close() // as clonefs does
	if err := <-ended; err != p9ext.ErrHungup {
		t.Errorf("a read ends with %v", err)
	}
}

// tshark reads the stream from a pipe while it is being written.
func TestTsharkReadsPcap(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed: that it reads pcap is not tested")
	}
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "up")
	r, w, s := openReader(t, i), openWriter(t, i), openPacketSocket(t, i)
	c := openCapture(t, i)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, tshark, "-n", "-r", "-", "-Y", "eth.type == 0x88b5", "-T", "fields",
		"-e", "frame.len", "-e", "frame.packet_flags_direction", "-e", "frame.interface_name", "-e", "eth.src")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	cmd.Stdout = new(bytes.Buffer)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pipe := func() {
		if _, err := io.Copy(in, &stream{c, 1 << 16, make(wakeCounter, 1)}); err != nil {
			t.Error(err)
		}
	}
	pipe()
	traffic(t, i, r, w, s, 1)
	pipe()
	traffic(t, i, r, w, s, 2)
	pipe()
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("tshark: %v\n%s", err, &errs)
	}
	const src = "\tethfoo0\t02:00:00:00:00:01\n"
	want := "60\t1" + src + "1000\t2" + src + "60\t1" + src + "1000\t2" + src + "61\t1" + src + "1001\t2" + src
	got := strings.NewReplacer("0x00000001", "1", "0x00000002", "2").Replace(fmt.Sprint(cmd.Stdout))
	if got != want {
		t.Errorf("tshark says\n%swant\n%s%s", got, want, &errs)
	}
}
