// Package programs tests the devices with programs that nobody wrote for them, and which have nothing but their files: a TCP stack in user space,
// iperf3 between two hosts. It stands here because it needs both the server and the devices.
package programs
