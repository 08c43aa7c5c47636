{
  description = "croft in two axes and five cells, without a download";

  # A real project writes `inputs.croft.url = "github:croft-farm/croft"` and `croft.lib.matrix`; see `nix flake init -t`.
  # Here the library is two folders up in the same repository.
  outputs =
    { self }:
    let
      croft.lib = import ../../nix/lib;
    in
    {
      checks = croft.lib.matrix {
        name = "hello";
        systems = [
          "x86_64-linux"
          "aarch64-linux"
        ];
        axisOrder = [
          "greeting"
          "audience"
        ];

        # Axis values are data; the cell function gets the chosen ones.
        axes.greeting = {
          english = "Hello";
          french = "Bonjour";
          latin = "Ave";
        };
        axes.audience = {
          world = "world";
          "farm-1.0" = "farm";
        };

        exclude = [
          {
            greeting = "latin";
            audience = "farm-1.0";
            reason = "the Romans had farms, but no versions of them";
          }
        ];

        # Any derivation is a cell: it fails when its tests fail. This one has nothing but the sandbox's shell.
        cell =
          {
            name,
            system,
            greeting,
            audience,
            ...
          }:
          derivation {
            inherit
              name
              system
              greeting
              audience
              ;
            builder = "/bin/sh";
            args = [
              (builtins.path {
                name = "hello-tests.sh";
                path = ./tests.sh;
              })
            ];
          };
      };
    };
}
