//! An authority that signs certificates, and the files with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion,
};
use tempfile::TempDir;

use crate::node::own_addresses;

/// An authority of its own.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    directory: TempDir,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("a file");
        Self {
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            directory,
        }
    }

    /// The file with its own certificate.
    pub(super) fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Signs a certificate for every node of these tests; answers the files with it and its key.
    pub(super) fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let file = |end: &str| self.directory.path().join(format!("{name}.{end}"));
        let (cert, key) = (file("crt"), file("key"));
        self.issue_into(&cert, &key);
        (cert, key)
    }

    /// Signs one that is good until the start of a year.
    pub(super) fn issue_until(&self, year: i32, name: &str) -> (PathBuf, PathBuf) {
        let file = |end: &str| self.directory.path().join(format!("{name}.{end}"));
        let (cert, key) = (file("crt"), file("key"));
        let (signed, pair) = self.sign_until(year, vec!["localhost".to_owned()]);
        fs::write(&cert, signed.pem()).expect("a file");
        fs::write(&key, pair.serialize_pem()).expect("a file");
        (cert, key)
    }

    /// Signs one into these files.
    pub(super) fn issue_into(&self, cert: &Path, key: &Path) {
        let mut names = vec!["localhost".to_owned()];
        names.extend(own_addresses().map(|address| address.to_string()));
        self.issue_for(names, cert, key);
    }

    /// Signs one for these names into these files.
    pub(super) fn issue_for(&self, names: Vec<String>, cert: &Path, key: &Path) {
        let (signed, pair) = self.sign(names);
        fs::write(cert, signed.pem()).expect("a file");
        fs::write(key, pair.serialize_pem()).expect("a file");
    }

    fn sign(&self, names: Vec<String>) -> (rcgen::Certificate, KeyPair) {
        self.sign_until(2_090, names)
    }

    fn sign_until(&self, year: i32, names: Vec<String>) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(names).expect("parameters");
        params.not_after = date_time_ymd(year, 1, 1);
        let pair = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&pair, &self.issuer);
        (signed.expect("a certificate"), pair)
    }

    /// What a client has that trusts it.
    pub(super) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut config = self.trusting(versions).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    /// What a client has that trusts it and knows no other ciphers than these.
    pub(super) fn client_with(
        &self,
        ciphers: &[SupportedCipherSuite],
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = ciphers.to_vec();
        self.trusting_by(provider, versions).with_no_client_auth()
    }

    /// What a client has that trusts it and shows a certificate of `other`.
    pub(super) fn client_with_certificate(&self, other: &Self) -> ClientConfig {
        let (signed, pair) = other.sign(vec!["client".to_owned()]);
        let key = PrivateKeyDer::try_from(pair.serialize_der()).expect("a key");
        self.trusting(&[&TLS13])
            .with_client_auth_cert(vec![signed.der().clone()], key)
            .expect("a pair")
    }

    fn trusting(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        self.trusting_by(aws_lc_rs::default_provider(), versions)
    }

    fn trusting_by(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
    }
}
