//! Certificates for the tests' own servers.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

/// A CA (ca.pem, ca.der), a server certificate for these names and addresses (server.pem, server.key), and a client
/// certificate with the subject `cn=usher,o=Example` (client.pem, client.key).
pub fn write(dir: &Path, names: impl IntoIterator<Item = String>) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let server_key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let server_cert = CertificateParams::new(names.into_iter().collect::<Vec<_>>())
        .unwrap()
        .signed_by(&server_key, &issuer)
        .unwrap();
    let mut client = CertificateParams::default();
    client.distinguished_name = DistinguishedName::new();
    client
        .distinguished_name
        .push(DnType::OrganizationName, "Example");
    client.distinguished_name.push(DnType::CommonName, "usher");
    let client_key = KeyPair::generate().unwrap();
    let client_cert = client.signed_by(&client_key, &issuer).unwrap();
    fs::write(dir.join("client.pem"), client_cert.pem()).unwrap();
    fs::write(dir.join("client.key"), client_key.serialize_pem()).unwrap();
    fs::write(dir.join("ca.pem"), ca_cert.pem()).unwrap();
    fs::write(dir.join("ca.der"), ca_cert.der()).unwrap();
    fs::write(dir.join("server.pem"), server_cert.pem()).unwrap();
    let key = dir.join("server.key");
    fs::write(&key, server_key.serialize_pem()).unwrap();
    // Samba refuses to start if others can read it.
    fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
}
