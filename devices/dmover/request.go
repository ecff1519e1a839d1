package dmover

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/devices/dmover/internal/engine"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// A line is a request as it was written: what there is, not yet what it means.
type line struct {
	id     uint64
	out    span
	hasOut bool
	in     [numInputs]span
	inputs int // of in
	imm    []byte
}

// A span is BUF:OFF:LEN.
type span struct {
	buf    int
	off, n int64
}

// maxLine bounds a request, in bytes.
const maxLine = 1024

// parseLine reads a request. The words are divided by blanks; out, in and imm may come in any order.
func parseLine(text string) (l line, err error) {
	if len(text) > maxLine {
		return l, fmt.Errorf("a request has %d bytes at most", maxLine)
	}
	hasID, hasImm := false, false
	for w := range strings.FieldsSeq(text) {
		if !hasID {
			if l.id, err = strconv.ParseUint(w, 10, 64); err != nil {
				return l, fmt.Errorf("%s is no id: begin with a number from 0 to %d", quote(w), uint64(math.MaxUint64))
			}
			hasID = true
			continue
		}
		name, value, _ := strings.Cut(w, "=")
		switch {
		case name == "out" && !l.hasOut:
			l.hasOut = true
			l.out, err = parseSpan(value)
		case name == "in":
			if l.inputs == numInputs {
				return l, fmt.Errorf("it has more than %d inputs", numInputs)
			}
			l.in[l.inputs], err = parseSpan(value)
			l.inputs++
		case name == "imm" && !hasImm:
			hasImm = true
			if l.imm, err = hex.DecodeString(value); err != nil {
				err = fmt.Errorf("%s is no immediate: write bytes as pairs of hexadecimal digits", quote(value))
			}
		case name == "out" || name == "imm":
			err = fmt.Errorf("%s is there twice", name)
		default:
			err = fmt.Errorf("%s is neither out=BUF:OFF:LEN nor in=BUF:OFF:LEN nor imm=HEX", quote(w))
		}
		if err != nil {
			return l, err
		}
	}
	if !hasID {
		return l, errors.New("it is empty")
	}
	return l, nil
}

func parseSpan(s string) (sp span, err error) {
	name, rest, ok1 := strings.Cut(s, ":")
	off, n, ok2 := strings.Cut(rest, ":")
	if !ok1 || !ok2 {
		return sp, fmt.Errorf("%s is not BUF:OFF:LEN", quote(s))
	}
	if sp.buf = slices.Index(bufferNames[:], name); sp.buf < 0 {
		return sp, fmt.Errorf("%s is no buffer: in0 to in7, or out", quote(name))
	}
	if sp.off, err = parseSize(off); err == nil {
		sp.n, err = parseSize(n)
	}
	if err != nil {
		return sp, err
	}
	if sp.off > math.MaxInt64-sp.n {
		return sp, fmt.Errorf("%s ends beyond %d", quote(s), int64(math.MaxInt64))
	}
	return sp, nil
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%s is no number from 0 to %d", quote(s), int64(math.MaxInt64))
	}
	return int64(n), nil
}

// An operand is a span of a buffer as it was when the request came: of memory, or of a file, to which the request refers then.
type operand struct {
	span
	buffer *buffer
	file   *boundFile // nil: memory
}

// A request is one that is outstanding: from its write until its response is there.
type request struct {
	s       *Session
	id      uint64
	f       *engine.Func
	backend *engine.Backend
	kernel  bool      // a copy or zero of files that the kernel may do itself
	in      []operand // of operands
	out     operand   // of a map
	imm     []byte    // padded to what the function takes

	operands [numInputs]operand
	n        int64 // bytes of an input, or of the output where there is none

	begin time.Time
	done  atomic.Int64 // bytes of n that are done
	parts atomic.Int32 // tasks that have not ended
	fold  engine.Fold  // of a fold, which has one task

	mu  sync.Mutex // guards err
	err error      // the first failure of its tasks
}

// requests are those that have been answered: their memory serves others.
var requests = sync.Pool{New: func() any { return new(request) }}

// fail notes why a task failed.
func (r *request) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *request) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// hasFile reports whether a file takes part.
func (r *request) hasFile() bool {
	return r.out.file != nil || slices.ContainsFunc(r.in, func(o operand) bool { return o.file != nil })
}

// release ends what the request refers to.
func (r *request) release() {
	for _, o := range r.in {
		o.file.release()
	}
	r.out.file.release()
}

// invalid is the error of a request that makes no sense.
func invalid(format string, args ...any) error { return p9ext.Errorf(linux.EINVAL, format, args...) }

// prepare makes a request of a line, or says what is wrong with it.
func (s *Session) prepare(l *line) (_ *request, err error) {
	s.mu.Lock()
	f, backend, kernel := s.f, s.backend, s.kernel
	s.mu.Unlock()
	if f == nil {
		return nil, invalid("no function is chosen: send func NAME to ctl")
	}
	r := requests.Get().(*request)
	*r = request{s: s, id: l.id, f: f, backend: backend, begin: time.Now()}
	defer func() {
		if err != nil {
			r.release()
		}
	}()
	switch {
	case f.IsMap() && !l.hasOut:
		return nil, invalid("%s wants out=BUF:OFF:LEN", f.Name)
	case !f.IsMap() && l.hasOut:
		return nil, invalid("%s has no output", f.Name)
	case l.inputs < f.Least || l.inputs > f.Inputs:
		if f.Least < f.Inputs {
			return nil, invalid("%s wants %d to %d inputs, this has %d", f.Name, f.Least, f.Inputs, l.inputs)
		}
		return nil, invalid("%s wants %d inputs, this has %d", f.Name, f.Inputs, l.inputs)
	case len(l.imm) > f.ImmIn:
		return nil, invalid("%s takes %d bytes of immediate, this has %d", f.Name, f.ImmIn, len(l.imm))
	}
	if r.imm = l.imm; len(r.imm) < f.ImmIn {
		r.imm = append(r.imm, make([]byte, f.ImmIn-len(r.imm))...)
	}
	if l.inputs > 0 {
		r.n = l.in[0].n
	} else {
		r.n = l.out.n
	}
	r.in = r.operands[:0]
	for _, sp := range l.in[:l.inputs] {
		if sp.n != r.n {
			return nil, invalid("the inputs have %d and %d bytes", r.n, sp.n)
		}
		o, err := s.operand(sp, false)
		if err != nil {
			return nil, err
		}
		r.in = append(r.in, o)
	}
	if l.hasOut {
		if f.Outputs > 1 && (r.n > math.MaxInt64/2 || l.out.n != 2*r.n) || f.Outputs == 1 && l.out.n != r.n {
			return nil, invalid("the output has %d bytes, %s of %d bytes makes %d", l.out.n, f.Name, r.n, int64(f.Outputs)*min(r.n, math.MaxInt64/2))
		}
		if l.out.buf != outBuffer {
			return nil, invalid("%s is an input buffer: the output is out", bufferNames[l.out.buf])
		}
		if r.out, err = s.operand(l.out, true); err != nil {
			return nil, err
		}
		for _, in := range r.in {
			if overlap(in, r.out) {
				return nil, invalid("the input %s overlaps the output", in.buffer.name())
			}
		}
	}
	if kernel && r.out.file != nil && (f.Name == "zero" || f.Name == "copy" && r.in[0].file != nil) {
		r.kernel = true
	}
	return r, nil
}

// operand finds out what a span stands for now. The output buffer is extended where that is needed.
func (s *Session) operand(sp span, output bool) (operand, error) {
	b := &s.buffers[sp.buf]
	o := operand{span: sp, buffer: b}
	b.mu.Lock()
	if b.file == nil {
		defer b.mu.Unlock()
		end := sp.off + sp.n
		switch {
		case output && end > int64(b.limit):
			return o, invalid("%s ends at %d, it holds %d bytes at most (--dmover-buffer)", b.name(), end, b.limit)
		case output:
			return o, b.extend(int(end))
		case end > int64(len(b.mem)):
			return o, invalid("%s has %d bytes, the request ends at %d", b.name(), len(b.mem), end)
		}
		return o, nil
	}
	o.file = b.file
	o.file.refs.Add(1)
	b.mu.Unlock()
	end, limit := sp.off+sp.n, o.file.len
	if !output {
		size, err := o.file.size()
		if err != nil {
			o.file.release()
			return operand{}, err
		}
		limit = size
	}
	if limit >= 0 && end > limit {
		o.file.release()
		return operand{}, invalid("%s has %d bytes, the request ends at %d", b.name(), limit, end)
	}
	if o.file.off > math.MaxInt64-end {
		o.file.release()
		return operand{}, invalid("%s ends beyond what a file can have", b.name())
	}
	return o, nil
}

// overlap reports whether two operands have a byte in common.
func overlap(a, b operand) bool {
	aOff, bOff := a.off, b.off
	switch {
	case a.file == nil && b.file == nil:
		if a.buffer != b.buffer {
			return false
		}
	case a.file != nil && b.file != nil:
		if a.file.id != b.file.id {
			return false
		}
		aOff, bOff = a.off+a.file.off, b.off+b.file.off
	default:
		return false
	}
	return a.n > 0 && b.n > 0 && aOff < bOff+b.n && bOff < aOff+a.n
}

// response is the line that answers r, which has ended.
func (r *request) response() []byte {
	if err := r.failure(); err != nil {
		return errorLine(r.id, err)
	}
	b := strconv.AppendUint(make([]byte, 0, 48), r.id, 10)
	b = append(b, " ok"...)
	if r.fold != nil {
		b = append(b, " imm="...)
		b = hex.AppendEncode(b, r.fold.Sum())
	}
	b = append(b, " bytes="...)
	b = strconv.AppendInt(b, r.n, 10)
	return append(b, '\n')
}

// errorLine is the response to a request that failed.
func errorLine(id uint64, err error) []byte {
	return fmt.Appendf(nil, "%d error %d %s\n", id, uint32(errnoOf(err)), strings.ReplaceAll(err.Error(), "\n", " "))
}
