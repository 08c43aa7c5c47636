# What a project's flake imports: axes in, checks out. Pure Nix, no nixpkgs, nothing is downloaded.
let
  order = import ./order.nix;
  annotate = import ./annotate.nix;
in
{
  inherit order;
  inherit (annotate) annotate;
  matrix = import ./matrix.nix { inherit order annotate; };
  merge = import ./merge.nix;
  cell = import ./cell.nix { inherit (annotate) annotate; };
  services = import ./services;

  # The reporter for Python's unittest and pytest; put its directory on PYTHONPATH.
  pythonReporter = builtins.path {
    name = "croft-python";
    path = ./python;
    filter = path: _: baseNameOf path == "croft_report.py";
  };
}
