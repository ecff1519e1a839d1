// Package private gives the server a network namespace of its own where it may not administer the host's, and lets a client
// run a command in there.
//
// A Go program cannot move itself as a whole: a namespace belongs to a thread, and the runtime starts threads as it likes. So the program
// runs itself again inside.
//
//	          as root                                       as an ordinary user
//
//	serve: listens                                  serve: listens
//	  | one thread: unshare(net)                      | clone(user+net), own uid and gid mapped to themselves
//	  v exec, the same process id                     +-- serve: CAP_NET_ADMIN ambient; lo up; serves
//	serve: lo up; serves                              v waits, passes signals on; each of the two goes with the other
//
// [Again] is the left one without a namespace, for who wants to be started anew in another respect.
//
// Sockets keep the namespace in which they were made, so the listeners are made before and handed over as open files, together with a
// note for the second run, in an environment variable that the second run removes at once.
//
// In the user's case no uid but the server's own is mapped: to the server every other user of the machine is nobody, root too.
package private

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// env is the environment variable by which the second run knows what it is.
const env = "CLONE9P_PRIVATE"

// A handoff is what the first run tells the second, in env.
type handoff struct {
	Fds  []int
	Note json.RawMessage
}

// Inherited reports whether this process is the second run, after [Enter] or [Again]. It then returns the files handed over and decodes the
// note. It is called once, before anything else starts a process.
func Inherited(note any) (files []*os.File, inside bool, err error) {
	s, ok := os.LookupEnv(env)
	if !ok {
		return nil, false, nil
	}
	os.Unsetenv(env)
	var h handoff
	if err := json.Unmarshal([]byte(s), &h); err != nil {
		return nil, false, fmt.Errorf("the environment variable %s is for this program's own use: %w", env, err)
	}
	if err := json.Unmarshal(h.Note, note); err != nil {
		return nil, false, fmt.Errorf("the environment variable %s is for this program's own use: %w", env, err)
	}
	for _, fd := range h.Fds {
		if fd < 3 {
			return nil, false, fmt.Errorf("the environment variable %s is for this program's own use: bad descriptor %d", env, fd)
		}
		closeOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "inherited"))
	}
	return files, true, nil
}

// environ returns the environment of the second run.
func environ(fds []int, note any) ([]string, error) {
	n, err := json.Marshal(note)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(handoff{Fds: fds, Note: n})
	if err != nil {
		return nil, err
	}
	return append(os.Environ(), env+"="+string(b)), nil
}

// ErrRefused is what [Enter]'s error wraps when the kernel would not make the namespaces; nothing has changed then.
var ErrRefused = errors.New("cannot make a private network namespace")

// ErrUnsupported is the error of all functions where the kernel has no network namespaces.
var ErrUnsupported = errors.New("only Linux has network namespaces")
