# The program that enters a root. It is nested in Nix's own sandbox: user namespaces have to be allowed there.
{
  root,
  runCommand,
  busybox,
  pins,
}:
let
  tools = root {
    name = "bubblewrap";
    inherit (pins) pins;
  };
  libraries = "${tools}/usr/lib/x86_64-linux-gnu:${tools}/lib/x86_64-linux-gnu";
  script =
    builtins.replaceStrings
      [ "@busybox@" "@bwrap@" ]
      [
        "${busybox}/bin/busybox"
        # Through the loader of its own root: nothing is patched, nothing is setuid, nothing of the host is used.
        "${tools}/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path ${libraries} ${tools}/usr/bin/bwrap"
      ]
      (builtins.readFile ./enter.sh);
in
runCommand "croft-enter" {
  inherit script;
  passAsFile = [ "script" ];
} ''
  mkdir -p "$out/bin"
  cp "$scriptPath" "$out/bin/enter"
  chmod 755 "$out/bin/enter"
''
// {
  inherit busybox;
}
