package conform_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/edge/conform"
)

// What several processes find is in their one file, with how many requests they
// looked at.
func TestAFileKeepsWhatProcessesFind(t *testing.T) {
	file := conform.File(filepath.Join(t.TempDir(), "findings"))
	if requests, found, err := file.Read(); requests != 0 || len(found) != 0 || err != nil {
		t.Errorf("before: %d, %v, %v", requests, found, err)
	}
	for _, status := range []int{http.StatusNotModified, http.StatusTeapot} {
		h := file.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/openapi.json" {
				_, _ = io.WriteString(w, document)
				return
			}
			w.WriteHeader(status)
		}))
		r := httptest.NewRequest(http.MethodGet, "/things/1", nil)
		r.Header.Set("X-Key", "k")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	requests, found, err := file.Read()
	if requests != 2 || len(found) != 1 || !strings.Contains(found[0], "418: the document has no such status") || err != nil {
		t.Errorf("%d requests, found %q, %v", requests, found, err)
	}
}
