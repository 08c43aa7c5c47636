# nix/module.nix, evaluated without nixpkgs: options, packages and the merging of configurations are stand-ins, so this
# shows that the module is whole and what its units are; whether NixOS takes them, only NixOS can say.
let
  inherit (builtins)
    all
    attrNames
    deepSeq
    foldl'
    isAttrs
    isList
    mapAttrs
    ;
  # What several definitions of one option come to.
  merge =
    a: b:
    a
    // mapAttrs (
      name: value:
      if !(a ? ${name}) then
        value
      else if isAttrs a.${name} && isAttrs value then
        merge a.${name} value
      else if isList value then
        a.${name} ++ value
      else
        value
    ) b;
  lib = {
    mkOption = option: option // { isOption = true; };
    mkEnableOption = description: {
      inherit description;
      default = false;
      isOption = true;
    };
    mkIf = condition: value: if condition then value else { };
    mkMerge = foldl' merge { };
    getExe = package: "${package}/bin/croft";
    literalExpression = text: text;
    types = mapAttrs (name: _: name) {
      package = { };
      str = { };
      bool = { };
    } // { nullOr = type: "null or ${type}"; };
  };
  pkgs = {
    stdenv.hostPlatform.system = "x86_64-linux";
    formats.toml = { } : {
      type = "toml";
      generate = name: value: { inherit name value; };
    };
  };
  module = import ../module.nix { self.packages.x86_64-linux.croft = "/run/croft-package"; };
  defaults = set: mapAttrs (_: option: if option ? isOption then option.default else defaults option) set;

  # What follows from what a user sets, and from what the module itself sets of its other half.
  evaluate =
    user:
    let
      options = (module { inherit lib pkgs; config = { }; }).options;
      step =
        programs:
        module {
          inherit lib pkgs;
          config = {
            programs.croft = merge (defaults options.programs.croft) programs;
            services.croft = merge (
              defaults options.services.croft // { package = "/run/croft-package"; }
            ) (user.services.croft or { });
            nix.package = "/run/nix";
          };
        };
      of = user.programs.croft or { };
      made = step (merge of ((step of).config.programs.croft or { }));
    in
    deepSeq made.config made;

  described = set: all (name: set.${name} ? description || (!(set.${name} ? isOption) && described set.${name})) (attrNames set);

  farm = {
    services.croft = {
      enable = true;
      settings.fleet.lease = "5m";
      settings.cache.url = "/srv/cache";
      awsCredentialsFile = "/run/secrets/aws";
      cache.enable = true;
      cache.keyFile = "/run/secrets/key";
    };
    programs.croft.settings.build.slots = 2;
  };
  made = (evaluate farm).config;
  holds = config: all (one: one.assertion) config.assertions;

  checks = {
    nothingIsDoneUnasked = (evaluate { }).config == { };
    optionsAreDescribed = described (module { inherit lib pkgs; config = { }; }).options;
    aProgramAloneHasNoServices =
      let
        alone = (evaluate { programs.croft.enable = true; }).config;
      in
      alone.environment.systemPackages == [ "/run/croft-package" ] && alone.environment.etc."croft/croft.toml" == { } && !(alone ? systemd);
    bothSettingsAreInTheFile =
      made.environment.etc."croft/croft.toml".source.value == {
        fleet.lease = "5m";
        cache.url = "/srv/cache";
        build.slots = 2;
      };
    secretsArePassedByFile =
      let
        sweep = made.systemd.services.croft-sweep;
        cache = made.systemd.services.croft-cache;
      in
      sweep.serviceConfig.LoadCredential == [ "aws:/run/secrets/aws" ]
      && sweep.environment.AWS_SHARED_CREDENTIALS_FILE == "%d/aws"
      && cache.serviceConfig.LoadCredential == [ "cache-key:/run/secrets/key" ]
      && cache.environment.CROFT_CACHE_KEY_FILE == "%d/cache-key";
    aCacheOfNothingIsRefused =
      holds made
      && !(holds (evaluate {
        services.croft = {
          enable = true;
          cache.enable = true;
        };
      }).config);
    aUserOfYoursIsNotMade =
      (evaluate {
        services.croft = {
          enable = true;
          user = "ci";
        };
      }).config.users.users == { };
  };
in
{
  # Checks that fail.
  wrong = builtins.filter (name: !checks.${name}) (attrNames checks);
  # The units with defaults alone.
  units =
    (evaluate {
      services.croft = {
        enable = true;
        cache.enable = true;
        settings.cache.url = "/srv/cache";
      };
    }).config.systemd;
}
