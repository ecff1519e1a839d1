//go:build linux

package programs

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// serve serves a tree with the device in this process, and returns its socket.
func serve(t *testing.T) string {
	t.Helper()
	needTAP(t)
	srv, fs, err := newServer()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "sock"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(srv.Shutdown(ctx), fs.Close(ctx)); err != nil {
			t.Error(err)
		}
		<-served
	})
	return l.Addr().String()
}

// attachStack joins the TCP stack s to an interface by its rx and tx, until the test ends.
func attachStack(t *testing.T, s *stack.Stack, i iface) {
	t.Helper()
	const nic = 1
	ch := channel.New(512, 1514, tcpip.LinkAddress("\x02\x00\x00\x00\x00\x02"))
	if err := s.CreateNIC(nic, ethernet.New(ch)); err != nil {
		t.Fatal(err)
	}
	protocol := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{10, 9, 0, 2}), PrefixLen: 24},
	}
	if err := s.AddProtocolAddress(nic, protocol, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { // ends with the conversation
		p := make([]byte, 1514)
		for {
			n, err := i.rx.ReadAt(p, 0)
			if err != nil || n == 0 {
				return
			}
			pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(p[:n])})
			ch.InjectInbound(0, pkt) // the Ethernet header says which protocol
			pkt.DecRef()
		}
	})
	wg.Go(func() { // ends with ctx
		for {
			pkt := ch.ReadContext(ctx)
			if pkt == nil {
				return
			}
			frame := pkt.ToView().AsSlice()
			if _, err := i.tx.WriteAt(frame, 0); err != nil {
				t.Errorf("tx: %d bytes: %v", len(frame), err)
			}
			pkt.DecRef()
		}
	})
	t.Cleanup(func() {
		cancel()
		say(t, i.ctl, "hangup")
		wg.Wait()
		s.Close()
		s.Wait()
	})
}

// gVisor's TCP stack fetches 10 MB by HTTP from the kernel's, byte for byte.
func TestUserSpaceStackFetchesThroughTheFiles(t *testing.T) {
	i := clone(t, serve(t), "add 10.9.0.1/24\nqueue 1024\nup")
	content := make([]byte, 10<<20)
	source := rand.NewChaCha8(sha256.Sum256([]byte(t.Name())))
	source.Read(content)
	l, err := net.Listen("tcp4", "10.9.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(content) })}
	served := make(chan struct{})
	go func() { defer close(served); web.Serve(l) }()
	t.Cleanup(func() { web.Close(); <-served })

	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	attachStack(t, s, i)
	to := tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{10, 9, 0, 1}), Port: uint16(l.Addr().(*net.TCPAddr).Port)}
	client := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return gonet.DialContextTCP(ctx, s, to, ipv4.ProtocolNumber)
		},
	}}
	begin := time.Now()
	resp, err := client.Get("http://" + l.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(got), err)
	}
	if sha256.Sum256(got) != sha256.Sum256(content) {
		t.Errorf("%d bytes came, and not those that were sent", len(got))
	}
	t.Logf("%d bytes in %v", len(got), time.Since(begin))
}
