// Package script_test runs the binary as a person types it. Each file in testdata is
// one script in the language of testscript, with these commands added:
//
//	exitcode N command [arg...]   run command, which must end with exit code N
//	serve [flag...]               start "mooring serve" on $DATA and wait until it is ready
//	shutdown                      end it with SIGTERM; it must exit with code 0
//	restart                       shut down, then serve again with the same flags
//	other [flag...]               start a second one, on $OTHER
//	put path file                 write an enrollment over the service API
//	join file mark part...        write mark and the contents of the parts into file
//	register id chain key status  be a device: register, poll, and end with status
//
// From then on $HTTPS and $PORTAL hold its listeners as host:port, and $SCOPE its ID
// scope. What still runs at a script's end is stopped, and must exit with code 0 as well.
package script_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// binDir holds the binary that TestMain builds, for the scripts' PATH.
var binDir string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mooring-script-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "mooring"), "github.com/mooring-iot/mooring/cmd/mooring")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building mooring:", err)
		return 1
	}
	binDir = dir
	return m.Run()
}

// join is the command "join"; its mark is written as in a Go string.
func join(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: join file mark part...")
	}
	out, err := strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	for _, part := range args[2:] {
		out += ts.ReadFile(part)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(out), 0o600))
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Setup:              setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode": exitCode,
			"join":     join,
			"serve":    serve,
			"other":    other,
			"shutdown": shutdown,
			"restart":  restart,
			"put":      put,
			"register": register,
		},
	})
}

// setup gives a script its PATH, its data directory's name and a service to come.
func setup(env *testscript.Env) error {
	env.Setenv("PATH", binDir+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("DATA", filepath.Join(env.WorkDir, "data"))
	env.Setenv("OTHER", filepath.Join(env.WorkDir, "other"))
	for _, key := range []any{serviceKey{}, otherKey{}} {
		s := &service{}
		env.Values[key] = s
		env.Defer(func() {
			if err := s.stop(); err != nil {
				env.T().Log(s.log())
				env.T().Fatal(err)
			}
		})
	}
	return nil
}

// exitCode is the command "exitcode N command [arg...]".
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N command [arg...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// serve is the command "serve [flag...]".
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! serve; use exitcode N mooring serve")
	}
	start(ts, append([]string{
		"serve", "--data", ts.Getenv("DATA"), "--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--portal", "127.0.0.1:0",
	}, args...))
}

// other is the command "other [flag...]". It starts a second service, and writes the
// connection string of its first hub to other.txt.
func other(ts *testscript.TestScript, neg bool, args []string) {
	s, ok := ts.Value(otherKey{}).(*service)
	if neg || !ok || s.process != nil {
		ts.Fatalf("usage: other [flag...], once")
	}
	ts.Check(s.start(ts.MkAbs("."), append([]string{
		"serve", "--data", ts.Getenv("OTHER"), "--https", "127.0.0.1:0", "--mqtt", "off", "--portal", "127.0.0.1:0",
	}, args...)))
	at, err := s.ready(ts.Getenv("OTHER"))
	if err != nil {
		ts.Check(errors.Join(err, s.stop()))
		ts.Fatalf("the other service did not become ready\n%s", s.log())
	}
	hub := at.Hubs[0]
	_, rest, _ := strings.Cut(hub.ConnectionStrings["iothubowner"], ";")
	text := "HostName=" + hub.HostName + ";GatewayHostName=" + at.Listeners.HTTPS + ";" + rest
	ts.Check(os.WriteFile(ts.MkAbs("other.txt"), []byte(text+"\n"), 0o600))
}

// shutdown is the command "shutdown".
func shutdown(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: shutdown")
	}
	s := running(ts)
	if err := s.stop(); err != nil {
		ts.Fatalf("%v\n%s", err, s.log())
	}
}

// restart is the command "restart".
func restart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: restart")
	}
	flags := running(ts).args
	shutdown(ts, false, nil)
	start(ts, flags)
}

// running returns the script's service, which must have been started.
func running(ts *testscript.TestScript) *service {
	s, ok := ts.Value(serviceKey{}).(*service)
	if !ok || s.process == nil {
		ts.Fatalf("nothing is being served: use serve first")
	}
	return s
}
