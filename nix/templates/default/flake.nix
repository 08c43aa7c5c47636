{
  description = "A project and its test matrix";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
  inputs.croft = {
    url = "github:croft-farm/croft";
    inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { nixpkgs, croft, ... }:
    {
      # `nix flake check` builds every cell; `croft check` builds those that have no result yet.
      checks = croft.lib.matrix {
        systems = [ "x86_64-linux" ];
        axisOrder = [
          "python"
          "database"
        ];

        # What the cell function gets: here the name of a package, and of a service with its package.
        axes.python = {
          "3.13" = "python313";
          "3.14" = "python314";
        };
        axes.database = {
          sqlite = {
            service = "sqlite";
          };
          postgresql-17 = {
            service = "postgresql";
            package = "postgresql_17";
          };
        };

        # exclude = [ { python = "3.13"; database = "postgresql-17"; reason = "shown wherever the cell is missing"; } ];

        cell =
          {
            name,
            system,
            python,
            database,
            ...
          }:
          let
            pkgs = nixpkgs.legacyPackages.${system};
          in
          croft.lib.cell {
            inherit name system;
            shell = pkgs.runtimeShell;
            path = [
              pkgs.busybox
              pkgs.${python}
            ];
            services = [
              (croft.lib.services.${database.service} (
                if database ? package then { package = pkgs.${database.package}; } else { }
              ))
            ];
            src = ./tests;
            env.PYTHONPATH = croft.lib.pythonReporter;
            script = "python3 -m croft_report discover -v";
            junit = "junit.xml";
            timeout = 600;
          };
      };
    };
}
