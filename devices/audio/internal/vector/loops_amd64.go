package vector

// The loops in assembly. The lengths of dst (of src, where there is only that) are multiples of eight samples.

// addBlocks adds src, which is as long, to dst: even samples times left, odd ones times right.
//
//go:noescape
func addBlocks(dst, src []float32, left, right float32)

// addMonoBlocks adds src, which is half as long, to dst, each sample once times left and once times right.
//
//go:noescape
func addMonoBlocks(dst, src []float32, left, right float32)

// peakBlocks is the largest magnitude of even and of odd samples.
//
//go:noescape
func peakBlocks(src []float32) (left, right float32)

// energyBlocks is the sum of squares of even and of odd samples.
//
//go:noescape
func energyBlocks(src []float32) (left, right float32)
