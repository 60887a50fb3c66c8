{ lib, rustPlatform, installShellFiles }:

rustPlatform.buildRustPackage {
  pname = "ldap-usher";
  version = (lib.importTOML ../../Cargo.toml).package.version;
  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;

  # The tests start real directory servers.
  doCheck = false;

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    mkdir man
    $out/bin/ldap-usher man --out man
    installManPage man/*
    for shell in bash zsh fish; do
      $out/bin/ldap-usher completions $shell >ldap-usher.$shell
    done
    installShellCompletion ldap-usher.{bash,zsh,fish}
  '';

  meta = {
    description = "Invites people into Vaultwarden the moment they appear in your LDAP directory";
    license = with lib.licenses; [ mit asl20 ];
    mainProgram = "ldap-usher";
    platforms = lib.platforms.linux;
  };
}
