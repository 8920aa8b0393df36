//! Who may speak to whom: mutual TLS 1.3, vouched for by the secret and by nothing else.
//!
//! The secret is the seed of an Ed25519 key. Both sides derive the same authority from it and trust that one alone. Each process
//! makes a key of its own when it starts, and the authority certifies it for one role: an agent answers, a leader asks. So
//! all checking is the library's standard verification, of chain, role and name, none of it ours; a stolen session key is good for no
//! other process; and certificates are valid from 1975 to 4096, so that no wall clock can be too wrong.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;

use crate::secret::Secret;

/// The name in every agent's certificate: where it runs is of no matter, that it knows the secret is.
pub const AGENT: &str = "agent.coordinator.internal";
const LEADER: &str = "leader.coordinator.internal";

/// The protocol spoken inside, with its version; those who speak another do not even begin to talk.
pub const PROTOCOL: &[u8] = b"coordinator/1";

/// Before the 32 bytes of an Ed25519 seed in PKCS #8 (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What an agent shows and demands.
pub fn agent(secret: &Secret) -> Result<QuicServerConfig, rustls::Error> {
    let identity = Identity::new(secret, AGENT, ExtendedKeyUsagePurpose::ServerAuth)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(identity.roots.into(), provider.clone())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A replay could only come as early data, and there is none; every connection proves the secret afresh.
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).map_err(|error| rustls::Error::General(error.to_string()))
}

/// What a leader shows and demands.
pub fn leader(secret: &Secret) -> Result<QuicClientConfig, rustls::Error> {
    let identity = Identity::new(secret, LEADER, ExtendedKeyUsagePurpose::ClientAuth)?;
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(identity.roots)
            .with_client_auth_cert(identity.chain, identity.key)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|error| rustls::Error::General(error.to_string()))
}

/// A process's own key, certified, and whom it trusts.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: RootCertStore,
}

impl Identity {
    fn new(secret: &Secret, name: &str, role: ExtendedKeyUsagePurpose) -> Result<Self, rustls::Error> {
        let failed = |error: rcgen::Error| rustls::Error::General(error.to_string());
        let authority = authority(secret).map_err(failed)?;
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(failed)?;
        let mut params = CertificateParams::new([name.to_owned()]).map_err(failed)?;
        params.distinguished_name = common_name(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![role];
        let certificate = params.signed_by(&key, &authority).map_err(failed)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        Ok(Self {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            roots,
        })
    }
}

/// The same for everybody with the secret.
fn authority(secret: &Secret) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let pkcs8 = [PKCS8_HEAD.as_slice(), secret.seed()].concat();
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ED25519)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("coordinator");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, key)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_makes_one_authority_and_another_secret_another() {
        let (one, other) = (Secret::random(), Secret::random());
        let der = |secret: &Secret| authority(secret).unwrap().der().to_vec();
        assert_eq!(der(&one), der(&one));
        assert_ne!(der(&one), der(&other));
    }

    #[test]
    fn both_roles_can_be_taken() {
        let secret = Secret::random();
        agent(&secret).unwrap();
        leader(&secret).unwrap();
    }
}
