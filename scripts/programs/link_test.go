//go:build linux

package programs

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hugelgupf/p9/p9"
)

// relay carries what comes out of one interface to another, batch by batch, until either ends.
func relay(from, to p9.File) {
	p := make([]byte, 64<<10)
	for {
		n, err := from.ReadAt(p, 0)
		if err != nil || n == 0 {
			return
		}
		if _, err := to.WriteAt(p[:n], 0); err != nil {
			return
		}
	}
}

// iperf3 between two hosts whose only link is a relay between the files of two servers.
func TestRelayLinksTwoHosts(t *testing.T) {
	here := serve(t)
	iperf, err := exec.LookPath("iperf3")
	if err != nil {
		t.Skip("iperf3 is not installed: a link of two hosts is not tested")
	}
	there := filepath.Join(t.TempDir(), "there")
	other := inNamespace("host", there)
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, other, "serving")
	t.Cleanup(func() { stdin.Close(); other.Wait() })

	a := clone(t, here, "add 10.9.0.1/24\nbatch on\nqueue 1024\nup")
	b := clone(t, there, "add 10.9.0.2/24\nbatch on\nqueue 1024\nup")
	var relays sync.WaitGroup
	relays.Go(func() { relay(a.rx, b.tx) })
	relays.Go(func() { relay(b.rx, a.tx) })
	t.Cleanup(func() {
		say(t, a.ctl, "hangup")
		say(t, b.ctl, "hangup")
		relays.Wait()
	})

	sink := exec.Command(iperf, "-s", "-1", "--forceflush", "-B", "10.9.0.1")
	sink.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	expect(t, sink, "Server listening")
	t.Cleanup(func() { sink.Process.Kill(); sink.Wait() })

	out, err := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", other.Process.Pid), iperf, "-c", "10.9.0.1", "-n", "16M", "-J").Output()
	if err != nil {
		t.Fatalf("iperf3: %v\n%s", err, out)
	}
	var report struct {
		End struct {
			Received struct {
				Bytes int64   `json:"bytes"`
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	if report.End.Received.Bytes < 8<<20 { // the receiver's own count stops when the sender has sent all
		t.Errorf("%d bytes came through", report.End.Received.Bytes)
	}
	t.Logf("%d bytes, %.0f Mbit/s", report.End.Received.Bytes, report.End.Received.Rate/1e6)
}

// expect starts cmd and returns when it has said text.
func expect(t *testing.T, cmd *exec.Cmd, text string) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return
		}
	}
	t.Fatalf("%s ends without saying %q", cmd.Path, text)
}
