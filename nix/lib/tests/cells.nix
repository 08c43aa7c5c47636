# Cells that are built by cells.py. The only program is the sandbox's /bin/sh, which has to be a full busybox.
# Each is { cell; want }: exit status (0: it succeeds), reports by name with their number of tests, events, and words of the log.
{
  nonce ? "", # another one in each run, or cells that succeeded would not be built again and leave no log
}:
let
  croft = import ../.;
  testsuite = inside: "<testsuite name=\"t\">${inside}</testsuite>";
  passed = n: "<testcase classname=\"c\" name=\"${n}\"/>";
  failed = n: "<testcase classname=\"c\" name=\"${n}\"><failure message=\"m\"/></testcase>";
  writes = file: inside: "printf '%s' '${testsuite inside}' > ${file}\n";

  server = name: body: {
    inherit name;
    start = ''
      croft_spawn sh -c '${body}'
      croft_ready 3 test -e "$CROFT_RUN/${name}"
    '';
    stop = "croft_kill";
    env.SOCKET = "$CROFT_RUN/${name}";
  };
  good = server "good" ''touch "$CROFT_RUN/good"; exec sleep 1000'';

  synthetic = { croft = 1; };
  make = name: args: want: {
    cell = croft.cell (
      {
        inherit name;
        system = builtins.currentSystem;
        shell = "/bin/sh";
        derivationArgs = { inherit nonce; };
      }
      // args
    );
    want = {
      status = 0;
      reports = { };
      events = [ ];
      words = [ ];
    }
    // want;
  };
in
builtins.mapAttrs (name: pair: make name (builtins.head pair) (builtins.elemAt pair 1)) {
  plain = [ { script = "echo fine"; } { words = [ "fine" ]; } ];
  passes = [ { junit = "a.xml"; script = writes "a.xml" (passed "x"); } { reports."a.xml" = 1; } ];
  several = [
    { junit = [ "r/*.xml" "b.xml" ]; script = "mkdir r\n" + writes "r/a.xml" (passed "x") + writes "r/c.xml" (passed "z") + writes "b.xml" (passed "y"); }
    { reports = { "r/a.xml" = 1; "r/c.xml" = 1; "b.xml" = 1; }; }
  ];
  fails = [ { junit = "a.xml"; script = writes "a.xml" (failed "x") + "echo before; false; echo after"; } { status = 1; reports."a.xml" = 1; words = [ "before" ]; } ];
  diesEarly = [
    { junit = "a.xml"; script = ''echo 'ImportError: no "module" <named> \ foo & bar' >&2; echo later; exit 3''; }
    { status = 3; reports = synthetic; words = [ "ImportError" ]; }
  ];
  notUtf8 = [ { script = ''printf 'caf\303\251\nerror \377\376 half\303\033[0m\001\n'; refuse "$(printf 'b\374se')"''; } { status = 77; reports = synthetic; events = [ "refused" ]; } ];
  noReport = [ { junit = "a.xml"; script = "true"; } { status = 70; reports = synthetic; words = [ "wrote no JUnit file 'a.xml'" ]; } ];
  noNewline = [ { junit = "a.xml"; script = writes "a.xml" (passed "x") + "printf torn"; } { reports."a.xml" = 1; words = [ "torn\n" ]; } ];
  liveEvents = [
    { script = ''printf '@croft {"v":1,"event":"test","suite":"s","name":"n","status":"passed","ms":1}\n' ''; }
    { events = [ "test" ]; }
  ];
  large = [
    { junit = "a.xml"; script = ''{ echo '<testsuite name="t"><testcase name="x"><system-out>'; head -c 150000 /dev/urandom | base64; echo '</system-out></testcase></testsuite>'; } > a.xml''; }
    { reports."a.xml" = 1; }
  ];
  expectedFailure = [ { expect = "fail"; script = "echo AssertionError; exit 1"; } { reports = synthetic; } ];
  unexpectedPass = [ { expect = "fail"; script = "true"; } { status = 70; words = [ "passed, but the cell says expect = \"fail\"" ]; } ];
  expectedFailureKilled = [ { expect = "fail"; script = "sh -c 'kill -9 $$'"; } { status = 137; reports = synthetic; words = [ "has no verdict" ]; } ];
  killed = [ { script = "kill -9 $(sh -c 'echo $PPID')"; } { status = 137; reports = synthetic; words = [ "ended by signal 9" ]; } ];
  terminated = [ { script = "kill -TERM $$; sleep 0.1; echo went on"; } { status = 70; reports = synthetic; words = [ "ended by SIGTERM" ]; } ];
  refused = [ { expect = "refused"; script = ''refuse "PostgreSQL 14 \"or\" later"''; } { reports = synthetic; events = [ "refused" ]; } ];
  refusedByStatus = [ { expect = "refused"; script = "exit 77"; } { reports = synthetic; events = [ "refused" ]; } ];
  refusedUnexpectedly = [ { script = "refuse old"; } { status = 77; reports = synthetic; events = [ "refused" ]; words = [ "was refused: old" ]; } ];
  refusalMissing = [ { expect = "refused"; script = "true"; } { status = 70; words = [ "supported now" ]; } ];
  leftBehind = [ { script = "sleep 500 & echo left"; } { words = [ "left" ]; } ];
  pipefail = [ { script = "false | true"; } { status = 1; reports = synthetic; } ];
  unset = [ { script = "echo $nonsense"; } { status = 2; reports = synthetic; } ];
  environment = [
    { env = { A = "b c"; N = 3; }; src = ./.; script = ''[ "$A$N" = "b c3" ]; echo >> cells.nix; [ "$TMPDIR" != "$NIX_BUILD_TOP" ]; touch "$HOME/x"; echo mine > "$out/mine"''; }
    { }
  ];
  service = [ { services = [ good (server "two" ''touch "$CROFT_RUN/two"; exec sleep 1000'') ]; script = ''test -e "$SOCKET"; echo "at $SOCKET"''; } { words = [ "/run/two" ]; } ];
  serviceEndsEarly = [ { services = [ (server "bad" "echo oops; exit 3") ]; script = "echo never"; } { status = 70; reports = synthetic; words = [ "bad: oops" "ended while it was starting" ]; } ];
  serviceIsSlow = [ { services = [ (server "slow" "exec sleep 1000") ]; script = "echo never"; } { status = 70; reports = synthetic; words = [ "does not answer after 3 s" ]; } ];
  serviceDies = [ { expect = "fail"; services = [ good ]; script = "kill -9 $croft_pid; sleep 0.3; echo gone away; exit 1"; } { status = 70; reports = synthetic; words = [ "good ended while the script ran" ]; } ];
}
