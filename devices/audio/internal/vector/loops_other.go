//go:build !amd64

package vector

func addBlocks(dst, src []float32, left, right float32)     { plainAdd(dst, src, left, right) }
func addMonoBlocks(dst, src []float32, left, right float32) { plainAddMono(dst, src, left, right) }
func peakBlocks(src []float32) (left, right float32)        { return plainPeak(src) }
func energyBlocks(src []float32) (left, right float32)      { return plainEnergy(src) }
