// Package e2e boots real Linux kernels in QEMU and has them mount the server: the last word on whether a device that
// clones works for the people who use it.
//
// The tests stand behind the build tag e2e, since they want QEMU, Debian's kernels (fetched by guest-kernels, beside this file) and some minutes:
//
//	go test -tags e2e ./scripts/e2e
//	go test -tags e2e ./scripts/e2e -v -run 'Test/^6.1$/tcp/9P2000.L$/trap'
//	go test -tags e2e ./scripts/e2e -args -console -server PROGRAM
//
// Three parties take part. The test runs on the host. It builds the server and starts it with --net private, so that the interfaces it makes never
// appear among the machine's own. It boots one guest a kernel, whose first and only program is ./guest: a static Go program that loads the modules,
// mounts the server over the emulated network (the host's 127.0.0.1 is 10.0.2.2 there) and carries out cases. A case is one
// function in ./guest, named in internal/plan; what it needs done on the host's side (a ping into the interface, a packet
// socket on it, an end to the server) it asks for over the guest's second serial port, see internal/talk. The guest's console is the log, shown when
// a case fails, and has one JSON line a case.
//
// TestRecipes carries out the README's recipes, line by line as they stand there. Those for virtual machines share one guest, which has the devices of all of them.
//
// Each case gets a mount of its own, and after each the server must be back at no interface at all. A case that hangs costs that guest: the stacks of
// its processes go to the console, and a new guest carries on with the next case.
package e2e
