package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate/gateway/entitlement"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/risk"
)

// A Version is one version of a document of the tenant's and from when on it holds.
// Document is its JSON form, or File names a file that holds it.
type Version struct {
	From     time.Time `json:"from"`
	File     string    `json:"file,omitempty"` // relative to the manifest
	Document Raw       `json:"document,omitempty"`
}

// versioned are a tenant's documents of one kind. read gives the number of one and
// its one form.
type versioned struct {
	kind, field string
	list        []Version
	read        func(raw []byte) (version uint64, form []byte, err error)
}

// documents lists the kinds of documents of a tenant that have versions, in the
// order in which they are put into effect.
func (t Tenant) documents() []versioned {
	return []versioned{
		{KindProducts, "products", t.Products, func(raw []byte) (uint64, []byte, error) {
			c, err := entitlement.ParseCatalogue(raw)
			if err != nil {
				return 0, nil, err
			}
			form, err := c.Encode()
			return c.Version, form, err
		}},
		{KindJourneyRules, "journey_rules", t.JourneyRules, func(raw []byte) (uint64, []byte, error) {
			d, err := journey.ParseDocument(raw)
			if err != nil {
				return 0, nil, err
			}
			if _, err := d.Rules(); err != nil {
				return 0, nil, err
			}
			form, err := d.Encode()
			return d.Version, form, err
		}},
		{KindRiskTerms, "risk_terms", t.RiskTerms, func(raw []byte) (uint64, []byte, error) {
			terms, err := risk.Parse(raw)
			if err != nil {
				return 0, nil, err
			}
			form, err := terms.Encode()
			return terms.Version, form, err
		}},
	}
}

var errNoDocument = errors.New("there is nothing in force: give document or file")

// number gives the version of a document of kind v, as its name and in its one form.
func (v versioned) number(d Version) (name string, form Raw, err error) {
	if len(d.Document) == 0 {
		return "", nil, errNoDocument
	}
	n, raw, err := v.read(d.Document)
	return strconv.FormatUint(n, 10), raw, err
}

// versions adds the documents that have versions.
func (t Tenant) versions(at string, add func(kind, name, path string, body any)) {
	for _, v := range t.documents() {
		for i, d := range v.list {
			name, form, err := v.number(d)
			if err != nil {
				name, form = fmt.Sprintf("#%d", i+1), d.Document
			}
			add(v.kind, name, fmt.Sprintf("%s.%s[%d]", at, v.field, i), map[string]any{"from": d.From.UTC().Truncate(time.Millisecond), "document": form})
		}
	}
}

// Documents gives the versions of a kind with their numbers, as names of parts.
func (t Tenant) Documents(kind string) (list []Version, names []string, err error) {
	at := slices.IndexFunc(t.documents(), func(v versioned) bool { return v.kind == kind })
	v := t.documents()[at]
	for _, d := range v.list {
		name, form, err := v.number(d)
		if err != nil {
			return nil, nil, err
		}
		list, names = append(list, Version{From: d.From, Document: form}), append(names, name)
	}
	return list, names, nil
}

func (c *City) checkVersions(at string, t Tenant) (found Problems) {
	for _, v := range t.documents() {
		for i, d := range v.list {
			path := fmt.Sprintf("%s.%s[%d]", at, v.field, i)
			if d.From.IsZero() {
				found = append(found, c.problem(path, "from: want the instant from which it holds"))
			}
			if _, _, err := v.number(d); err != nil {
				found = append(found, c.detail(path+".document", err))
			}
		}
	}
	return found
}

// readVersions fills in the documents that lie in files of their own.
func (c *City) readVersions(i int, files fs.FS) (found Problems) {
	for _, v := range c.Tenants[i].documents() {
		for k := range v.list {
			path := fmt.Sprintf("tenants[%d].%s[%d].file", i, v.field, k)
			raw, why := fromFile(files, v.list[k].File, v.list[k].Document)
			if why != "" {
				found = append(found, c.problem(path, "%s", why))
				continue
			}
			v.list[k].Document, v.list[k].File = raw, ""
		}
	}
	return found
}

// fromFile gives the JSON that a part says, in the file or in one of its own, and
// why it cannot.
func fromFile(files fs.FS, name string, said Raw) (raw Raw, why string) {
	switch {
	case name == "":
		return said, ""
	case len(said) > 0:
		return nil, "give the file or the document, not both"
	case files == nil:
		return nil, "a file cannot be read here: give the document itself"
	}
	text, err := fs.ReadFile(files, name)
	if err == nil && !json.Valid(text) {
		err = errors.New("not JSON")
	}
	if err != nil {
		return nil, fmt.Sprintf("%s: %v", name, err)
	}
	return text, ""
}
