package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/cashlesscity/citygate/gateway/edge/conform"
)

// checked gives what holds the API of a command to its document.
func checked(t testing.TB) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler { return conform.Handler(t, h) }
}

// envFindings names the file into which the program writes what of its API is not
// as its document says, when it runs as a process of a story.
const envFindings = "CITYGATE_STORY_FINDINGS"

// checkedMain is main, with its API held to the document.
func checkedMain() {
	ignoreVaultEnvironment()
	sys := process()
	file := os.Getenv(envFindings)
	if !filepath.IsAbs(file) {
		panic(envFindings + " names no file: nobody would see what the process finds")
	}
	sys.served = conform.File(file).Handler
	os.Exit(run(context.Background(), sys, os.Args[1:]))
}

// wasChecked fails the test for what its processes found, and when they answered
// fewer requests than were asked of them.
func wasChecked(t testing.TB, file conform.File, asked int) {
	t.Helper()
	requests, found, err := file.Read()
	if err != nil {
		t.Error(err)
	}
	for _, what := range found {
		t.Error(what)
	}
	if requests < asked {
		t.Errorf("%d requests were sent and %d held to the document", asked, requests)
	}
}
