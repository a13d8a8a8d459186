package remotetest

import (
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/httpsig"
	"github.com/cashlesscity/citygate/adapters/remote"
)

// saying is a program that answers the calls of a path with text, signed as it should
// be, whatever it was asked.
func saying(t *testing.T, path, text string) Target {
	t.Helper()
	var program remote.Program
	return serveBehind(t, newProduct(), func(p *remote.Program) { program = *p }, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path {
				inner.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Digest", httpsig.Digest([]byte(text)))
			err := httpsig.Sign(httpsig.Response(http.StatusOK, w.Header(), httpsig.Request(r, "", "")), httpsig.Params{
				Components: []string{"@status", "content-digest", "signature;req"}, Created: time.Now(), KeyID: program.KeyID, Tag: remote.Tag,
			}, program.Signer)
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write([]byte(text))
		})
	})
}
