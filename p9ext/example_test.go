package p9ext_test

import (
	"errors"
	"fmt"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// An error is made once, where the context is known; each dialect of 9P then shows its own face.
func ExampleErrorf() {
	cause := linux.EPERM
	err := p9ext.Errorf(linux.EACCES, "cannot create ethfoo0: %w (needs CAP_NET_ADMIN)", cause)
	fmt.Println(err)
	fmt.Println(errors.Is(err, linux.EACCES), errors.Is(err, cause))
	// Output:
	// cannot create ethfoo0: operation not permitted (needs CAP_NET_ADMIN)
	// true true
}
