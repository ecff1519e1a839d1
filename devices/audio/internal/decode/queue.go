package decode

// A queue holds frames that are decoded, of one sound after another.
type queue struct {
	ring      []float32
	first     int       // of the samples
	length    int       // in samples
	frames    int       // over all stretches
	stretches []stretch // in order
}

// A stretch is frames of one sound.
type stretch struct {
	sound  Sound
	frames int
}

// sound is what the first frames are.
func (q *queue) sound() (Sound, bool) {
	if len(q.stretches) == 0 {
		return Sound{}, false
	}
	return q.stretches[0].sound, true
}

// write appends whole frames.
func (q *queue) write(src []float32, sound Sound) {
	a, b := q.extend(len(src), sound)
	copy(a, src)
	copy(b, src[len(a):])
}

// extend appends n samples of whole frames, and returns where they are to be put, in one part or two. It grows as it must: who calls it bounds what is
// in it.
func (q *queue) extend(n int, sound Sound) (a, b []float32) {
	if n == 0 {
		return nil, nil
	}
	if need := q.length + n; need > len(q.ring) {
		ring := make([]float32, max(need, 2*len(q.ring), 1024))
		q.copyTo(ring[:q.length])
		q.ring, q.first = ring, 0
	}
	end := (q.first + q.length) % len(q.ring)
	a = q.ring[end:min(end+n, len(q.ring))]
	b = q.ring[:n-len(a)]
	q.length += n

	frames := n / sound.Channels
	q.frames += frames
	if n := len(q.stretches); n > 0 && q.stretches[n-1].sound == sound {
		q.stretches[n-1].frames += frames
	} else {
		q.stretches = append(q.stretches, stretch{sound, frames})
	}
	return a, b
}

// copyTo copies the first samples to dst, which is not longer than the queue.
func (q *queue) copyTo(dst []float32) {
	if len(dst) == 0 {
		return
	}
	n := copy(dst, q.ring[q.first:])
	copy(dst[n:], q.ring)
}

// read takes whole frames of the first sound.
func (q *queue) read(dst []float32) (frames int, sound Sound) {
	if len(q.stretches) == 0 {
		return 0, Sound{}
	}
	s := &q.stretches[0]
	sound = s.sound
	frames = min(len(dst)/sound.Channels, s.frames)
	n := frames * sound.Channels
	q.copyTo(dst[:n])
	if n > 0 {
		q.first = (q.first + n) % len(q.ring)
	}
	q.length -= n
	q.frames -= frames
	s.frames -= frames
	if s.frames == 0 {
		q.stretches = append(q.stretches[:0], q.stretches[1:]...)
	}
	return frames, sound
}

// reset empties the queue.
func (q *queue) reset() {
	q.first, q.length, q.frames = 0, 0, 0
	q.stretches = q.stretches[:0]
}
