package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
)

// newOutbox returns an outbox and the end that reads what it writes; a write lasts until it was read.
func newOutbox() (*outbox, net.Conn) {
	theirs, ours := net.Pipe()
	o := new(outbox)
	o.init(theirs, new(counters))
	return o, ours
}

// What each pusher pushed comes in its order, whole, whichever way it was pushed.
func TestOutboxKeepsOrder(t *testing.T) {
	const pushers, each = 6, 300
	o, peer := newOutbox()
	var wg sync.WaitGroup
	for i := range pushers {
		wg.Go(func() {
			for j := range each {
				size := 8 + (i*each+j)*37%20000
				b := make([]byte, size)
				binary.LittleEndian.PutUint32(b, uint32(size))
				b[4] = byte(i)
				binary.LittleEndian.PutUint16(b[5:], uint16(j))
				for k := range b[7:] {
					b[7+k] = byte(i + j)
				}
				switch j % 3 {
				case 0:
					o.push(b)
				case 1:
					o.write(b)
					clear(b) // whoever called write may use b again
				default:
					buf := getBuffer(size)
					o.pushBuffer(append(buf.b[:0], b...), buf)
				}
				o.flush()
			}
		})
	}
	next := make([]uint16, pushers)
	for range pushers * each {
		var size [4]byte
		if _, err := io.ReadFull(peer, size[:]); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, binary.LittleEndian.Uint32(size[:])-4)
		if _, err := io.ReadFull(peer, b); err != nil {
			t.Fatal(err)
		}
		i, j := b[0], binary.LittleEndian.Uint16(b[1:])
		if j != next[i] {
			t.Fatalf("message %d of pusher %d came where %d is due", j, i, next[i])
		}
		next[i]++
		if !bytes.Equal(b[3:], bytes.Repeat([]byte{i + byte(j)}, len(b)-3)) {
			t.Fatalf("message %d of pusher %d was changed on its way", j, i)
		}
	}
	wg.Wait()
	if o.queued != 0 || o.writing {
		t.Errorf("%d bytes are left", o.queued)
	}
}

// Whoever makes replies waits while too many are queued, and goes on when the peer has read.
func TestOutboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, peer := newOutbox()
		go func() { o.push(make([]byte, 10)); o.flush() }()
		synctest.Wait() // it writes, and nobody reads
		n := 0
		for !o.full() {
			o.push(make([]byte, 10000))
			n++
		}
		if n*10000 > maxQueued+10000 {
			t.Errorf("%d bytes were queued before it was full", n*10000)
		}
		room := make(chan bool)
		go func() { room <- o.waitRoom() }()
		synctest.Wait()
		select {
		case <-room:
			t.Fatal("there is room in a full outbox")
		default:
		}
		if _, err := io.ReadFull(peer, make([]byte, 10+n*10000)); err != nil {
			t.Fatal(err)
		}
		if !<-room {
			t.Error("no room when all was read")
		}
	})
}

// The end wakes the one who waits for room, and the one who writes when the connection is closed; nothing is kept afterwards.
func TestOutboxEndsWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, peer := newOutbox()
		done := make(chan bool)
		go func() { o.write(make([]byte, 10)); close(done) }()
		synctest.Wait()
		for !o.full() {
			o.push(make([]byte, 10000))
		}
		room := make(chan bool)
		go func() { room <- o.waitRoom() }()
		synctest.Wait()
		cause := errors.New("the end")
		o.end(cause)
		if <-room {
			t.Error("there is room in an outbox that has ended")
		}
		if o.looks(1); o.err != cause || o.queue != nil || o.queued != 0 {
			t.Errorf("after the end: %v, %d chunks, %d bytes", o.err, len(o.queue), o.queued)
		}
		peer.Close()
		<-done
		o.end(errors.New("another"))
		o.push([]byte("late"))
		o.write([]byte("late"))
		o.pushBuffer([]byte("late"), getBuffer(4))
		o.flush()
		if o.err != cause || o.queue != nil || o.queued != 0 || o.writing {
			t.Errorf("pushed after the end: %v, %d chunks", o.err, len(o.queue))
		}
	})
}

// The watchdog sees a write that goes on, and forgets it when another begins.
func TestOutboxLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, peer := newOutbox()
		for range 2 {
			if o.looks(1) {
				t.Error("nobody writes, and it is stuck")
			}
		}
		go func() { o.write(make([]byte, 10)) }()
		synctest.Wait()
		for look, want := range []bool{false, false, true, true} { // the first look only remembers what it saw
			if got := o.looks(2); got != want {
				t.Errorf("look %d at a write that goes on says %v", look, got)
			}
		}
		io.ReadFull(peer, make([]byte, 10))
		synctest.Wait()
		if o.looks(1) {
			t.Error("the write is done, and it is stuck")
		}
	})
}
