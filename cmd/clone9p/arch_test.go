package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/clone9p/clone9p/"

// imports says which packages of this module a package may import: those that lie below one of the paths. The first line whose prefix fits
// counts. The same stands, with the reasons, in ARCHITECTURE.md.
var imports = []struct {
	prefix string // of the importing package
	may    []string
	tests  []string // what its tests may import besides
}{
	{prefix: "p9ext"},
	{prefix: "internal/wire", may: []string{"p9ext"}},
	{prefix: "client", may: []string{"internal/wire", "p9ext"}, tests: []string{"server", "clonefs"}}, // somebody to talk to
	{prefix: "server/listen", may: []string{"server", "p9ext"}},
	{prefix: "server", may: []string{"server/internal", "internal/wire", "p9ext"}, tests: []string{"clonefs"}}, // a tree to serve
	{prefix: "clonefs", may: []string{"clonefs", "p9ext"}},
	{prefix: "internal/asuser", may: []string{"p9ext"}},
	{prefix: "devices/", may: []string{"clonefs", "p9ext", "internal/asuser"}}, // and what lies below itself
	{prefix: "cmd/", may: []string{"cmd/clone9p/internal", "client", "clonefs", "devices", "internal", "p9ext", "server"}},
	{prefix: "scripts/", may: []string{"scripts", "client", "clonefs", "devices", "p9ext", "server"}},
}

// A pkg is what go list tells of a package.
type pkg struct {
	Dir          string
	ImportPath   string
	Name         string
	Doc          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	TestGoFiles  []string
	XTestGoFiles []string
}

// rel is the package's path below the module.
func (p pkg) rel() string { return strings.TrimPrefix(p.ImportPath, module) }

// packages lists the packages of this module, with those that only the tag e2e shows.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", "e2e", "-json", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

// below reports whether path is dir or lies below it.
func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// badImport says why from, or a test of from, may not import to, both paths below the module; "" when it may.
func badImport(from, to string, test bool) string {
	if to == from { // its external tests
		return ""
	}
	for _, rule := range imports {
		if from != strings.TrimSuffix(rule.prefix, "/") && !strings.HasPrefix(from, rule.prefix) {
			continue
		}
		// A device's own packages below it are its own.
		if p := strings.SplitN(from, "/", 3); p[0] == "devices" && len(p) > 1 && below(to, "devices/"+p[1]) {
			return ""
		}
		may := rule.may
		if test {
			may = slices.Concat(may, rule.tests)
		}
		if slices.ContainsFunc(may, func(dir string) bool { return below(to, dir) }) {
			return ""
		}
		return "may import only what is below " + strings.Join(may, ", ")
	}
	return "is in no room of ARCHITECTURE.md"
}

// Imports go one way; ARCHITECTURE.md says which.
func TestImportDirections(t *testing.T) {
	for _, p := range packages(t) {
		check := func(imports []string, test bool) {
			for _, imp := range imports {
				if to, ours := strings.CutPrefix(imp, module); ours {
					if why := badImport(p.rel(), to, test); why != "" {
						t.Errorf("%s imports %s (in a test: %v): it %s", p.rel(), to, test, why)
					}
				}
			}
		}
		check(p.Imports, false)
		check(slices.Concat(p.TestImports, p.XTestImports), true)
	}
}

// The rules themselves, each with an import that it is there to forbid.
func TestBadImport(t *testing.T) {
	if why := badImport("server", "clonefs", true); why != "" {
		t.Errorf("a test of server imports clonefs: it %s", why)
	}
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{"server", "p9ext", true},
		{"server", "internal/wire", true},
		{"server", "server/internal/script", true},
		{"server", "client", false},
		{"client", "internal/wire", true},
		{"client", "server", false},
		{"clonefs", "internal/wire", false},
		{"server", "clonefs", false},
		{"server", "devices/ethfoo", false},
		{"server", "server/listen", false},
		{"server/listen", "server", true},
		{"internal/wire", "server", false},
		{"p9ext", "clonefs", false},
		{"clonefs", "server", false},
		{"clonefs", "devices/ethfoo", false},
		{"clonefs/clonetest", "clonefs", true},
		{"devices/ethfoo", "clonefs", true},
		{"devices/ethfoo", "clonefs/clonetest", true},
		{"devices/ethfoo", "devices/ethfoo/internal/tap", true},
		{"devices/ethfoo/internal/tap", "devices/ethfoo", true},
		{"devices/ethfoo", "devices/pty", false},
		{"devices/ethfoo", "server", false},
		{"devices/ethfoo", "internal/asuser", true},
		{"internal/asuser", "clonefs", false},
		{"cmd/clone9p", "devices/ethfoo", true},
		{"cmd/clone9p", "scripts/e2e", false},
		{"clonefs", "cmd/clone9p/internal/private", false},
		{"elsewhere", "p9ext", false},
	} {
		if why := badImport(tt.from, tt.to, false); (why == "") != tt.ok {
			t.Errorf("%s imports %s: %q", tt.from, tt.to, why)
		}
	}
}

var example = regexp.MustCompile(`(?m)^func Example`)

// Every package says what it is for, and one that others may import shows it by an example that runs.
func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.rel())
		}
		if p.Name == "main" || below(p.rel(), "scripts") || strings.Contains("/"+p.rel()+"/", "/internal/") {
			continue
		}
		found := false
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			b, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			found = found || example.Match(b)
		}
		if !found {
			t.Errorf("%s has no Example", p.rel())
		}
	}
}
