package ethfoo

import (
	"context"

	"github.com/clone9p/clone9p/clonefs"
)

// New returns the device. It touches nothing outside; an error says which setting of c is wrong.
func New(c Config) (*clonefs.Device[*Interface], error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &device{settings: c, tun: tunDevice}
	return &clonefs.Device[*Interface]{
		Name: "ethfoo",
		Doc:  "a virtual Ethernet interface an open",
		Clone: func(ctx context.Context, conv *clonefs.Conv) (*Interface, error) {
			return d.open(ctx, conv.N(), conv.Hangup)
		},
		State:      (*Interface).state,
		Status:     (*Interface).statusText,
		Ctl:        messagesFor(c),
		Files:      files,
		MaxConvs:   c.Limit,
		MaxPerUser: c.PerUser,
	}, nil
}
