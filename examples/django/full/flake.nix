{
  description = "Django's own test suite, over Pythons and databases: all of it, about 10 minutes of CPU time a cell";

  outputs =
    { self }:
    {
      checks = import ../matrix.nix {
        croft.lib = import ../../../nix/lib;
        pkgsFor = system: import ../../../nix/pins { inherit system; };
        selection = "full";
      };
    };
}
