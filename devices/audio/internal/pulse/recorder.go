package pulse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jfreymuth/pulse/proto"
	"github.com/rs/zerolog"
)

// ErrNoSource says that a server has nothing to record from but the monitors of its sinks.
var ErrNoSource = errors.New("pulse: the sound server has no source")

const (
	stereo16 = 4  // bytes of a frame as a Recorder gives it
	pieces   = 64 // of 10 ms that wait for whoever takes them
)

// A Recorder records from a source of a server.
type Recorder struct {
	server, device string
	rate           int
	give           func(frames []byte)
	log            zerolog.Logger

	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned
}

// A capture is a stream on a connected server.
type capture struct {
	*conn
	pieces chan []byte
	full   sync.Once
	log    zerolog.Logger
}

// NewRecorder records stereo frames at a rate from the source called device on the server (see Probe). "" is the server's default source;
// ErrNoSource says that it has only monitors, which are recorded from only when they are named.
//
// give gets the frames, 16 bits, little-endian, left and right in turn, about 10 ms at a time, one call after the other. The slice is its
// own. While it does not return 640 ms of sound wait, and what comes then is lost. It must not call Close.
//
// ctx is for the beginning alone: the recorder records until Close. When the server goes it waits until it is back, and gives nothing
// meanwhile.
func NewRecorder(ctx context.Context, server, device string, rate int, give func(frames []byte), log zerolog.Logger) (*Recorder, error) {
	r := &Recorder{server: server, device: device, rate: rate, give: give, log: log, done: make(chan struct{})}
	s, err := openCapture(ctx, r)
	if err != nil {
		return nil, err
	}
	ctx, r.cancel = context.WithCancel(context.Background())
	go r.run(ctx, s)
	return r, nil
}

// Close ends the recording. It returns when give has returned for the last time.
func (r *Recorder) Close() error {
	r.cancel()
	<-r.done
	return nil
}

// String names the recorder: "pulse", and the source's name if it has one.
func (r *Recorder) String() string {
	if r.device == "" {
		return "pulse"
	}
	return "pulse " + r.device
}

// run gives what comes until ctx ends. It owns s.
func (r *Recorder) run(ctx context.Context, s *capture) {
	defer close(r.done)
	var b backoff
	for {
		r.pass(ctx, s)
		b.settle(s.born)
		err := s.reason()
		s.close()
		away := false
		for s = nil; s == nil; {
			if ctx.Err() != nil {
				return
			}
			if !away {
				away = true
				r.log.Warn().Err(err).Msg("audio: the sound server is away; the recording waits for it")
			}
			if b.wait(ctx) == nil {
				s, err = openCapture(ctx, r)
			}
		}
		r.log.Info().Msg("audio: the sound server is back, and the recording goes on")
	}
}

// pass gives what comes until s or ctx ends.
func (r *Recorder) pass(ctx context.Context, s *capture) {
	for {
		select {
		case p := <-s.pieces:
			r.give(p)
		case <-s.dead:
			for {
				select {
				case p := <-s.pieces:
					r.give(p)
				default:
					return
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

func openCapture(ctx context.Context, r *Recorder) (*capture, error) {
	if len(r.device) > maxName {
		return nil, fmt.Errorf("pulse: there is no source of a name of %d bytes", len(r.device))
	}
	s := &capture{pieces: make(chan []byte, pieces), log: r.log}
	c, err := connect(ctx, r.server, s.heard)
	if err != nil {
		return nil, err
	}
	s.conn = c
	if err := s.start(ctx, r); err != nil {
		c.close()
		return nil, err
	}
	return s, nil
}

func (s *capture) start(ctx context.Context, r *Recorder) error {
	if r.device != "" { // PipeWire would take another source
		err := s.ask(ctx, &proto.LookupSource{SourceName: r.device}, &proto.LookupSourceReply{}, shapeIndex)
		if errors.Is(err, proto.ErrNoSuchEntity) {
			return fmt.Errorf("pulse: the server has no source %q", r.device)
		} else if err != nil {
			return fmt.Errorf("pulse: cannot look for source %q: %w", r.device, err)
		}
	} else {
		var list proto.GetSourceInfoListReply
		if err := s.ask(ctx, &proto.GetSourceInfoList{}, &list, shapeSources); err != nil {
			return fmt.Errorf("pulse: cannot list the sources: %w", err)
		}
		if !slices.ContainsFunc(list, func(i *proto.GetSourceInfoReply) bool { return i.MonitorSourceIndex == proto.Undefined }) {
			return ErrNoSource
		}
	}
	err := s.ask(ctx, &proto.CreateRecordStream{
		SampleSpec:         proto.SampleSpec{Format: proto.FormatInt16LE, Channels: 2, Rate: uint32(r.rate)},
		ChannelMap:         proto.ChannelMap{proto.ChannelLeft, proto.ChannelRight},
		SourceIndex:        proto.Undefined,
		SourceName:         r.device,
		BufferMaxLength:    proto.Undefined,
		BufferFragSize:     uint32(max(1, r.rate/100) * stereo16),
		DirectOnInputIndex: proto.Undefined,
		AdjustLatency:      true,
		ChannelVolumes:     proto.ChannelVolumes{uint32(proto.VolumeNorm), uint32(proto.VolumeNorm)},
		Properties:         proto.PropList{"media.name": proto.PropListString("recording")},
	}, &proto.CreateRecordStreamReply{}, shapeRecord)
	if errors.Is(err, proto.ErrNoSuchEntity) {
		return ErrNoSource
	} else if err != nil {
		return fmt.Errorf("pulse: cannot open a stream to record: %w", err)
	}
	return nil
}

// heard is told by the library's goroutine what the server says unasked.
func (s *capture) heard(c *conn, message any) {
	switch m := message.(type) {
	case *proto.DataPacket:
		select {
		case s.pieces <- slices.Clone(m.Data):
		default:
			s.full.Do(func() { s.log.Warn().Msg("audio: the recording is taken too slowly: some of it is lost") })
		}
	case *proto.RecordStreamKilled:
		c.fail(errors.New("pulse: the sound server has ended the stream"))
	}
}
