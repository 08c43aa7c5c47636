# NixOS: a builder for croft, as an image for EC2 or QEMU. It takes its keys and times from user data, as nix/guest does
# (see nix/guest/README.md): EC2's metadata service, or QEMU's `-fw_cfg name=opt/croft/user-data`.
#
#   nixosSystem { modules = [ croft.nixosModules.builder "${modulesPath}/virtualisation/amazon-image.nix" ]; }
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.croft-builder;

  # The metadata service, version 2; the answer goes to standard output only if its status is 200.
  metadata = ''
    meta=http://169.254.169.254/latest
    token=
    status=
    imds() {
      [ -n "$token" ] || token=$(curl -sf -m 3 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' $meta/api/token) || return 1
      status=$(curl -s -m 3 --max-filesize 65536 -o /run/croft/answer -w '%{http_code}' -H "X-aws-ec2-metadata-token: $token" "$meta/$1") || return 1
      [ "$status" != 401 ] || token=
      [ "$status" = 200 ] && cat /run/croft/answer
    }
  '';

  takeUserData = pkgs.writeShellApplication {
    name = "croft-user-data";
    runtimeInputs = [
      pkgs.curl
      pkgs.coreutils
      pkgs.kmod
    ];
    text = metadata + ''
      umask 077
      mkdir -p /run/croft
      modprobe qemu_fw_cfg 2>/dev/null || true
      given=/sys/firmware/qemu_fw_cfg/by_name/opt/croft/user-data/raw
      if [ -e "$given" ]; then
        cat "$given" >/run/croft/user-data
      else
        tries=0
        until imds user-data >/run/croft/user-data; do
          tries=$((tries + 1))
          if [ $tries -ge 60 ]; then
            echo 'the metadata service does not answer; powering off' >&2
            systemctl poweroff
            exit 1
          fi
          sleep 1
        done
      fi
      while read -r key value; do
        case $key in
          host_key | authorized_key | lease | expires)
            printf %s "$value" | base64 -d >/run/croft/data-"$key".part
            mv /run/croft/data-"$key".part /run/croft/data-"$key"
            ;;
        esac
      done </run/croft/user-data
      rm -f /run/croft/user-data /run/croft/answer
    '';
  };

  watch = pkgs.writeShellApplication {
    name = "croft-watch";
    runtimeInputs = [
      pkgs.curl
      pkgs.coreutils
      pkgs.systemd
    ];
    text = metadata + ''
      number() {
        local text
        text=$(cat "/run/croft/data-$1" 2>/dev/null || true)
        case $text in "" | *[!0-9]*) echo 0 ;; *) echo "$text" ;; esac
      }
      lease=$(number lease)
      expires=$(number expires)
      # Since the boot, so that no set clock makes a lease older or younger.
      uptime_seconds() {
        read -r up _ </proc/uptime
        now=''${up%%.*}
      }
      uptime_seconds
      renewed=$now
      seen=
      while :; do
        uptime_seconds
        stamp=$(stat -c %Y /run/croft/lease 2>/dev/null || true)
        if [ "$stamp" != "$seen" ]; then
          seen=$stamp
          renewed=$now
        fi
        if [ "$lease" -gt 0 ] && [ $((now - renewed)) -ge "$lease" ]; then systemctl poweroff; fi
        if [ "$expires" -gt 0 ] && [ "$(date +%s)" -ge "$expires" ]; then systemctl poweroff; fi
        if imds meta-data/spot/instance-action >/run/croft/notice; then
          mv /run/croft/notice /run/croft/interruption
        elif [ "$status" = 404 ]; then
          rm -f /run/croft/interruption
        fi
        sleep 5
      done
    '';
  };
in
{
  options.services.croft-builder = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether this machine is a builder of a croft farm.";
    };

    buildUsers = lib.mkOption {
      type = lib.types.ints.positive;
      default = 32;
      description = "How many builds may run at once, each as a user of its own.";
    };
  };

  config = lib.mkIf cfg.enable {
    nix = {
      nrBuildUsers = cfg.buildUsers;
      settings = {
        sandbox = true;
        sandbox-fallback = false;
        require-sigs = false;
        max-jobs = cfg.buildUsers;
        trusted-users = [ "root" ];
      };
    };

    # Host key and authorized key are those of the user data; no other key is made.
    services.openssh = {
      enable = true;
      hostKeys = [ ];
      authorizedKeysFiles = lib.mkForce [ "/run/croft/data-authorized_key" ];
      settings = {
        PermitRootLogin = "prohibit-password";
        PasswordAuthentication = false;
        KbdInteractiveAuthentication = false;
        UseDns = false;
        MaxSessions = 64;
        MaxStartups = "64:30:128";
        ClientAliveInterval = 15;
        ClientAliveCountMax = 4;
      };
      extraConfig = "HostKey /run/croft/data-host_key";
    };

    systemd.services = {
      croft-user-data = {
        description = "Takes the keys and times of this builder";
        wantedBy = [ "multi-user.target" ];
        before = [ "sshd.service" ];
        wants = [ "network-online.target" ];
        after = [ "network-online.target" ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = lib.getExe takeUserData;
        };
      };
      sshd = {
        requires = [ "croft-user-data.service" ];
        after = [ "croft-user-data.service" ];
      };
      croft-watch = {
        description = "Powers this builder off when its farm is silent";
        wantedBy = [ "multi-user.target" ];
        after = [ "croft-user-data.service" ];
        serviceConfig = {
          ExecStart = lib.getExe watch;
          Restart = "always";
          RestartSec = 1;
        };
      };
    };

    # A build must not read what this machine was told: the metadata service is for root alone.
    networking.firewall.extraCommands = ''
      iptables -I OUTPUT -d 169.254.169.254 -m owner ! --uid-owner 0 -j REJECT
    '';
  };
}
