package edge_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
)

// Every code is asked for by a test or a story: by its name or its variable.
func TestEveryCodeIsTested(t *testing.T) {
	s := read(t)
	if missing := s.untested(); len(missing) > 0 {
		t.Errorf("no test asks for\n%s", strings.Join(missing, "\n"))
	}
	s.codes = []foundCode{{Code: citygate.Code{Name: "edge." + "nowhere"}, dir: "gateway/edge", variable: "errNowhere" + "AtAll"}}
	if len(s.untested()) != 1 {
		t.Error("a code that no test asks for is not found")
	}
}

func (s *source) untested() (missing []string) {
	said := map[string]bool{}
	for _, word := range regexp.MustCompile(`[a-z]+\.[a-z_]+|internal`).FindAllString(s.said.String(), -1) {
		said[word] = true
	}
	for _, c := range s.codes {
		if !said[c.Name] && !s.named[c.dir+"."+c.variable] {
			missing = append(missing, c.at+" "+c.Name)
		}
	}
	return missing
}
