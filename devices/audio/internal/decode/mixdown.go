package decode

// A speaker is the place that a channel is meant for, in the order of the bits of WAVE_FORMAT_EXTENSIBLE's channel mask.
type speaker int

const (
	frontLeft speaker = iota
	frontRight
	frontCenter
	lowFrequency
	backLeft
	backRight
	frontLeftOfCenter
	frontRightOfCenter
	backCenter
	sideLeft
	sideRight
	topCenter
	topFrontLeft
	topFrontCenter
	topFrontRight
	topBackLeft
	topBackCenter
	topBackRight
	speakers
)

// gains says how loud each speaker is in the left and in the right channel. It is the mixing of ITU-R BS.775: what is in front stays,
// what is in the middle goes to both 3 dB softer, what is at the side or behind to its side 3 dB softer. The low frequency channel is
// left out, as there: it repeats what the others have, for speakers that two channels do not have.
var gains = [speakers][2]float32{
	frontLeft:          {1, 0},
	frontRight:         {0, 1},
	frontCenter:        {half, half},
	lowFrequency:       {0, 0},
	backLeft:           {half, 0},
	backRight:          {0, half},
	frontLeftOfCenter:  {1, 0},
	frontRightOfCenter: {0, 1},
	backCenter:         {0.5, 0.5},
	sideLeft:           {half, 0},
	sideRight:          {0, half},
	topCenter:          {0.5, 0.5},
	topFrontLeft:       {half, 0},
	topFrontCenter:     {0.5, 0.5},
	topFrontRight:      {0, half},
	topBackLeft:        {half, 0},
	topBackCenter:      {0.5, 0.5},
	topBackRight:       {0, half},
}

const half = 0.70710678 // of the power

// The channels of files that do not say what they are for. WAV without a mask and FLAC have the first order, Vorbis the second.
var (
	plain = [...][]speaker{
		3: {frontLeft, frontRight, frontCenter},
		4: {frontLeft, frontRight, backLeft, backRight},
		5: {frontLeft, frontRight, frontCenter, backLeft, backRight},
		6: {frontLeft, frontRight, frontCenter, lowFrequency, backLeft, backRight},
		7: {frontLeft, frontRight, frontCenter, lowFrequency, backCenter, sideLeft, sideRight},
		8: {frontLeft, frontRight, frontCenter, lowFrequency, backLeft, backRight, sideLeft, sideRight},
	}
	vorbisOrder = [...][]speaker{
		3: {frontLeft, frontCenter, frontRight},
		4: {frontLeft, frontRight, backLeft, backRight},
		5: {frontLeft, frontCenter, frontRight, backLeft, backRight},
		6: {frontLeft, frontCenter, frontRight, backLeft, backRight, lowFrequency},
		7: {frontLeft, frontCenter, frontRight, sideLeft, sideRight, backCenter, lowFrequency},
		8: {frontLeft, frontCenter, frontRight, sideLeft, sideRight, backLeft, backRight, lowFrequency},
	}
)

// A layout is how loud each channel is in the left and the right one. It is nil for one and for two channels, which stay as they are.
type layout [][2]float32

// layoutOf is the layout of that many channels in the plain order. Of more than eight, which have none, every other one goes left,
// beginning with the first, and the others right.
func layoutOf(channels int) layout {
	switch {
	case channels <= 2:
		return nil
	case channels < len(plain):
		return speakersLayout(plain[channels])
	}
	l := make(layout, channels)
	for i := range l {
		l[i][i%2] = 1
	}
	return l.bounded()
}

// maskLayout is the layout of channels that a mask names, in the order of its bits; channels beyond those it names are left out. A mask
// of nothing, and one for two channels or fewer, says nothing.
func maskLayout(channels int, mask uint32) layout {
	if mask&(1<<speakers-1) == 0 || channels <= 2 {
		return layoutOf(channels)
	}
	l := make(layout, 0, channels)
	for s := range speakers {
		if mask&(1<<s) != 0 && len(l) < channels {
			l = append(l, gains[s])
		}
	}
	return append(l, make(layout, channels-len(l))...).bounded()
}

// speakersLayout is the layout of channels for these speakers.
func speakersLayout(names []speaker) layout {
	l := make(layout, len(names))
	for i, s := range names {
		l[i] = gains[s]
	}
	return l.bounded()
}

// bounded makes l so soft that channels at full scale do not go beyond it, both sides alike.
func (l layout) bounded() layout {
	var sum [2]float32
	for _, g := range l {
		sum[0] += g[0]
		sum[1] += g[1]
	}
	if loudest := max(sum[0], sum[1]); loudest > 1 {
		for i := range l {
			l[i][0] /= loudest
			l[i][1] /= loudest
		}
	}
	return l
}

// mix puts the frames of src, of as many channels as l has, into dst as stereo, and returns that part of dst. dst may be src.
func (l layout) mix(dst, src []float32) []float32 {
	n := 0
	for ; len(src) >= len(l); src = src[len(l):] {
		var left, right float32
		for i, g := range l {
			left += src[i] * g[0]
			right += src[i] * g[1]
		}
		dst[n], dst[n+1] = left, right
		n += 2
	}
	return dst[:n]
}
