package conform

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"sync"
)

// A File is where processes that a test starts write what they find, one line a
// request: the test reads it when they have ended, however they ended.
type File string

// Handler gives h, held to the document that h serves; what is found goes to the
// file. It panics if the file cannot be written: nothing else would tell.
func (f File) Handler(h http.Handler) http.Handler {
	out, err := os.OpenFile(string(f), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	lines := &lines{out: out}
	held := Handler(lines, h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		held.ServeHTTP(w, r)
		lines.write("")
	})
}

// Read gives how many requests were held to the document, and what was found.
func (f File) Read() (requests int, found []string, err error) {
	in, err := os.Open(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer in.Close()
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var what string
		if err := json.Unmarshal(scanner.Bytes(), &what); err != nil {
			return 0, nil, fmt.Errorf("%s: %w", f, err)
		}
		if what == "" {
			requests++
			continue
		}
		found = append(found, what)
	}
	return requests, found, scanner.Err()
}

// lines is a [Reporter] that writes each thing it is told on a line.
type lines struct {
	mu  sync.Mutex
	out *os.File
}

// Helper implements [Reporter].
func (*lines) Helper() {}

// Errorf implements [Reporter].
func (l *lines) Errorf(format string, args ...any) { l.write(fmt.Sprintf(format, args...)) }

func (l *lines) write(what string) {
	raw, err := json.Marshal(what)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		_, err = l.out.Write(append(raw, '\n')) // one write, so that processes do not mix their lines
	}
	if err != nil {
		panic(err)
	}
}
