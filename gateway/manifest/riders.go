package manifest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// A Profile is what one terminal does otherwise than the operator's policy says;
// an empty one is none. A file that says nothing of a terminal's profile leaves it.
type Profile struct {
	Mode         string   `json:"mode,omitempty"`
	Stop         string   `json:"stop,omitempty"`
	Route        string   `json:"route,omitempty"`
	Kinds        []string `json:"kinds,omitempty"` // on, off, single
	MaxFareMinor int64    `json:"max_fare_minor,omitempty"`
	Schemes      []string `json:"schemes,omitempty"`
	Features     []string `json:"features,omitempty"`
}

// A CodeScheme is how a tenant that answers for a scheme's codes has them read.
type CodeScheme struct {
	Scheme    string      `json:"scheme"`
	Params    Raw         `json:"params"` // the scheme's, without issuer: the tenant's is filled in
	Keys      []SchemeKey `json:"keys,omitempty"`
	Operators []string    `json:"operators,omitempty"` // slugs of tenants besides this one for whose validators it answers
	Contract  string      `json:"contract,omitempty"`
	Opens     bool        `json:"opens,omitempty"`
	Asks      bool        `json:"asks,omitempty"`
}

// A SchemeKey is a public key that codes of a scheme end in.
type SchemeKey struct {
	Owner string `json:"owner,omitempty"`
	List  string `json:"list,omitempty"`
	Kind  string `json:"kind,omitempty"`
	ID    uint32 `json:"id,omitempty"`
	Key   string `json:"key"` // base64, in the encoding that the scheme states
}

// WithIssuer gives the parameters as the scheme takes them.
func (s CodeScheme) WithIssuer(issuer uint16) (Raw, error) {
	var params map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader(s.Params))
	if err := d.Decode(&params); err != nil || params == nil {
		return nil, fmt.Errorf("params: want fields and their values")
	}
	if _, said := params["issuer"]; said {
		return nil, fmt.Errorf("params.issuer: it is the tenant's: leave it out")
	}
	params["issuer"] = json.RawMessage(strconv.Itoa(int(issuer)))
	return json.Marshal(params)
}

// WithoutIssuer gives parameters as the file says them.
func WithoutIssuer(params []byte) (Raw, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(params, &all); err != nil {
		return nil, err
	}
	delete(all, "issuer")
	return json.Marshal(all)
}

// riders adds the parts that are about riders' codes.
func (t Tenant) riders(at string, add func(kind, name, path string, body any)) {
	for i, d := range t.Terminals {
		if d.Profile == nil {
			continue
		}
		p := *d.Profile
		p.Kinds, p.Schemes, p.Features = ordered(p.Kinds), ordered(p.Schemes), ordered(p.Features)
		add(KindProfile, strconv.FormatUint(uint64(d.ID), 10), fmt.Sprintf("%s.terminals[%d].profile", at, i), p)
	}
	for i, s := range t.CodeSchemes {
		s.Operators = ordered(s.Operators)
		s.Keys = slices.Clone(s.Keys)
		slices.SortFunc(s.Keys, func(a, b SchemeKey) int { return bytes.Compare(fmt.Append(nil, a), fmt.Append(nil, b)) })
		add(KindCodeScheme, s.Scheme, fmt.Sprintf("%s.code_schemes[%d]", at, i), s)
	}
	if len(t.Issuance) > 0 {
		add(KindIssuance, "", at+".issuance", t.Issuance)
	}
}

func ordered(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *City) checkRiders(at string, t Tenant) (found Problems) {
	for i, s := range t.CodeSchemes {
		path := fmt.Sprintf("%s.code_schemes[%d]", at, i)
		if s.Scheme == "" || t.Issuer == 0 {
			found = append(found, c.problem(path, "a code scheme has a name, and its tenant an issuer number"))
			continue
		}
		if _, err := s.WithIssuer(t.Issuer); err != nil {
			found = append(found, c.problem(path, "%v", err))
		}
		for k, key := range s.Keys {
			if raw, err := base64.StdEncoding.DecodeString(key.Key); err != nil || len(raw) == 0 {
				found = append(found, c.problem(fmt.Sprintf("%s.keys[%d]", path, k), "key: want a public key in base64"))
			}
		}
	}
	var policy map[string]json.RawMessage
	if len(t.Issuance) > 0 && json.Unmarshal(t.Issuance, &policy) != nil {
		found = append(found, c.problem(at+".issuance", "want fields and their values"))
	} else if _, said := policy["version"]; said {
		found = append(found, c.problem(at+".issuance", "version: the gateway counts versions by itself"))
	}
	return found
}
