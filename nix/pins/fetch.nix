# fetchPin { registry, path, sha256, ... } -> the file, as a fixed-output derivation. Its store path follows from name
# and hash alone: how it came into the store (nix/pins/fetch, a binary cache, a mirror) changes no key.
{ system, mirrors }:
{
  registry,
  path,
  sha256,
  ...
}:
let
  # Characters that a store name cannot have.
  name = builtins.replaceStrings [ "~" "%3a" ":" "%2b" "@" ] [ "-" "-" "-" "+" "-" ] (baseNameOf path);
  fixed = {
    inherit name;
    outputHashMode = "flat";
    outputHashAlgo = "sha256";
    outputHash = sha256;
    preferLocalBuild = true;
  };
  download = {
    system = "builtin";
    builder = "builtin:fetchurl";
    url = "${mirrors.${registry}}/${path}";
    executable = false;
    unpack = false;
  };
  # An evaluation that knows no mirror relies on the path being valid; this runs only if it is not.
  absent = {
    inherit system;
    builder = "/bin/sh";
    args = [
      "-c"
      "echo 'croft: the pin ${registry}/${path} is not in the store. Run nix/pins/fetch, then build again.' >&2; exit 1"
    ];
  };
in
derivation (fixed // (if mirrors ? ${registry} then download else absent))
