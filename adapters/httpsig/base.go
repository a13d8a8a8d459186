package httpsig

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dunglas/httpsfv"
)

// ErrSignature says that a message cannot be signed, or that its signature
// proves nothing. What is wrong is in the text, which holds no key and no body.
var ErrSignature = errors.New("httpsig")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSignature, fmt.Sprintf(format, args...))
}

// A Message is what of an HTTP message can be signed.
type Message struct {
	request *request
	status  int // 0 on a request
	header  http.Header
}

type request struct {
	method    string
	scheme    string
	authority string
	target    *url.URL
	header    http.Header
}

// Request gives the message of a request: on the client's side before it is
// sent, on the server's as it arrived. Behind a proxy that ends TLS scheme says
// "https", and authority what the client asked for, if the proxy changed it; ""
// takes what the request says.
func Request(r *http.Request, scheme, authority string) Message {
	if scheme == "" {
		scheme = r.URL.Scheme
	}
	if scheme == "" {
		scheme = "http"
		if r.TLS != nil {
			scheme = "https"
		}
	}
	if authority == "" {
		authority = r.Host
	}
	if authority == "" {
		authority = r.URL.Host
	}
	return Message{request: &request{method(r.Method), strings.ToLower(scheme), authority, r.URL, r.Header}, header: r.Header}
}

func method(m string) string {
	if m == "" {
		return http.MethodGet
	}
	return m
}

// Response gives the message of the answer to a request, which may have been
// signed itself.
func Response(status int, header http.Header, to Message) Message {
	return Message{request: to.request, status: status, header: header}
}

// base writes the signature base of RFC 9421, section 2.5.
func (m Message) base(covered httpsfv.InnerList) ([]byte, error) {
	var b strings.Builder
	seen := map[string]bool{}
	for _, item := range covered.Items {
		id, err := httpsfv.Marshal(item)
		if err != nil {
			return nil, refuse("a component that cannot be written")
		}
		if seen[id] {
			return nil, refuse("the component %s is covered twice", id)
		}
		seen[id] = true
		value, err := m.component(item)
		if err != nil {
			return nil, err
		}
		b.WriteString(id + ": " + value + "\n")
	}
	params, err := httpsfv.Marshal(covered)
	if err != nil {
		return nil, refuse("signature parameters that cannot be written")
	}
	b.WriteString(`"@signature-params": ` + params)
	return []byte(b.String()), nil
}

func (m Message) component(item httpsfv.Item) (string, error) {
	name, ok := item.Value.(string)
	if !ok || name == "" || name != strings.ToLower(name) {
		return "", refuse("a component that is not a lower-case name")
	}
	ofRequest := m.status == 0
	for _, p := range item.Params.Names() {
		if v, _ := item.Params.Get(p); p != "req" || v != true || m.status == 0 {
			return "", refuse("the parameter %s of %q is not supported here", p, name)
		}
		ofRequest = true
	}
	if strings.HasPrefix(name, "@") {
		return m.derived(name, ofRequest)
	}
	header := m.header
	if ofRequest {
		if m.request == nil {
			return "", refuse("%q of a request that is not known", name)
		}
		header = m.request.header
	}
	values := header.Values(name)
	if len(values) == 0 {
		return "", refuse("the covered field %s is missing", name)
	}
	trimmed := make([]string, len(values))
	for i, v := range values {
		if strings.ContainsAny(v, "\r\n") {
			return "", refuse("the field %s has a line break", name)
		}
		trimmed[i] = strings.Trim(v, " \t")
	}
	return strings.Join(trimmed, ", "), nil
}

// derived gives the components of RFC 9421, section 2.2.
func (m Message) derived(name string, ofRequest bool) (string, error) {
	if !ofRequest {
		if name != "@status" {
			return "", refuse("a response has no %s", name)
		}
		return strconv.Itoa(m.status), nil
	}
	r := m.request
	if r == nil {
		return "", refuse("%s of a request that is not known", name)
	}
	switch name {
	case "@method":
		return r.method, nil
	case "@scheme":
		return r.scheme, nil
	case "@authority":
		return r.normalAuthority(), nil
	case "@path":
		return path(r.target), nil
	case "@query":
		return "?" + r.target.RawQuery, nil
	case "@target-uri":
		return r.scheme + "://" + r.normalAuthority() + requestTarget(r.target), nil
	case "@request-target":
		return requestTarget(r.target), nil
	}
	return "", refuse("the component %s is not supported", name)
}

func (r *request) normalAuthority() string {
	host := strings.ToLower(r.authority)
	defaults := map[string]string{"http": ":80", "https": ":443"}
	return strings.TrimSuffix(host, defaults[r.scheme])
}

func path(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}

func requestTarget(u *url.URL) string {
	if u.RawQuery == "" && !u.ForceQuery {
		return path(u)
	}
	return path(u) + "?" + u.RawQuery
}

// covers reports whether the list names the component, such as "@method" or
// `"content-digest";req`, which is written content-digest;req here.
func covers(covered httpsfv.InnerList, want string) bool {
	name, req := strings.CutSuffix(want, ";req")
	return slices.ContainsFunc(covered.Items, func(i httpsfv.Item) bool {
		_, ofRequest := i.Params.Get("req")
		return i.Value == name && ofRequest == req
	})
}
