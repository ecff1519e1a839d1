// Package clonetest has what tests of devices need: the suite that every driver must pass, a client that uses a tree as the
// server does, and a device in memory.
//
// A driver's test is one call:
//
//	func TestConformance(t *testing.T) {
//		clonetest.Run(t, func(t *testing.T) clonefs.Driver { return New(Config{}) }, clonetest.Options{})
//	}
//
// [Run] drives the tree through p9.File and the interfaces of p9ext directly, without a server: what fails there is the driver's
// or clonefs's. [Mem] is the device for tests of everything else.
package clonetest
