{
  description = "Django's own test suite, over Pythons and databases";

  # No inputs: the library and the package set are folders of this repository, and nothing is downloaded.
  outputs =
    { self }:
    {
      checks = import ./matrix.nix {
        croft.lib = import ../../nix/lib;
        pkgsFor = system: import ../../nix/pins { inherit system; };
      };
    };
}
