# NixOS: the program croft with /etc/croft/croft.toml (`programs.croft`), and what looks after a farm when nobody does
# (`services.croft`): a timer that ends machines which were left behind, and a server for the farm's binary cache.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkEnableOption mkIf mkOption types;
  program = config.programs.croft;
  cfg = config.services.croft;
  toml = pkgs.formats.toml { };
  stateDir = "/var/lib/croft";
  # A secret that systemd hands to a unit, and the variable that tells croft where; %d is the unit's own folder of them.
  secret = name: variable: file: {
    load = if file == null then [ ] else [ "${name}:${file}" ];
    environment = if file == null then { } else { ${variable} = "%d/${name}"; };
  };
  aws = secret "aws" "AWS_SHARED_CREDENTIALS_FILE" cfg.awsCredentialsFile;
  cacheKey = secret "cache-key" "CROFT_CACHE_KEY_FILE" cfg.cache.keyFile;
  cacheCredentials = secret "cache-credentials" "CROFT_CACHE_CREDENTIALS_FILE" cfg.cache.credentialsFile;

  hardening = {
    User = cfg.user;
    Group = cfg.group;
    StateDirectory = "croft";
    StateDirectoryMode = "0700";
    UMask = "0077";
    NoNewPrivileges = true;
    CapabilityBoundingSet = "";
    ProtectSystem = "strict";
    ProtectHome = true;
    PrivateTmp = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    LockPersonality = true;
    RestrictAddressFamilies = "AF_UNIX AF_INET AF_INET6";
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
  };
  # A server runs no other programs, so it needs less than a sweep, which runs those of providers.
  server = {
    PrivateDevices = true;
    RestrictNamespaces = true;
    MemoryDenyWriteExecute = true;
    SystemCallFilter = "@system-service";
    Restart = "on-failure";
    RestartSec = 5;
  };
  path = [ config.nix.package ];
  croft = lib.getExe cfg.package;
in
{
  options.programs.croft = {
    enable = mkEnableOption "croft, a build farm for test matrices";

    package = mkOption {
      type = types.package;
      default = self.packages.${pkgs.stdenv.hostPlatform.system}.croft;
      defaultText = lib.literalExpression "croft.packages.\${system}.croft";
      description = "The croft package to install.";
    };

    settings = mkOption {
      inherit (toml) type;
      default = { };
      description = ''
        Contents of {file}`/etc/croft/croft.toml`, read where no `croft.toml` is found upward of the working directory.
        It can be read by everybody: secrets are named in it by their files, and never written into it.
      '';
    };
  };

  options.services.croft = {
    enable = mkEnableOption ''
      the safety net of a farm: a user `croft` with its state in {file}`/var/lib/croft`, and a timer that ends machines
      which nobody looks after any more. Checks whose machines it is to find run with the same state, such as by
      `sudo -u croft env CROFT_STATE_DIR=/var/lib/croft croft check`
    '';

    package = mkOption {
      type = types.package;
      default = program.package;
      defaultText = lib.literalExpression "config.programs.croft.package";
      description = "The croft package that the services run.";
    };

    settings = mkOption {
      inherit (toml) type;
      default = { };
      description = "Settings of the farm, in the same file as those of `programs.croft.settings`.";
    };

    user = mkOption {
      type = types.str;
      default = "croft";
      description = "The user that the services run as. One of another name has to be made by you.";
    };

    group = mkOption {
      type = types.str;
      default = "croft";
      description = "The group that the services run as. One of another name has to be made by you.";
    };

    awsCredentialsFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/secrets/croft-aws";
      description = ''
        A file with an AWS profile `[default]`, for pools of the provider `ec2`. Only root need be able to read it. Not
        needed on an EC2 instance with a role.
      '';
    };

    sweep.interval = mkOption {
      type = types.str;
      default = "5min";
      description = "How long after a sweep the next one begins, as in {manpage}`systemd.time(7)`.";
    };

    cache = {
      enable = mkEnableOption "`croft cache serve`, the farm's binary cache over http";

      listen = mkOption {
        type = types.str;
        default = "127.0.0.1:5001";
        example = "0.0.0.0:5001";
        description = "Address and port to listen on. Whoever reaches it can read all that is in the cache.";
      };

      store = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Serve the local Nix store itself, with **every** path in it, instead of the cache that
          `settings.cache.url` names.
        '';
      };

      keyFile = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = ''
          The file with the secret key that signs, as `nix-store --generate-binary-cache-key` makes it. Only root need be
          able to read it. By default croft makes one in its state directory.
        '';
      };

      credentialsFile = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "A file with what the cache's S3 bucket or http server asks for: an AWS profile or a netrc.";
      };
    };
  };

  config = lib.mkMerge [
    (mkIf program.enable {
      environment.systemPackages = [ program.package ];
      environment.etc."croft/croft.toml" = mkIf (program.settings != { }) {
        source = toml.generate "croft.toml" program.settings;
      };
    })

    (mkIf cfg.enable {
      assertions = [
        {
          assertion = !cfg.cache.enable || cfg.cache.store || program.settings ? cache.url;
          message = "services.croft.cache serves nothing: set services.croft.settings.cache.url, or services.croft.cache.store";
        }
      ];

      programs.croft = {
        enable = true;
        inherit (cfg) settings;
      };

      users.users = mkIf (cfg.user == "croft") {
        croft = {
          isSystemUser = true;
          inherit (cfg) group;
          home = stateDir;
          description = "croft's machines and its cache";
        };
      };
      users.groups = mkIf (cfg.group == "croft") { croft = { }; };

      systemd.services.croft-sweep = {
        description = "End the machines that croft has left behind";
        after = [ "network-online.target" ];
        wants = [ "network-online.target" ];
        inherit path;
        environment = {
          CROFT_STATE_DIR = stateDir;
        } // aws.environment;
        unitConfig.ConditionPathExists = "/etc/croft/croft.toml";
        serviceConfig = hardening // {
          Type = "oneshot";
          ExecStart = "${croft} fleet sweep";
          LoadCredential = aws.load;
          # A sweep gives up after three minutes by itself.
          TimeoutStartSec = "10min";
        };
      };

      systemd.timers.croft-sweep = {
        description = "End the machines that croft has left behind, every now and then";
        wantedBy = [ "timers.target" ];
        timerConfig = {
          OnBootSec = "2min";
          OnUnitInactiveSec = cfg.sweep.interval;
          RandomizedDelaySec = "30s";
        };
      };
    })

    (mkIf (cfg.enable && cfg.cache.enable) {
      systemd.services.croft-cache = {
        description = "The binary cache of the croft farm";
        after = [ "network.target" ];
        wantedBy = [ "multi-user.target" ];
        inherit path;
        environment = {
          CROFT_STATE_DIR = stateDir;
        } // cacheKey.environment // cacheCredentials.environment;
        serviceConfig = hardening // server // {
          Type = "exec";
          ExecStart = "${croft} cache serve --listen ${cfg.cache.listen}${if cfg.cache.store then " --store" else ""}";
          LoadCredential = cacheKey.load ++ cacheCredentials.load;
        };
      };
    })
  ];
}
