# cell { … } -> a derivation that starts services, runs a script, reports its tests on the log and fails when they fail.
# Needs a POSIX sh and, on `path`, what any busybox or coreutils + awk + grep + sed + gzip has.
{ annotate }:
{
  name,
  system,
  shell, # "/…/bin/bash", or program and first arguments: [ "/…/bin/busybox" "ash" ]
  script, # shell text; runs with `set -eu` (and pipefail where the shell has it) in an empty directory
  path ? [ ], # packages whose bin/ is on PATH
  env ? { }, # environment of the script
  services ? [ ], # from croft.lib.services
  src ? null, # a tree that is copied, writable, into the directory where the script runs
  junit ? null, # JUnit files the script writes: a file name or glob, or a list; relative to that directory
  expect ? "pass", # "fail", "refused": what is the right outcome
  timeout ? null, # seconds
  resources ? { }, # cores, memory (MiB), disk (MiB)
  requiredSystemFeatures ? [ ],
  external ? false, # reads something that Nix does not pin
  derivationArgs ? { }, # further attributes of the derivation
}:
let
  fail = problem: next: throw "croft: cell '${name}': ${problem}. Next: ${next}.";
  shellWords = if builtins.isList shell then shell else [ shell ];
  patterns =
    if junit == null then
      [ ]
    else if builtins.isList junit then
      junit
    else
      [ junit ];
  absolute = builtins.filter (p: builtins.substring 0 1 p == "/") patterns;

  # One file each, so that a cell depends on the text that it runs and on nothing else of this repository.
  runtime = map (file: builtins.path { path = ./runtime + "/${file}"; name = "croft-${file}"; }) [
    "report.sh"
    "services.sh"
    "cell.sh"
  ];

  # Values are expanded by the shell: "$CROFT_RUN" is the directory for sockets.
  exports = s: builtins.concatStringsSep "" (
    builtins.attrValues (builtins.mapAttrs (key: value: "export ${key}=\"${toString value}\"\n") s.env)
  );
  lines = builtins.concatStringsSep "\n";
  reversed = builtins.foldl' (done: s: [ s ] ++ done) [ ] services;

  own = {
    inherit name system script;
    builder = builtins.head shellWords;
    args = builtins.tail shellWords ++ [ (builtins.elemAt runtime 2) ];
    croftReportLib = builtins.elemAt runtime 0;
    croftServicesLib = builtins.elemAt runtime 1;
    croftPath = builtins.concatStringsSep ":" (map (p: "${p}/bin") path);
    croftStart = lines (map (s: "croft_service ${s.name}\n${s.start}\n${exports s}") services);
    croftStop = lines (map (s: "croft_service ${s.name}\n${s.stop}") reversed);
    croftExpect = expect;
    croftJunit = patterns;
    passAsFile = [
      "script"
      "croftStart"
      "croftStop"
    ];
  }
  // (if src == null then { } else { croftSrc = src; })
  // (if requiredSystemFeatures == [ ] then { } else { inherit requiredSystemFeatures; });

  taken = builtins.attrNames (
    builtins.intersectAttrs (own // { PATH = 0; out = 0; outputs = 0; src = 0; croftSrc = 0; }) (env // derivationArgs)
  );
in
if taken != [ ] then
  fail "env or derivationArgs sets '${builtins.head taken}', which the cell needs for itself" "use another name, or the argument of that name"
else if absolute != [ ] then
  fail "junit is '${builtins.head absolute}', an absolute path" "name the file relative to the directory where the script runs"
else
  annotate {
    inherit
      expect
      timeout
      resources
      external
      ;
  } (derivation (derivationArgs // env // own))
