package audio_test

import (
	"fmt"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/audio"
)

// What the device's help says comes from its tables.
func ExampleNew() {
	device, err := audio.New(audio.DefaultConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	info, err := clonefs.Describe(device)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %s\n", info.Name, info.Doc)
	for _, f := range info.Files {
		fmt.Println(f.Name)
	}
	// Output:
	// audio: a voice an open
	// ctl
	// status
	// data
	// rx
	// tx
	// volume
	// meter
	// wait
}
