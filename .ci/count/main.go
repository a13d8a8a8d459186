// Command count reads the output of go test -json, prints what failed and the
// time of each package, and ends with "<passed> <failed>".
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

func main() {
	passed, failed := 0, 0
	output := map[string][]string{}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			continue
		}
		key := e.Package + e.ImportPath + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			output[key] = append(output[key], e.Output)
		case "pass", "skip":
			if e.Test == "" {
				fmt.Printf("ok    %s (%.1f s)\n", e.Package, e.Elapsed)
			} else if e.Action == "pass" {
				passed++
			} else {
				fmt.Printf("skip  %s\n%s", key, strings.Join(output[key], ""))
			}
			delete(output, key)
		case "fail", "build-fail":
			failed++
			fmt.Printf("FAIL  %s\n%s", key, strings.Join(output[key], ""))
			delete(output, key)
		}
	}
	fmt.Printf("%d %d\n", passed, failed)
	if in.Err() != nil || passed+failed == 0 {
		os.Exit(1)
	}
}
