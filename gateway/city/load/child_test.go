package load_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/city/load"
	"github.com/cashlesscity/citygate/gateway/edge/conform"
)

// envChild makes this test binary a gateway: its value is the configuration.
const envChild = "CITYGATE_LOAD_TEST_GATEWAY"

// envFindings names the file into which such a gateway writes what of its API is
// not as its document says.
const envFindings = "CITYGATE_LOAD_TEST_FINDINGS"

// envForgetful puts a forgetful provider before the sandbox of such a gateway.
const envForgetful = "CITYGATE_LOAD_TEST_FORGETFUL"

func TestMain(m *testing.M) {
	if given := os.Getenv(envChild); given != "" {
		if err := serveGateway(given); err != nil {
			fmt.Fprintln(os.Stderr, "gateway:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveGateway is the whole life of a gateway process: it serves until it is
// killed or nobody is at the other end of its standard input any more.
func serveGateway(given string) error {
	var c load.Config
	if err := json.Unmarshal([]byte(given), &c); err != nil {
		return err
	}
	// The clock stands still but for what it is told.
	clock := load.NewClock(time.Time{}, func() time.Time { return time.Unix(0, 0) })
	in := bufio.NewScanner(os.Stdin)
	if !in.Scan() {
		return errors.New("no time given")
	}
	if err := setClock(clock, in.Text()); err != nil {
		return err
	}
	c.Clock, c.Served = clock.Now, conform.File(os.Getenv(envFindings)).Handler
	if os.Getenv(envForgetful) != "" {
		c.Front = func(p *sandbox.Provider) driver.Provider { return forgetful{p} }
	}
	ctx := context.Background()
	o, err := load.Open(ctx, c)
	if err != nil {
		return err
	}
	if err := o.Gateway.Start(ctx); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, o.Gateway.Handler()) }()
	fmt.Printf("http://%s\n", listener.Addr())
	for in.Scan() {
		answer := "ok"
		if err := obey(ctx, o, clock, in.Text()); err != nil {
			answer = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
	return nil
}

// A forgetful provider breaks the one rule that keeps a payment from being made
// twice: asked what became of one that its caller lost, it makes it again under
// another id.
type forgetful struct{ *sandbox.Provider }

// Query implements [driver.Provider].
func (f forgetful) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	for _, e := range f.Book() {
		if e.OurID != ref.OurID {
			continue
		}
		again := driver.Debit{OurID: "again-" + e.OurID, RiderRef: e.Rider, Amount: e.Amount}
		results, err := f.Submit(ctx, []driver.Debit{again})
		if err != nil {
			return driver.Result{}, err
		}
		results[0].OurID = ref.OurID
		return results[0], nil
	}
	return f.Provider.Query(ctx, ref)
}

func setClock(clock *load.Clock, micro string) error {
	n, err := strconv.ParseInt(micro, 10, 64)
	clock.Set(time.UnixMicro(n))
	return err
}

// obey does one command of the test.
func obey(ctx context.Context, o *load.Operator, clock *load.Clock, command string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	verb, arg, _ := strings.Cut(command, " ")
	switch verb {
	case "set":
		return setClock(clock, arg)
	case "tick":
		return o.Gateway.Tick(ctx)
	case "drain":
		err := o.Gateway.Drain(ctx)
		if errors.Is(err, context.DeadlineExceeded) { // where it hangs is the first thing to ask
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		}
		return err
	case "retry":
		_, err := o.Gateway.Jobs.RetryNow(ctx)
		return err
	case "check":
		report, err := o.Gateway.CheckBooks(ctx)
		if err == nil && !report.OK() {
			err = fmt.Errorf("%d findings, the first %s", report.Wrong, report.Findings[0])
		}
		if err == nil && report.Transfers == 0 {
			err = errors.New("the books are empty")
		}
		return err
	}
	return fmt.Errorf("no such command %q", command)
}

// A child is a gateway process.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	url string
}

func startChild(t *testing.T, c load.Config, at time.Time, env ...string) *child {
	t.Helper()
	given, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &child{cmd: exec.Command(self)}
	p.cmd.Env = append(append(os.Environ(), envChild+"="+string(given)), env...)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if p.url, err = p.ask(strconv.FormatInt(at.UnixMicro(), 10)); err != nil || !strings.HasPrefix(p.url, "http://") {
		t.Fatalf("the gateway did not start: %q, %v", p.url, err)
	}
	return p
}

// ask gives the answer to a command; an error says that the process is gone.
func (p *child) ask(command string) (string, error) {
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		return "", err
	}
	line, err := p.out.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// kill ends the process with SIGKILL and gives when it is gone.
func (p *child) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
