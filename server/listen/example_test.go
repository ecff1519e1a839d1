package listen_test

import (
	"fmt"

	"github.com/clone9p/clone9p/server/listen"
)

// An address has one canonical form, which scripts can compare.
func ExampleParse() {
	for _, s := range []string{"unix:/run/clone9p.sock", "tcp!localhost!9pfs", "tcp:[::1]:5640", "5640"} {
		a, err := listen.Parse(s)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(a)
	}
	// Output:
	// unix!/run/clone9p.sock
	// tcp!localhost!564
	// tcp!::1!5640
	// address "5640": want unix!PATH, tcp!HOST!PORT or tls!HOST!PORT
}
