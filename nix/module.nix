# NixOS: installs croft and writes /etc/croft/croft.toml.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.programs.croft;
  toml = pkgs.formats.toml { };
in
{
  options.programs.croft = {
    enable = lib.mkEnableOption "croft, a build farm for test matrices";

    package = lib.mkOption {
      type = lib.types.package;
      default = self.packages.${pkgs.stdenv.hostPlatform.system}.croft;
      defaultText = lib.literalExpression "croft.packages.\${system}.croft";
      description = "The croft package to install.";
    };

    settings = lib.mkOption {
      inherit (toml) type;
      default = { };
      description = ''
        Contents of {file}`/etc/croft/croft.toml`, read where no `croft.toml` is found upward of the working directory.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.etc."croft/croft.toml" = lib.mkIf (cfg.settings != { }) {
      source = toml.generate "croft.toml" cfg.settings;
    };
  };
}
