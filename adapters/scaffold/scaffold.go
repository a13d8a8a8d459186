// Package scaffold writes the beginning of an adapter: a folder that runs, or
// compiles, as it is and passes the cases of the conformance kit that it can.
package scaffold

import (
	"embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/remote"
)

//go:embed all:http all:go
var files embed.FS

// The languages.
const (
	HTTP = "http" // a program in Node that speaks the provider protocol
	Go   = "go"   // a package of this module
)

// What is refused before a file is written.
var (
	ErrName     = &citygate.Code{Name: "scaffold.name", Kind: citygate.Invalid, Title: "The name could be no folder or package. Give 2 to 30 lower-case letters and digits that begin with a letter."}
	ErrLanguage = &citygate.Code{Name: "scaffold.language", Kind: citygate.Invalid, Title: "There is no beginning in this language. Name http or go."}
	ErrExists   = &citygate.Code{Name: "scaffold.exists", Kind: citygate.Conflict, Title: "The folder is there already and was left alone. Name another, or remove it first."}
)

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9]{1,29}$`)

// ImportPath is where a package of an adapter called name lives in this module.
func ImportPath(name string) string { return "github.com/cashlesscity/citygate/adapters/" + name }

// Write makes dir, which must not exist, with an adapter called name, and lists
// the files written. importPath is that of a Go package.
func Write(dir, name, language, importPath string) ([]string, error) {
	if !nameForm.MatchString(name) {
		return nil, ErrName.Explain("%q", name)
	}
	if language != HTTP && language != Go {
		return nil, ErrLanguage.Explain("%q; there are %s and %s", language, HTTP, Go)
	}
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) { //nolint:gosec // source code, as an editor would make it
		return nil, ErrExists.Explain("%s", dir)
	} else if err != nil {
		return nil, err
	}
	var written []string
	put := func(to string, content []byte) error {
		to = strings.TrimSuffix(strings.ReplaceAll(to, "NAME", name), ".tmpl")
		path := filepath.Join(dir, filepath.FromSlash(to))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as above
			return err
		}
		written = append(written, to)
		return os.WriteFile(path, content, 0o644) //nolint:gosec // as above
	}
	err := fs.WalkDir(files, language, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		return put(strings.TrimPrefix(path, language+"/"), []byte(strings.NewReplacer("NAME", name, "IMPORT", importPath).Replace(string(content))))
	})
	if err != nil {
		return nil, err
	}
	if language == HTTP {
		if err := put("openapi.yaml", remote.OpenAPI); err != nil {
			return nil, err
		}
	}
	return written, nil
}
