package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"text/tabwriter"

	"github.com/clone9p/clone9p/cmd/clone9p/internal/fusemount"
	"github.com/clone9p/clone9p/cmd/clone9p/internal/private"
	"github.com/clone9p/clone9p/cmd/clone9p/internal/privilege"
	"github.com/spf13/cobra"
)

func (a *app) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell what this machine lets the server do, and why",
		Long: `Check looks at what a server started here and now by this user could do, and changes nothing: in which
network namespace its interfaces would be and why, whether it could make them at all, which
capabilities it would keep, whether this kernel can mount 9P, and whether a server answers.`,
		Args: exactly(),
	}
	where := targetFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintf(w, "program\t%s\n", version())
		fmt.Fprintf(w, "network\t%s\n", checkNetwork())
		_, tun := checkTun(tunDevice)
		fmt.Fprintf(w, "tun\t%s\n", tun)
		fmt.Fprintf(w, "privileges\t%s\n", checkPrivileges(kinds()))
		fmt.Fprintf(w, "mount\t%s\n", checkMount("/proc/filesystems"))
		fmt.Fprintf(w, "server\t%s\n", checkServer(cmd.Context(), where))
		return w.Flush()
	}
	return cmd
}

// checkNetwork says where the interfaces of a server started now would be.
func checkNetwork() string {
	if runtime.GOOS != "linux" {
		return "none: network interfaces need Linux"
	}
	if why := private.MayAdminister(); why != nil {
		return "private: " + why.Error()
	}
	return "host: CAP_NET_ADMIN is held"
}

// tunDevice is the door to the kernel's TAP interfaces.
const tunDevice = "/dev/net/tun"

// checkTun says whether TAP interfaces can be had through the device at path, and if not, what helps.
func checkTun(path string) (ok bool, text string) {
	if runtime.GOOS != "linux" {
		return false, "none: network interfaces need Linux"
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		return true, path + " can be used"
	case errors.Is(err, os.ErrPermission):
		return false, "no permission for " + path + ": chmod 0666 it as root, as most systems have it, or run the server as root"
	case errors.Is(err, os.ErrNotExist):
		return false, path + " is missing: as root, modprobe tun, or mknod " + path + " c 10 200"
	}
	return false, sentence(err)
}

// checkPrivileges says with which capabilities a server of these devices, set as they are, would go on.
func checkPrivileges(ks []kind) string {
	held, err := privilege.Held()
	if err != nil {
		return "none to give up: " + err.Error()
	}
	if !privilege.Droppable() {
		return "capabilities held: " + held.String() + "; only root gives up some"
	}
	keep, err := new(serveOptions).keep(ks)
	if err != nil {
		return err.Error()
	}
	return "capabilities kept: " + (held & keep).String()
}

// checkMount says how this machine can mount 9P.
func checkMount(filesystems string) string {
	if runtime.GOOS != "linux" {
		return "by clone9p mount with macFUSE, or by 9pfuse of plan9port"
	}
	if knows9P(filesystems) {
		return "the kernel knows 9p; clone9p mount uses it, as root"
	}
	const unknown = "the kernel does not know 9p yet (modprobe 9p, where it has that module)"
	if why := fusemount.Possible(); why != nil {
		return unknown + ", and FUSE cannot be used: " + why.Error()
	}
	return unknown + "; clone9p mount uses FUSE"
}

// checkServer says whether a server answers.
func checkServer(ctx context.Context, t target) string {
	s, err := connect(ctx, t)
	if err != nil {
		return sentence(err)
	}
	defer s.Close()
	return fmt.Sprintf("answers at %s in %v", s.addr, s.conn.Dialect())
}
