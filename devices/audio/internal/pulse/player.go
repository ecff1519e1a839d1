package pulse

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jfreymuth/pulse/proto"
	"github.com/rs/zerolog"
)

// stereoFloat is the bytes of a frame as a Player sends it.
const stereoFloat = 8

// A Player plays stereo sound to a sink of a server. All its methods may be called from several goroutines.
//
//	away -- a block, the server there --> playing -- no block for a second --> corked
//	  ^                                    |   ^                                 |
//	  '--------- the server goes ----------'   '------------- a block -----------'
//
// While it plays the server holds two blocks at most beside the sink's own buffer, and asks for more as they sound. When no more comes it
// plays what it has, and then nothing.
type Player struct {
	server, device string
	rate           int
	block          time.Duration
	restAfter      time.Duration // without a block, until the stream is corked and the server's device may sleep
	lastWords      time.Duration // for Close, until it stops to listen
	log            zerolog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	once   sync.Once // closes

	// turn holds a token for whoever uses what follows: a Write, the timer, and at last Close, which keeps it.
	turn    chan struct{}
	stream  *playback // nil while the server is away
	away    bool      // and said so
	backoff backoff
	last    time.Time   // when the latest block was played
	pushed  bool        // out of a server that hoards
	rest    *time.Timer // for idle
	bytes   []byte
}

// A playback is a stream on a connected server.
type playback struct {
	*conn
	index  uint32 // of the stream on this connection
	input  uint32 // of the stream among all of the server's
	hoards bool   // it is PipeWire, which plays no less than what it asks for at once, and keeps the last of a sound until more comes
	size   int    // bytes at which it asks for no more
	least  int    // bytes for which it asks at least
	corked bool

	wanted atomic.Int64  // bytes asked for and not sent yet
	sent   atomic.Int64  // bytes, ever
	ranDry atomic.Int64  // how many of them had been played when the server last had no more to play
	more   chan struct{} // has a token when wanted or ranDry has grown
}

// NewPlayer makes a player of frames at a rate, in blocks of about that length, to the sink called device on the server (see Probe); "" is
// the server's default sink. It does not connect: the first Write does.
func NewPlayer(server, device string, rate int, block time.Duration, log zerolog.Logger) *Player {
	p := &Player{
		server: server, device: device, rate: rate, block: block, log: log,
		restAfter: time.Second, lastWords: time.Second / 4, turn: make(chan struct{}, 1),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.turn <- struct{}{}
	p.rest = time.AfterFunc(time.Hour, p.idle)
	p.rest.Stop()
	return p
}

// Write plays a block of stereo frames, left and right in turn, from -1 to 1. It returns when the server asks for the next one. While the
// server is away, or has no such sink, it waits; what the server had in hand when it died is lost, and nothing else. The errors are those of
// ctx, and ErrClosed.
func (p *Player) Write(ctx context.Context, block []float32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-p.turn:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ctx.Done():
		return ErrClosed
	}
	var rest time.Duration
	defer func() { p.pass(rest) }()

	p.bytes = p.bytes[:0]
	for _, v := range block {
		p.bytes = binary.LittleEndian.AppendUint32(p.bytes, math.Float32bits(v))
	}
	for {
		if err := p.connect(ctx); err != nil {
			return err
		}
		err := p.stream.play(ctx, p.ctx, p.bytes)
		if err == nil {
			break
		} else if !errors.Is(err, errGone) {
			return err
		}
	}
	p.backoff.settle(p.stream.born)
	p.last, p.pushed = time.Now(), false
	if rest = p.restAfter; p.stream.hoards {
		rest = p.block / 2
	}
	// A server that goes now has had its block; the next one waits for it.
	if err := p.stream.room(ctx, p.ctx, len(p.bytes)); !errors.Is(err, errGone) {
		return err
	}
	return nil
}

// pass gives the turn back, and has the timer go off after rest, if that is not 0. Whoever has the turn when it does passes it again.
func (p *Player) pass(rest time.Duration) {
	p.turn <- struct{}{}
	if rest > 0 && p.ctx.Err() == nil {
		p.rest.Reset(rest)
	}
}

// connect has p.stream be one on a server that is there, or else returns ErrClosed or the error of ctx.
func (p *Player) connect(ctx context.Context) error {
	if p.stream != nil {
		err := p.stream.reason()
		if err == nil {
			return nil
		}
		p.stream.close()
		p.stream = nil
		p.lost(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	for {
		err := p.backoff.wait(ctx)
		if err == nil {
			p.stream, err = openPlayback(ctx, p)
		}
		switch {
		case err == nil:
			if p.away {
				p.away = false
				p.log.Info().Msg("audio: the sound server is back")
			}
			return nil
		case p.ctx.Err() != nil:
			return ErrClosed
		case ctx.Err() != nil:
			return ctx.Err()
		}
		p.lost(err)
	}
}

// lost says once that the server is away.
func (p *Player) lost(err error) {
	if !p.away {
		p.away = true
		p.log.Warn().Err(err).Msg("audio: the sound server is away; what plays waits for it")
	}
}

func openPlayback(ctx context.Context, p *Player) (*playback, error) {
	if len(p.device) > maxName {
		return nil, fmt.Errorf("pulse: there is no sink of a name of %d bytes", len(p.device))
	}
	s := &playback{more: make(chan struct{}, 1)}
	c, err := connect(ctx, p.server, s.heard)
	if err != nil {
		return nil, err
	}
	s.conn = c
	if err := s.start(ctx, p); err != nil {
		c.close()
		return nil, err
	}
	return s, nil
}

func (s *playback) start(ctx context.Context, p *Player) error {
	var info proto.GetServerInfoReply
	if err := s.ask(ctx, &proto.GetServerInfo{}, &info, shapeServer); err != nil {
		return fmt.Errorf("pulse: cannot ask what server it is: %w", err)
	}
	s.hoards = strings.Contains(info.PackageName, "PipeWire")
	if p.device != "" { // PipeWire would take another sink
		err := s.ask(ctx, &proto.LookupSink{SinkName: p.device}, &proto.LookupSinkReply{}, shapeIndex)
		if errors.Is(err, proto.ErrNoSuchEntity) {
			return fmt.Errorf("pulse: the server has no sink %q", p.device)
		} else if err != nil {
			return fmt.Errorf("pulse: cannot look for sink %q: %w", p.device, err)
		}
	}
	// Two blocks in all, of which the server keeps half a one for the sink's own buffer, and it asks for half a block at a time. It begins
	// with the first frame, so that the last ones of a sound, however few, are never kept for want of more.
	half := max(1, int(int64(p.rate)*int64(p.block)/int64(2*time.Second))) * stereoFloat
	var r proto.CreatePlaybackStreamReply
	err := s.ask(ctx, &proto.CreatePlaybackStream{
		SampleSpec:            proto.SampleSpec{Format: proto.FormatFloat32LE, Channels: 2, Rate: uint32(p.rate)},
		ChannelMap:            proto.ChannelMap{proto.ChannelLeft, proto.ChannelRight},
		SinkIndex:             proto.Undefined,
		SinkName:              p.device,
		BufferMaxLength:       proto.Undefined,
		BufferTargetLength:    uint32(4 * half),
		BufferPrebufferLength: stereoFloat,
		BufferMinimumRequest:  uint32(half),
		AdjustLatency:         true,
		ChannelVolumes:        proto.ChannelVolumes{uint32(proto.VolumeNorm), uint32(proto.VolumeNorm)},
		Properties:            proto.PropList{"media.name": proto.PropListString("mix")},
	}, &r, shapePlayback)
	if errors.Is(err, proto.ErrNoSuchEntity) {
		return errors.New("pulse: the sound server has no sink")
	} else if err != nil {
		return fmt.Errorf("pulse: cannot open a stream to play: %w", err)
	}
	s.index, s.input = r.StreamIndex, r.SinkInputIndex
	s.size, s.least = int(r.BufferTargetLength), int(r.BufferMinimumRequest)
	s.wanted.Add(int64(r.Missing))
	return nil
}

// heard is told by the library's goroutine what the server says unasked.
func (s *playback) heard(c *conn, message any) {
	switch m := message.(type) {
	case *proto.Request:
		s.wanted.Add(int64(m.Length))
		s.tell()
	case *proto.Underflow:
		s.ranDry.Store(m.Offset)
		s.tell()
	case *proto.PlaybackStreamKilled:
		c.fail(errors.New("pulse: the sound server has ended the stream"))
	}
}

func (s *playback) tell() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// dry says whether all has been played, but for what a server that hoards keeps.
func (s *playback) dry() bool { return s.sent.Load()-s.ranDry.Load() < int64(s.least) }

// errGone says that the connection has ended.
var errGone = errors.New("pulse: gone")

// room waits until the server asks for n bytes, or for the half block that it asks for at once: then it has a block left, and room for one.
func (s *playback) room(ctx, closed context.Context, n int) error {
	n = max(1, min(n, s.least))
	for s.wanted.Load() < int64(n) {
		select {
		case <-s.more:
		case <-s.dead:
			return errGone
		case <-ctx.Done():
			return ctx.Err()
		case <-closed.Done():
			return ErrClosed
		}
	}
	return nil
}

// play sends b, when the server asks for it.
func (s *playback) play(ctx, closed context.Context, b []byte) error {
	if s.corked {
		if err := s.ask(closed, &proto.CorkPlaybackStream{StreamIndex: s.index}, nil, shapeNothing); err != nil {
			s.fail(err)
			return errGone
		}
		s.corked = false
	}
	if err := s.room(ctx, closed, len(b)); err != nil {
		return err
	}
	return s.send(b)
}

// send sends b now.
func (s *playback) send(b []byte) error {
	s.wanted.Add(-int64(len(b)))
	s.sent.Add(int64(len(b)))
	if s.client.Send(s.index, b) != nil || s.reason() != nil {
		return errGone
	}
	return nil
}

// idle is called by the timer: nothing has come for a while. What a server hoards is pushed out by silence, and after a rest the stream is
// corked, so that the server need not mix its silence.
func (p *Player) idle() {
	select {
	case <-p.turn:
	default:
		return // something is coming
	}
	var again time.Duration
	defer func() { p.pass(again) }()
	s := p.stream
	if s == nil || s.corked || s.reason() != nil {
		return
	}
	quiet := time.Since(p.last) // less than it seems, when a block came just after the timer went off
	if s.hoards && !p.pushed {
		if quiet < p.block/2 {
			again = p.block / 2
			return
		}
		p.pushed = true
		s.send(make([]byte, max(s.least, len(p.bytes))))
	}
	if quiet < p.restAfter || !s.dry() { // a server that stood still has not played all
		again = p.restAfter
		return
	}
	if err := s.ask(p.ctx, &proto.CorkPlaybackStream{StreamIndex: s.index, Corked: true}, nil, shapeNothing); err != nil {
		s.fail(err)
		return
	}
	s.corked = true
}

// Close plays out what the server has, for a quarter of a second at most, and ends the connection. A Write that waits returns ErrClosed.
// Nothing of the Player runs any more when Close returns.
func (p *Player) Close() error {
	p.once.Do(func() {
		p.cancel()
		<-p.turn
		p.rest.Stop()
		s := p.stream
		if s == nil {
			return
		}
		if !s.corked && s.reason() == nil {
			ctx, cancel := context.WithTimeout(context.Background(), p.lastWords)
			s.ask(ctx, &proto.DrainPlaybackStream{StreamIndex: s.index}, nil, shapeNothing)
			cancel()
		}
		s.close()
	})
	return nil
}

// String names the player as audioctl does: "pulse", and the sink's name if it has one.
func (p *Player) String() string {
	if p.device == "" {
		return "pulse"
	}
	return "pulse " + p.device
}
