package main

import (
	"io"
	"os"
	"os/exec"
)

func debugSettings(sys *system) map[string]string {
	if sys.Env("BENCH_DEBUG") == "" {
		return nil
	}
	return map[string]string{"shared_preload_libraries": "auto_explain,pg_stat_statements", "pg_stat_statements.track": "top", "auto_explain.log_min_duration": "100ms"}
}

func debugLog(sys *system) io.Writer {
	if sys.Env("BENCH_DEBUG") == "" {
		return nil
	}
	f, _ := os.Create(sys.Env("BENCH_DEBUG"))
	return f
}

func debugPSQL(sys *system, url string, sql ...string) {
	if sys.Env("BENCH_DEBUG") == "" {
		return
	}
	for _, q := range sql {
		c := exec.Command("psql", url, "-c", q)
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		_ = c.Run()
	}
}
