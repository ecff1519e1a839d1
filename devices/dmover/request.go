package dmover

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
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

// parse reads a request into l, which is empty. The words are divided by blanks; out, in and imm may come in any order.
func (l *line) parse(text []byte) (err error) {
	if len(text) > maxLine {
		return fmt.Errorf("a request has %d bytes at most", maxLine)
	}
	w, text := cutWord(text)
	if len(w) == 0 {
		return errors.New("it is empty")
	}
	var ok bool
	if l.id, ok = number(w, math.MaxUint64); !ok {
		return fmt.Errorf("%s is no id: begin with a number from 0 to %d", quote(string(w)), uint64(math.MaxUint64))
	}
	hasImm := false
	for w, text = cutWord(text); len(w) > 0 && err == nil; w, text = cutWord(text) {
		name, value, _ := bytes.Cut(w, equals)
		switch {
		case string(name) == "out" && !l.hasOut:
			l.hasOut = true
			l.out, err = parseSpan(value)
		case string(name) == "in":
			if l.inputs == numInputs {
				return fmt.Errorf("it has more than %d inputs", numInputs)
			}
			l.in[l.inputs], err = parseSpan(value)
			l.inputs++
		case string(name) == "imm" && !hasImm:
			hasImm = true
			if l.imm, err = hex.AppendDecode(nil, value); err != nil {
				err = fmt.Errorf("%s is no immediate: write bytes as pairs of hexadecimal digits", quote(string(value)))
			}
		case string(name) == "out" || string(name) == "imm":
			err = fmt.Errorf("%s is there twice", name)
		default:
			err = fmt.Errorf("%s is neither out=BUF:OFF:LEN nor in=BUF:OFF:LEN nor imm=HEX", quote(string(w)))
		}
	}
	return err
}

// cutWord returns the first word of s, nothing where there is none, and what follows it.
func cutWord(s []byte) (word, rest []byte) {
	begin := 0
	for begin < len(s) && isBlank(s[begin]) {
		begin++
	}
	end := begin
	for end < len(s) && !isBlank(s[end]) {
		end++
	}
	return s[begin:end], s[end:]
}

var newline, equals, colon = []byte("\n"), []byte("="), []byte(":")

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

func parseSpan(s []byte) (sp span, err error) {
	name, rest, ok1 := bytes.Cut(s, colon)
	off, n, ok2 := bytes.Cut(rest, colon)
	if !ok1 || !ok2 {
		return sp, fmt.Errorf("%s is not BUF:OFF:LEN", quote(string(s)))
	}
	if sp.buf = bufferNumber(string(name)); sp.buf < 0 {
		return sp, fmt.Errorf("%s is no buffer: in0 to in7, or out", quote(string(name)))
	}
	if sp.off, err = parseSize(off); err == nil {
		sp.n, err = parseSize(n)
	}
	if err != nil {
		return sp, err
	}
	if sp.off > math.MaxInt64-sp.n {
		return sp, fmt.Errorf("%s ends beyond %d", quote(string(s)), int64(math.MaxInt64))
	}
	return sp, nil
}

func parseSize(s []byte) (int64, error) {
	n, ok := number(s, math.MaxInt64)
	if !ok {
		return 0, fmt.Errorf("%s is no number from 0 to %d", quote(string(s)), int64(math.MaxInt64))
	}
	return int64(n), nil
}

// number returns the number, most at most, that s is in decimal digits. (strconv wants a string, which costs as much again.)
func number(s []byte, most uint64) (n uint64, ok bool) {
	for _, c := range s {
		digit := uint64(c - '0')
		if c < '0' || c > '9' || n > (most-digit)/10 {
			return 0, false
		}
		n = 10*n + digit
	}
	return n, len(s) > 0
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
	kernel  bool      // the kernel may do it itself: a copy or zero of files
	in      []operand // of operands
	out     operand   // of a map
	imm     []byte    // padded to what the function takes; of bytes, as a rule
	n       int64     // bytes of an input, or of the output where there is none
	files   bool      // one takes part
	memory  uint      // buffers whose memory takes part, a bit each

	operands [numInputs]operand
	bytes    [64]byte // of the immediates: none is longer, in or out

	begin atomic.Pointer[time.Time] // when the pool got it; nil: it has not, or does it at once
	done  atomic.Int64              // bytes of n that are done
	parts atomic.Int32              // tasks that have not ended
	whole task                      // the only one, where there is one
	fold  engine.Fold               // of a fold, which has one task
	err   atomic.Pointer[error]     // the first failure of its tasks
}

// requests are those that have been answered: their memory serves others.
var requests = sync.Pool{New: func() any { return new(request) }}

// free gives the memory of a request, which is over, to others.
func (r *request) free() {
	*r = request{}
	requests.Put(r)
}

// fail notes why a task failed.
func (r *request) fail(err error) { r.err.CompareAndSwap(nil, &err) }

func (r *request) failure() error {
	if err := r.err.Load(); err != nil {
		return *err
	}
	return nil
}

// work is about how long it takes over memory.
func (r *request) work() time.Duration {
	return time.Duration(float64(r.n) / r.backend.Speed() * float64(time.Second))
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

// prepare makes r of a line, or says what is wrong with it. r has the session, the id and the function.
func (s *Session) prepare(r *request, l *line) (err error) {
	f := r.f
	if f == nil {
		return invalid("no function is chosen: send func NAME to ctl")
	}
	defer func() {
		if err != nil {
			r.release()
		}
	}()
	switch {
	case f.IsMap() && !l.hasOut:
		return invalid("%s wants out=BUF:OFF:LEN", f.Name)
	case !f.IsMap() && l.hasOut:
		return invalid("%s has no output", f.Name)
	case l.inputs < f.Least || l.inputs > f.Inputs:
		if f.Least < f.Inputs {
			return invalid("%s wants %d to %d inputs, this has %d", f.Name, f.Least, f.Inputs, l.inputs)
		}
		return invalid("%s wants %d inputs, this has %d", f.Name, f.Inputs, l.inputs)
	case len(l.imm) > f.ImmIn:
		return invalid("%s takes %d bytes of immediate, this has %d", f.Name, f.ImmIn, len(l.imm))
	}
	for r.imm = append(r.bytes[:0], l.imm...); len(r.imm) < f.ImmIn; {
		r.imm = append(r.imm, 0)
	}
	if l.inputs > 0 {
		r.n = l.in[0].n
	} else {
		r.n = l.out.n
	}
	r.in = r.operands[:0]
	for _, sp := range l.in[:l.inputs] {
		if sp.n != r.n {
			return invalid("the inputs have %d and %d bytes", r.n, sp.n)
		}
		o, err := s.operand(sp, false)
		if err != nil {
			return err
		}
		r.in = append(r.in, o)
		r.uses(&o)
	}
	if l.hasOut {
		if f.Outputs > 1 && (r.n > math.MaxInt64/2 || l.out.n != 2*r.n) || f.Outputs == 1 && l.out.n != r.n {
			return invalid("the output has %d bytes, %s of %d bytes makes %d", l.out.n, f.Name, r.n, int64(f.Outputs)*min(r.n, math.MaxInt64/2))
		}
		if l.out.buf != outBuffer {
			return invalid("%s is an input buffer: the output is out", bufferNames[l.out.buf])
		}
		if r.out, err = s.operand(l.out, true); err != nil {
			return err
		}
		r.uses(&r.out)
		for _, in := range r.in {
			if overlap(in, r.out) {
				return invalid("the input %s overlaps the output", in.buffer.name())
			}
		}
	}
	r.kernel = r.kernel && r.out.file != nil && (f.Name == "zero" || f.Name == "copy" && r.in[0].file != nil)
	return nil
}

// uses notes that o takes part.
func (r *request) uses(o *operand) {
	if o.file == nil {
		r.memory |= 1 << o.buf
	} else {
		r.files = true
	}
}

// operand finds out what a span stands for now. The output buffer is extended where that is needed.
func (s *Session) operand(sp span, output bool) (operand, error) {
	b := &s.buffers[sp.buf]
	o := operand{span: sp, buffer: b}
	end := sp.off + sp.n
	b.mu.RLock()
	o.file = b.file
	if o.file != nil {
		o.file.refs.Add(1)
	}
	have := int64(len(b.mem))
	b.mu.RUnlock()
	if o.file == nil {
		switch {
		case end <= have:
			return o, nil
		case !output:
			return o, invalid("%s has %d bytes, the request ends at %d", b.name(), have, end)
		case end > int64(b.limit):
			return o, invalid("%s ends at %d, it holds %d bytes at most (--dmover-buffer)", b.name(), end, b.limit)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.file != nil {
			return o, invalid("%s was bound to a file while the request came", b.name())
		}
		return o, b.extend(int(end))
	}
	limit := o.file.len
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

// response appends the line that answers r, which has ended.
func (r *request) response(b []byte) []byte {
	if err := r.failure(); err != nil {
		return errorLine(b, r.id, err)
	}
	b = strconv.AppendUint(b, r.id, 10)
	b = append(b, " ok"...)
	if r.fold != nil {
		b = append(b, " imm="...)
		b = hex.AppendEncode(b, r.fold.Sum(r.bytes[:0]))
	}
	b = append(b, " bytes="...)
	b = strconv.AppendInt(b, r.n, 10)
	return append(b, '\n')
}

// errorLine appends the response to a request that failed.
func errorLine(b []byte, id uint64, err error) []byte {
	return fmt.Appendf(b, "%d error %d %s\n", id, uint32(errnoOf(err)), strings.ReplaceAll(err.Error(), "\n", " "))
}
