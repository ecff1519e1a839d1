// Package ethfoo is a device whose conversations are network interfaces: whoever opens ethfoo/clone holds a new virtual
// Ethernet interface until the last of its files is closed.
//
//	ethfoo/N/data rx tx   one Ethernet frame a read, one a write
//	ethfoo/N/addr         its MAC address
//	ethfoo/N/ifname       its name in the kernel
//	ethfoo/N/stats        counters as in Plan 9's ether(3)
//	ethfoo/N/ifstats      counters as the kernel has them
//	ethfoo/N/type         the Ethernet type selected, -1 for all
//	ethfoo/N/pcap         a pcapng stream of all frames, from its open on
//
// It is NetBSD's tap(4) with the files of Plan 9's ether(3). The interface is a Linux TAP named ethfooN after the number of
// its conversation. What the kernel sends out of it (a ping, an ARP request, what a bridge forwards) is read from rx;
// what is written to tx arrives on it as if from the wire:
//
//	exec 3<>/n/clone/ethfoo/clone; read n <&3    # the interface exists from here
//	echo add 10.9.0.1/24 >&3; echo up >&3
//	cat /n/clone/ethfoo/$n/rx | od -t x1 &
//	ping 10.9.0.2                                # the ARP requests come out of rx
//	exec 3>&-                                    # gone, with the addresses and routes it had
//
// # The two directions
//
// The files speak as ether(3) does, for the program that holds the conversation: in stats, "in" counts what can be read
// (the kernel's tx_packets) and "out" what was written (rx_packets); ifstats has the kernel's view. Every open of rx or
// data has a queue of its own from the moment of its open and gets every frame that the conversation selects (connect,
// promiscuous), whole or with headersonly its beginning. A reader that is slower than the interface loses its oldest frames,
// counted as soft overflows, and never delays anybody else. With no reader at all frames are dropped and count as sent, the rule
// of tap(4).
//
// With batch on, a read takes as many frames as lie there and fit, and a write sends several: each stands behind its length in
// 4 bytes, little-endian. A read without room for the next frame and its length fails (EINVAL) and takes nothing. Of a write
// that is no batch, or has a frame that is too small or too large, nothing is sent.
//
// # What it is bound to
//
// "bind tun" makes the interface a TUN: then what is called a frame above is an IP packet of 20 bytes to the mtu, type and connect go by the
// version of IP, and pcap's link type is RAW. "bind gso" makes it carry segments: what TCP sends comes in frames of up to 64 KiB that nobody has cut
// to the mtu yet, each behind a struct virtio_net_hdr (10 bytes, linux/virtio_net.h) that tells how, and such frames may be written. That is what
// virtual machines and other interfaces bound so understand; with batch on, bytes a second are several times what single frames bring. "bind vxlan ID REMOTE" makes hosts neighbours: the TAP becomes a port of a bridge br-ethfooN, whose
// other port, vx-ethfooN, carries every frame to host REMOTE in UDP (RFC 7348, port 4789), where somebody binds another interface to this one.
// What is written to tx on one host is read from rx on the other; addresses and routes that are added are the bridge's.
//
// pcap is for a person who looks: `cat pcap | tshark -r -`, `tcpdump -r pcap`, `wireshark -k -i pcap`. It has the frames of both
// directions, called as in stats, whatever connect, headersonly and batch make of them for others. Its readers delay nobody: one that is
// behind loses packets, which the stream's next interface statistics block counts. To have it open keeps no interface.
//
// # What ends it
//
// The TAP is not persistent: it lives as long as its descriptor, which is the server's. So it goes at the last close, and with the
// server however that ends, SIGKILL included. When somebody deletes the interface from outside (ip link delete) the
// conversation is hung up. Renamed from outside it stays what it was; ifname follows.
//
// A bridge that "bridge BR create" made goes with our last port on it, and what "bind vxlan" made goes with its interface; but they outlive a
// SIGKILL. Then the first open of the next
// server in that network namespace removes them, or a later one while others have ports there.
//
// # Privileges
//
// [New] touches nothing. An open of clone needs CAP_NET_ADMIN in the user namespace that owns the server's network
// namespace, and /dev/net/tun; where something is missing the error says what, and how to get it.
//
// On systems other than Linux New returns an error and the rest of the package does nothing.
package ethfoo
