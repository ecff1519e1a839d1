package audio

import (
	"path/filepath"
	"testing"
)

// Whatever audioctl or a flag says, a sink writes below the root or nowhere.
func FuzzParseSink(f *testing.F) {
	for _, s := range []string{"null", "wav a.wav", "wav /srv/mix/a/b.wav", "wav ../a", "wav /srv/mixed/a", "wav a/../../b", "wav ", " null ", "pulse", "wav \x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const root = "/srv/mix"
		kind, path, err := parseSink(s, root)
		if err != nil || kind != "wav" {
			return
		}
		if rel, err := filepath.Rel(root, filepath.Join(root, path)); err != nil || !filepath.IsLocal(rel) || !filepath.IsLocal(path) {
			t.Errorf("%q is the file %q, outside of the root", s, path)
		}
		if _, _, err := parseSink(s, ""); err == nil {
			t.Errorf("%q is allowed without a root", s)
		}
	})
}

// A volume that is taken is one that can be read, and says the same when it is written again.
func FuzzVolume(f *testing.F) {
	for _, s := range []string{"50", "50 60", "0 100", "-1", "101", "1e1", "NaN", "Inf 3", "0x10", "1 2 3", ""} {
		f.Add(s)
	}
	m := newMixer(DefaultConfig())
	f.Fuzz(func(t *testing.T, s string) {
		v := newVoice(m, nil)
		if err := v.setVolume(t.Context(), s); err != nil {
			return
		}
		text, err := v.volumeText()
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		for i, x := range v.volume {
			if x < 0 || x > 100 {
				t.Errorf("%q: side %d is %d percent", s, i, x)
			}
		}
		if err := v.setVolume(t.Context(), text); err != nil {
			t.Errorf("%q is shown as %q, which is no volume: %v", s, text, err)
		}
		if again, err := v.volumeText(); err != nil || again != text {
			t.Errorf("%q is shown as %q and then as %q, %v", s, text, again, err)
		}
	})
}
