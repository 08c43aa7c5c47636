{
  description = "A small package set in the shape of nixpkgs, from pinned downloads";

  outputs =
    { self }:
    let
      system = "x86_64-linux";
      set = import ./. { inherit system; };
    in
    {
      legacyPackages.${system} = set;
      packages.${system} = set.croft.packages;
    };
}
