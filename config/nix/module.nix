# A module for NixOS. config/guide/install.md has an example.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.ldap-usher;
  toml = pkgs.formats.toml { };
in
{
  options.services.ldap-usher = {
    enable = lib.mkEnableOption "ldap-usher, which invites people into Vaultwarden as they appear in LDAP";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      description = "The package with the program.";
    };

    settings = lib.mkOption {
      type = toml.type;
      default = { };
      description = "The configuration, as config/default.toml explains it. It is readable by everyone, so no secrets in it.";
    };

    credentials = lib.mkOption {
      type = lib.types.attrsOf lib.types.path;
      default = { };
      example = { admin_token = "/run/keys/admin_token"; bind_password = "/run/keys/bind_password"; };
      description = ''
        Files with secrets, by the name of the credential: admin_token, bind_password (or NAME.bind_password for the directory
        NAME), state, http_admin_token, notify_url, notify_secret, ... systemd reads them as root.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.etc."ldap-usher/config.toml".source =
      toml.generate "ldap-usher.toml" ({ state = "/var/lib/ldap-usher/state.db"; } // cfg.settings);

    systemd.services.ldap-usher = {
      description = "Invites people into Vaultwarden the moment they appear in the LDAP directory";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      restartTriggers = [ config.environment.etc."ldap-usher/config.toml".source ];
      serviceConfig = {
        Type = "notify-reload";
        ExecStart = "${lib.getExe cfg.package} run --config /etc/ldap-usher/config.toml";
        Restart = "on-failure";
        RestartSec = "5s";
        RestartPreventExitStatus = 2;
        WatchdogSec = "5min";
        WatchdogSignal = "SIGKILL";
        TimeoutStopSec = "90s";
        LoadCredential = lib.mapAttrsToList (name: path: "${name}:${path}") cfg.credentials;
        DynamicUser = true;
        StateDirectory = "ldap-usher";
        StateDirectoryMode = "0700";
        UMask = "0077";
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateTmp = true;
        PrivateDevices = true;
        PrivateUsers = true;
        NoNewPrivileges = true;
        CapabilityBoundingSet = "";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        ProcSubset = "pid";
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" "~@privileged @resources" ];
      };
    };
  };
}
