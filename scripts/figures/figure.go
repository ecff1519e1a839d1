package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// A figure is one measurement of our server and of others, side by side.
type figure struct {
	name  string
	doc   string
	conns int
	path  []string
	load  load
	bytes int   // that an operation reads, for those whose speed is in bytes
	aims  []aim // one line each
}

// An aim is what a figure is compared with and what the ratio should be.
type aim struct {
	other string
	what  quantity
	bound float64 // ratio ours / other's: at least, for CPU time at most; 0 where nothing was set
}

type quantity string

const (
	speed quantity = "speed" // operations, or bytes, a second
	cpu   quantity = "cpu"   // CPU time of the server's process for an operation
)

// The figures, in the order in which they are printed; the aims are those of the project's speed plan.
var figures = []figure{
	{
		name: "stat-1", doc: "Tgetattr, one at a time, 1 connection", conns: 1, path: dataPath, load: stat(1),
		aims: []aim{{"echo", speed, 0.90}, {"p9", speed, 0}, {"diod", speed, 0}, {"echo", cpu, 0}},
	},
	{name: "stat-32", doc: "Tgetattr, 32 deep, 1 connection", conns: 1, path: dataPath, load: stat(32), aims: deepStat},
	{name: "stat-32x4", doc: "Tgetattr, 32 deep, 4 connections", conns: 4, path: dataPath, load: stat(32), aims: deepStat},
	{name: "open-1", doc: "walk+open+clunk of a text, 1 connection", conns: 1, path: textPath, load: open(1, textPath), aims: shallowOpen},
	{name: "open-data-1", doc: "walk+open+clunk of a working file, 1 connection", conns: 1, path: dataPath, load: open(1, dataPath), aims: shallowOpen},
	{name: "open-32x4", doc: "walk+open+clunk of a text, 32 deep, 4 connections", conns: 4, path: textPath, load: open(32, textPath), aims: deepOpen},
	{name: "open-data-32x4", doc: "walk+open+clunk of a working file, 32 deep, 4 connections", conns: 4, path: dataPath, load: open(32, dataPath), aims: deepOpen},
	{name: "read-1m", doc: "Tread of 1 MiB messages, one at a time", conns: 1, path: dataPath, load: read(1, largest), bytes: largest, aims: reads},
	{name: "read-128k", doc: "Tread of 128 KiB, 4 deep", conns: 1, path: dataPath, load: read(4, 128<<10), bytes: 128 << 10, aims: reads},
}

// largest is the largest read that Linux asks for.
const largest = maxMessage - 24

var (
	deepStat = []aim{
		{"echo", speed, 0.90}, {"p9", speed, 4}, {"diod", speed, 8},
		{"echo", cpu, 1.5}, {"p9", cpu, 0.2}, {"diod", cpu, 0.2},
	}
	// One at a time nearly all the time goes to changes of processes, which no server can avoid: the echo itself is but twice as fast as p9.Server. The aims
	// against servers that work hold where work shows, 32 deep; the aim against the echo is that of a client that waits for each answer.
	shallowOpen = []aim{
		{"echo", speed, 0.85}, {"p9", speed, 0}, {"diod", speed, 0},
		{"echo", cpu, 1.5}, {"p9", cpu, 0}, {"diod", cpu, 0},
	}
	deepOpen = []aim{
		{"echo", speed, 0}, {"p9", speed, 2.5}, {"diod", speed, 5},
		{"echo", cpu, 0}, {"p9", cpu, 0.2}, {"diod", cpu, 0.2},
	}
	reads = []aim{{"echo", speed, 0.90}, {"p9", speed, 1.5}, {"echo", cpu, 0}, {"p9", cpu, 0}}
)

// A bench runs figures.
type bench struct {
	out     io.Writer
	dir     string // for sockets
	rounds  int
	time    time.Duration // of a round of one server
	skipped map[string]bool
	missed  int
}

// A result is what one round of one server brought.
type result struct {
	ops int
	cpu time.Duration
	dur time.Duration
}

func (r result) of(q quantity) float64 {
	if q == cpu {
		return r.cpu.Seconds() / float64(r.ops)
	}
	return float64(r.ops) / r.dur.Seconds()
}

// run measures f and prints a line for each of its aims. The servers take turns, a round each, and begin with another one in each round; what is printed
// are medians: the ratio is the median of the rounds' ratios, because what disturbs the machine for long disturbs both sides of a ratio.
func (b *bench) run(f *figure) error {
	var teams []*team
	defer func() {
		for _, t := range teams {
			t.stop()
		}
	}()
	for _, name := range f.servers() {
		if b.skipped[name] {
			continue
		}
		t, err := b.team(f, name)
		if errors.Is(err, errNotInstalled) {
			fmt.Fprintf(b.out, "%s is NOT INSTALLED: everything measured against it is SKIPPED\n", name)
			b.skipped[name] = true
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		teams = append(teams, t)
		if _, err := t.run(b.time / 5); err != nil { // caches, buffers and branch predictors get warm
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	results := make(map[string][]result)
	for round := range b.rounds {
		for i := range teams {
			t := teams[(i+round)%len(teams)]
			r, err := t.run(b.time)
			if err != nil {
				t.server.stop()
				return fmt.Errorf("%s: %w\n%s", t.server.name, err, &t.server.stderr)
			}
			results[t.server.name] = append(results[t.server.name], r)
		}
	}
	for _, a := range f.aims {
		if !b.skipped[a.other] {
			b.print(f, a, results[ours], results[a.other])
		}
	}
	return nil
}

// servers returns the names of those that f compares, ours first.
func (f *figure) servers() []string {
	names := []string{ours}
	for _, a := range f.aims {
		if !slices.Contains(names, a.other) {
			names = append(names, a.other)
		}
	}
	return names
}

// print prints the line of one aim.
func (b *bench) print(f *figure, a aim, us, them []result) {
	var mine, theirs, ratios []float64
	for i := range us {
		m, t := us[i].of(a.what), them[i].of(a.what)
		mine, theirs = append(mine, m), append(theirs, t)
		ratios = append(ratios, m/t)
	}
	if a.what == cpu { // a round is short in terms of the clock's ticks
		ratios = []float64{sum(us) / sum(them)}
	}
	show := func(v []float64) string {
		switch m := median(v); {
		case a.what == cpu:
			return fmt.Sprintf("%.1f us", m*1e6)
		case f.bytes > 0:
			return fmt.Sprintf("%.0f MB/s", m*float64(f.bytes)/1e6)
		default:
			return fmt.Sprintf("%.0f/s", m)
		}
	}
	b.line(f.name+" "+string(a.what), show(mine), a.other, show(theirs), median(ratios), a.bound, a.what == cpu)
}

// sum is the CPU time for an operation over all rounds.
func sum(rs []result) float64 {
	var t time.Duration
	n := 0
	for _, r := range rs {
		t, n = t+r.cpu, n+r.ops
	}
	return t.Seconds() / float64(n)
}

// line prints one line and notes whether it was met. A bound of 0 is none.
func (b *bench) line(name, mine, other, theirs string, ratio, bound float64, atMost bool) {
	verdict, want := "", "-"
	if bound > 0 {
		want, verdict = fmt.Sprintf(">= %.2f", bound), "met"
		if atMost {
			want = fmt.Sprintf("<= %.2f", bound)
		}
		if atMost && ratio > bound || !atMost && ratio < bound {
			verdict = "MISSED"
			b.missed++
		}
	}
	fmt.Fprintf(b.out, "%-21s %12s  %-5s %12s  %7.2f  %-8s %s\n", name, mine, other, theirs, ratio, want, verdict)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// A team is a server with the connections that load it.
type team struct {
	server  *process
	clients []*client
}

func (b *bench) team(f *figure, name string) (*team, error) {
	p, err := start(name, b.dir)
	if err != nil {
		return nil, err
	}
	t := &team{server: p}
	for range f.conns {
		c, err := dial(p.socket, p.aname, f.path, f.load)
		if err != nil {
			t.stop()
			return nil, err
		}
		if f.bytes > 0 {
			c.exact = dataHeader + f.bytes
		}
		t.clients = append(t.clients, c)
	}
	return t, nil
}

func (t *team) stop() {
	for _, c := range t.clients {
		c.conn.Close()
	}
	t.server.stop()
}

// run loads the server for d.
func (t *team) run(d time.Duration) (result, error) {
	before, err := t.server.cpu()
	if err != nil {
		return result{}, err
	}
	begin := time.Now()
	ops := make([]int, len(t.clients))
	errs := make([]error, len(t.clients))
	var wg sync.WaitGroup
	for i, c := range t.clients {
		wg.Go(func() { ops[i], errs[i] = c.run(d) })
	}
	wg.Wait()
	r := result{dur: time.Since(begin)}
	after, err := t.server.cpu()
	r.cpu = after - before
	for i := range ops {
		r.ops += ops[i]
	}
	return r, errors.Join(append(errs, err)...)
}
