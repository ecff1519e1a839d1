package decode

// A Mark is a place in what was written to a Stream, of which it will be known how many frames come before it.
type Mark struct {
	stream *Stream
	byte   int64
	known  bool  // guarded by the stream's mu
	frames int64 // guarded by the stream's mu, until known
}

// Mark marks the place behind all that was written until now.
func (s *Stream) Mark() *Mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := s.consumed + int64(s.in.Len())
	if n := len(s.marks); n > 0 && s.marks[n-1].byte == written {
		return s.marks[n-1]
	}
	m := &Mark{stream: s, byte: written}
	s.marks = append(s.marks, m) // as many as in has bytes at most
	s.settle()
	return m
}

// Frames says how many frames, of all that the stream has given or will give, come before the mark. known is false while its decoder has
// not got there; Changed is called when it has.
func (m *Mark) Frames() (frames int64, known bool) {
	m.stream.mu.Lock()
	defer m.stream.mu.Unlock()
	return m.frames, m.known
}

// settle makes those marks known that nothing more comes before. mu is held.
func (s *Stream) settle() {
	if s.starved() { // a decoder that waits for bytes too has put out all it could
		s.settleTo(s.consumed + int64(s.in.Len()))
	} else if s.state != coded {
		s.settleTo(s.consumed)
	}
}

// settleTo makes the marks known that lie before or at a place of the bytes. mu is held.
func (s *Stream) settleTo(place int64) {
	n := 0
	for ; n < len(s.marks) && s.marks[n].byte <= place; n++ {
		s.marks[n].known = true
		s.marks[n].frames = s.status.Frames + int64(s.out.frames)
	}
	s.marks = s.marks[n:]
	if len(s.marks) == 0 {
		s.marks = nil
	}
}

// nextMark is the place of the first mark that is not known; ok is false when there is none. mu is held.
func (s *Stream) nextMark() (place int64, ok bool) {
	if len(s.marks) == 0 {
		return 0, false
	}
	return s.marks[0].byte, true
}
